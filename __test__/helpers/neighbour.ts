/** An ordinary user beside root's daemons, who owns files and directories that root gets to see, and what that user tries. */
import { spawn } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { dirname } from 'node:path';
import type { ExecutionContext } from 'ava';
import { workspace, type Workspace } from './workspace.js';

/** Users and groups that no database has, so that they own nothing else. */
export const www = { uid: 54_321, gid: 54_321 };
export const bob = { uid: 54_322, gid: 54_322 };

/** Options of a daemon that runs as `www`. */
export const asWww = { user: www.uid, group: www.gid, groups: [] };

export interface Neighbourhood extends Workspace {
  /** Makes a directory with exactly this mode, by default www's. Returns its path. */
  directory(name: string, options?: Owner): string;
  /** Makes a file likewise. */
  file(name: string, content: string, options?: Owner): string;
}

interface Owner {
  readonly uid?: number;
  readonly gid?: number;
  readonly mode?: number;
}

/**
 * A folder of root's that everybody may look into, with a directory `app` of www's and a directory `secret` that only root may
 * enter.
 */
export function neighbourhood(t: ExecutionContext): Neighbourhood {
  const folder = workspace(t);
  const own = (path: string, mode: number, { uid = www.uid, gid = uid }: Owner) => {
    chownSync(path, uid, gid);
    chmodSync(path, mode);
    return path;
  };
  const made: Neighbourhood = {
    ...folder,
    directory(name, { mode = 0o755, ...owner } = {}) {
      mkdirSync(folder.at(name));
      return own(folder.at(name), mode, owner);
    },
    file(name, content, { mode = 0o644, ...owner } = {}) {
      mkdirSync(dirname(folder.at(name)), { recursive: true });
      writeFileSync(folder.at(name), content);
      return own(folder.at(name), mode, owner);
    },
  };
  chmodSync(folder.path, 0o755);
  made.directory('app');
  made.directory('secret', { uid: 0, mode: 0o700 });
  return made;
}

/** The numbers of system calls that Perl has no functions for. */
const numbers = {
  x64: { renameat2: 316, keyctl: 250, add_key: 248, prctl: 157, setxattr: 188 },
  arm64: { renameat2: 276, keyctl: 219, add_key: 217, prctl: 167, setxattr: 5 },
}[process.arch as 'x64' | 'arm64'];

/** Perl, which every Debian has, running a script in which `$NUMBER{CALL}` is the number of a system call. */
export function perl(script: string, ...args: readonly string[]): [string, ...string[]] {
  const table = Object.entries(numbers ?? {}).map(([call, number]) => `${call} => ${number}`);
  return ['perl', '-e', `our %NUMBER = (${table.join(', ')}); ${script}`, '--', ...args];
}

/** Exchanges two names as fast as www can, until the test ends. Resolves as soon as that happens. */
export async function exchanging(t: ExecutionContext, one: string, other: string): Promise<void> {
  const script = `
    my ($one, $other) = @ARGV;
    $| = 1;
    print "begun\\n";
    while (getppid() == $ENV{TEST}) {
      for (1 .. 1000) { syscall($NUMBER{renameat2}, -100, $one, -100, $other, 2) == 0 or die "renameat2: $!" }
    }`;
  const [command, ...args] = perl(script, one, other);
  const child = spawn(command, args, {
    ...www,
    cwd: '/',
    env: { TEST: String(process.pid) },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  t.teardown(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  await once(child.stdout, 'data');
}
