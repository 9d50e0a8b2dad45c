/** Whether two paths mean one file, however they are spelled. */
import { realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** Also where the file, or its directory, does not exist. */
export function isSameFile(one: string, other: string): boolean {
  return one === other || real(one) === real(other);
}

/** A path without symbolic links in those of its directories that exist: `/var/run` is one. */
function real(path: string): string {
  const directory = dirname(path);
  if (directory === path) return path;
  try {
    return join(realpathSync(directory), basename(path));
  } catch {
    return join(real(directory), basename(path));
  }
}
