/** Looking at files and the locks on them. */
import { closeSync, lstatSync, openSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

/** What is in a file; nothing if it is not there at this moment. */
export function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    // The second of a file of a process that has just ended.
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code!)) return '';
    throw error;
  }
}

/** Everything in a folder that a program which must leave it alone could change. */
export function snapshot(folder: string) {
  return readdirSync(folder).map((name) => {
    const path = join(folder, name);
    const stat = lstatSync(path, { bigint: true });
    const content = stat.isFile() ? readFileSync(path, 'latin1') : undefined;
    const { ino, mode, uid, nlink, size, mtimeNs, ctimeNs } = stat;
    return { name, ino, mode, uid, nlink, size, mtimeNs, ctimeNs, content };
  });
}

/** The locks on a file by the kernel's list, each with the process that took it. */
export function locksOn(path: string): { kind: 'FLOCK' | 'POSIX'; pid: number }[] {
  const fd = openSync(path, 'r');
  try {
    // The inode as the kernel counts it, which differs from stat's on overlayfs.
    const counted = /^ino:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1];
    const inode = counted ?? lstatSync(path).ino;
    return readFileSync('/proc/locks', 'utf8')
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .filter((words) => words[5]?.endsWith(`:${inode}`))
      .map((words) => ({ kind: words[1] as 'FLOCK' | 'POSIX', pid: Number(words[4]) }));
  } finally {
    closeSync(fd);
  }
}
