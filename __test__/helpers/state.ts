/** The private files of daemons, which daemonry itself never removes. */
import { readdirSync, rmdirSync, rmSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { read } from './files.js';

/** Removes those of all pidfiles that `isOurs` agrees to, of whatever user. */
export function removeState(isOurs: (pidFile: string) => boolean): void {
  for (const file of filesOf(isOurs)) rmSync(file, { force: true });
  for (const directory of directories()) if (directory.startsWith('/tmp/')) removeIfEmpty(directory);
}

/** Those of one pidfile. */
export function privateFiles(pidFile: string): string[] {
  return filesOf((found) => found === pidFile);
}

function directories(): string[] {
  const others = readdirSync('/tmp').filter((name) => /^daemonry-\d+$/.test(name));
  const home = join(userInfo().homedir, '.local/state/daemonry-locks');
  return ['/run/daemonry/locks', home, ...others.map((name) => join('/tmp', name))];
}

function filesOf(isOurs: (pidFile: string) => boolean): string[] {
  return directories().flatMap((directory) => {
    const files = entries(directory);
    return files.flatMap((file) => {
      const [key, kind] = file.split('.');
      const text = kind === 'lock' || kind === 'name' ? read(join(directory, file)) : '';
      // The third line of a lock; a name's is the only one.
      const path = kind === 'lock' ? text.split('\n')[2] : text;
      if (path === undefined || path === '' || !isOurs(path)) return [];
      return files.filter((other) => other.startsWith(`${key}.`)).map((other) => join(directory, other));
    });
  });
}

function entries(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    // Not there, or not for this user.
    return [];
  }
}

function removeIfEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch {
    // In use.
  }
}
