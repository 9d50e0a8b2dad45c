/** What a program on the command line means. */
import { accessSync, constants, statSync } from 'node:fs';
import { basename, delimiter, dirname, extname, isAbsolute, join, resolve } from 'node:path';
import { daemonError, type DaemonError } from '../errors.js';
import { UsageError } from './arguments.js';

const scripts = /\.[cm]?[jt]s$/;

/** Whether a file is a script for Node.js, by its name. */
export function isScript(file: string): boolean {
  return scripts.test(file);
}

/** A script is run by this Node.js, with its flags; everything else is found as a shell finds it. */
export function programOf(given: string, args: readonly string[]): { command: string; args: readonly string[] } {
  if (!isScript(given)) return { command: given, args };
  const script = resolve(given);
  if (statSync(script, { throwIfNoEntry: false }) === undefined) throw missing(script);
  return { command: process.execPath, args: [...process.execArgv, script, ...args] };
}

/** Where a command is, as execvp(3) finds it; throws `ENOENT`. */
export function locateCommand(command: string): string {
  if (command.includes('/')) return resolve(command);
  const found = searchPath()
    .map((directory) => join(directory, command))
    .find(isExecutable);
  if (found === undefined) throw missing(command);
  return found;
}

/** Whether a program can be called by its name alone. */
export function isOnPath(program: string): boolean {
  return searchPath().includes(dirname(program));
}

function searchPath(): string[] {
  return (process.env['PATH'] ?? '').split(delimiter).filter(isAbsolute);
}

/** What a daemon is called whose program nobody has given another name. */
export function nameOf(program: string): string {
  const name = isScript(program) ? basename(program, extname(program)) : basename(program);
  if (/^[A-Za-z0-9_.@-]+$/.test(name) && !/^\.+$/.test(name)) return name;
  throw new UsageError(`${JSON.stringify(name)} cannot be a daemon's name: give one with --name`);
}

function missing(program: string): DaemonError {
  const fields = { step: 'exec', errno: -2, syscall: 'execve', path: program } as const;
  return daemonError('ENOENT', `cannot start ${program}: No such file or directory (ENOENT)`, fields);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}
