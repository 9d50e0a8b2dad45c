/** The caller's directory, and paths in it, as the caller calls them: a link such as `current` is followed anew by each restart. */
import { statSync } from 'node:fs';
import { isAbsolute, resolve } from 'node:path';
import { daemonError, systemCallError, type Errno } from '../errors.js';
import { native } from '../native/index.js';
import { isSameFile } from './same-file.js';

/**
 * The working directory: `PWD` if that leads there, else its real path. Throws a {@link SystemCallError} if it was removed and
 * `PWD` does not name it.
 */
export function callersDirectory(): string {
  return native().logicalDirectory() ?? absolute('.');
}

/** The same for a program that works in another directory: `/` if it was removed. */
export function callersDirectoryOrRoot(): string {
  return native().logicalDirectory() ?? '/';
}

/** Throws a {@link SystemCallError} for a directory to which a change would fail. */
export function checkDirectory(directory: string): void {
  try {
    // Searched, as a change to it would be.
    statSync(`${directory}/.`);
  } catch (error) {
    throw systemCallError('chdir', 'change the working directory to', directory, error);
  }
}

/** Makes a path absolute. Throws a {@link SystemCallError} for a relative one if the working directory was removed. */
export function absolute(path: string): string {
  try {
    return resolve(path);
  } catch (error) {
    const { code, errno } = error as NodeJS.ErrnoException;
    if (code === undefined || errno === undefined) throw error;
    const message = `cannot resolve the relative path ${path}: the working directory does not exist any more (${code})`;
    throw daemonError(code as Errno, message, { step: 'chdir', errno, syscall: 'getcwd', path }, error);
  }
}

/** The same, but with the caller's directory as the caller calls it. */
export function absoluteAsCalled(path: string): string {
  const real = absolute(path);
  return isAbsolute(path) ? real : asCalled(real);
}

/** The script that this process runs, as it was called: Node.js knows only its real place in the working directory. */
export function calledScript(script: string): string {
  const called = isAbsolute(script) ? asCalled(script) : script;
  return called === script || native().commandLine().includes(script) ? script : called;
}

function asCalled(path: string): string {
  const physical = realDirectory();
  if (physical === undefined || (path !== physical && !path.startsWith(`${physical}/`))) return path;
  const called = callersDirectory() + path.slice(physical.length);
  return isSameFile(called, path) ? called : path;
}

/** `undefined` if it was removed: then nothing is in it. */
function realDirectory(): string | undefined {
  try {
    return process.cwd();
  } catch {
    return undefined;
  }
}
