/** What a program on the command line means. */
import { accessSync, constants, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, delimiter, dirname, extname, isAbsolute, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { daemonError, isDaemonError, type DaemonError } from '../errors.js';
import { absolute, absoluteAsCalled, callersDirectory } from '../files/working-directory.js';
import { checkName } from '../store/paths.js';
import { UsageError } from './parse.js';

const scripts = /\.[cm]?[jt]s$/;

/** Whether a file is a script for Node.js, by its name. */
export function isScript(file: string): boolean {
  return scripts.test(file);
}

/**
 * A script is run by this Node.js, with its flags; everything else is found as a shell finds it. In another directory, `isMoved`,
 * what the flags name is still that of this one.
 */
export function programOf(
  given: string,
  args: readonly string[],
  isMoved = false,
): { command: string; args: readonly string[] } {
  if (!isScript(given)) return { command: given, args };
  const script = absoluteAsCalled(given);
  if (statSync(script, { throwIfNoEntry: false }) === undefined)
    throw missing('read-script', 'read the script', script);
  const flags = isMoved ? movedFlags(process.execArgv) : process.execArgv;
  return { command: process.execPath, args: [...flags, script, ...args] };
}

/** Node's options that name a module, and those that name a file. */
const moduleOptions = new Set(['-r', '--require', '--import', '--loader', '--experimental-loader']);
const fileOptions = new Set(['--env-file', '--env-file-if-exists']);

/** Node's flags with absolute paths in the place of what is looked for in the working directory. */
function movedFlags(flags: readonly string[]): string[] {
  return flags.map((flag, index) => {
    const [, option, value] = /^(--[^=]+)=(.*)$/s.exec(flag) ?? [];
    if (option !== undefined && value !== undefined) return `${option}=${moved(option, value)}`;
    return moved(flags[index - 1] ?? '', flag);
  });
}

function moved(option: string, value: string): string {
  if (fileOptions.has(option)) return absoluteAsCalled(value);
  if (!moduleOptions.has(option) || /^(\w[\w+.-]*:|\/)/.test(value)) return value;
  try {
    const found = createRequire(`${callersDirectory()}/`).resolve(value);
    return isAbsolute(found) && option.startsWith('--') && option !== '--require' ? pathToFileURL(found).href : found;
  } catch {
    // Node says itself what is wrong with it.
    return value;
  }
}

/** Where a command is, as execvp(3) finds it; throws `ENOENT`. */
export function locateCommand(command: string): string {
  if (command.includes('/')) return absolute(command);
  const found = searchPath()
    .map((directory) => join(directory, command))
    .find(isExecutable);
  if (found === undefined) throw missing('exec', 'execute', command);
  return found;
}

/** Whether a program can be called by its name alone. */
export function isOnPath(program: string): boolean {
  return searchPath().includes(dirname(program));
}

function searchPath(): string[] {
  return (process.env['PATH'] ?? '').split(delimiter).filter(isAbsolute);
}

/** The name of a daemon by default: that of its program. */
export function nameOf(program: string): string {
  const name = isScript(program) ? basename(program, extname(program)) : basename(program);
  try {
    checkName(name);
    return name;
  } catch (error) {
    if (!isDaemonError(error) || error.code !== 'ERR_INVALID_OPTION') throw error;
    throw new UsageError(`${JSON.stringify(name)} cannot be a daemon's name: give one with --name`);
  }
}

/** In the words of the core, which would fail with it, too. */
function missing(step: 'exec' | 'read-script', doing: string, path: string): DaemonError {
  const fields = { step, errno: -2, syscall: step === 'exec' ? 'execve' : 'faccessat', path };
  return daemonError('ENOENT', `cannot ${doing} ${path}: No such file or directory (ENOENT)`, fields);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}
