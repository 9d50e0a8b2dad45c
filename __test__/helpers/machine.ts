/** Whole machines for one test file: another Debian in namespaces of its own, with any first process. */
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { read } from './files.js';
import { hasEnded } from './processes.js';
import { run, start, type Outcome, type RunOptions } from './run.js';
import { until } from './until.js';

const repository = fileURLToPath(new URL('../..', import.meta.url));
const root = join(repository, 'target', 'machine');
const script = fileURLToPath(new URL('machine.sh', import.meta.url));

/** Why there can be no machine here; `undefined` where there can. */
export const noMachine: string | undefined = (() => {
  if (process.platform !== 'linux') return 'there are no namespaces here';
  if (process.getuid?.() !== 0) return 'only root can boot a machine';
  if (!existsSync(`${root}.made`)) return 'target/machine is not there: see tools/machine/fetch-machine';
  if (hierarchy() === undefined) return 'there is no cgroup2 here';
  const { status, stderr } = spawnSync('unshare', ['--pid', '--fork', '--mount', '--uts', '--ipc', '--cgroup', 'true']);
  if (status !== 0) return `namespaces are not allowed here: ${String(stderr).trim()}`;
  const load = 'require("/srv/" + require("fs").readdirSync("/srv").find((name) => name.endsWith(".node"))).steps()';
  const probe = `mount --bind '${repository}' '${root}/srv' && touch '${root}/usr/local/bin/node' &&
    mount --bind '${process.execPath}' '${root}/usr/local/bin/node' &&
    chroot '${root}' /usr/local/bin/node -e '${load}'`;
  const node = spawnSync('unshare', ['--mount', 'sh', '-c', probe]);
  return node.status === 0 ? undefined : `what was built here does not run there: ${String(node.stderr).trim()}`;
})();

/** Where the machines' control groups are made. */
function hierarchy(): string | undefined {
  const mount = /^\S+ (\S+) cgroup2 /m.exec(readFileSync('/proc/self/mounts', 'utf8'))?.[1];
  const group = /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1];
  return mount === undefined || group === undefined ? undefined : join(mount, group);
}

export interface Machine {
  /** Runs a program inside, with a plain environment. */
  run(command: string, args?: readonly string[], options?: RunOptions): Promise<Outcome>;
  /** The same with a shell. */
  sh(script: string, options?: RunOptions): Promise<Outcome>;
  /** Where a file of the machine lies for us. */
  at(path: string): string;
  /** Writes a file inside, with its directories. */
  write(path: string, text: string, mode?: number): void;
  /** What is in a file inside; nothing if there is none. */
  read(path: string): string;
  /** How its first process ended. */
  readonly done: Promise<Outcome>;
  /** The first process, by the pid that it has for us. */
  readonly pid: number;
  /** Ends it, and removes what is left of it. */
  end(): Promise<void>;
}

/** Starts a machine with `command` as its first process. */
export async function boot(command: readonly string[]): Promise<Machine> {
  const work = mkdtempSync(join(tmpdir(), 'daemonry-machine-'));
  const { child, done } = start('sh', [script, root, work, repository, process.execPath, ...command], {
    deadline: 600_000,
  });
  const settled = done.catch((error: unknown) => error as Error);
  let isOver = false;
  void settled.then(() => (isOver = true));
  const pid = await until('the first process of the machine runs', async () => {
    if (isOver) throw new Error(`the machine did not start: ${JSON.stringify(await settled)}`);
    return firstProcess(child.pid!);
  });
  const inside = ['-t', String(pid), '-m', '-p', '-u', '-i', '-C', '-r', '-w'];
  const environment = ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'HOME=/root'];
  const at = (path: string) => join(`/proc/${pid}/root`, path);
  const inMachine = (command: string, args: readonly string[] = [], options: RunOptions = {}) => {
    const variables = Object.entries(options.env ?? {}).map(([name, value]) => `${name}=${value}`);
    const words = [...inside, 'env', '-i', ...environment, ...variables, command, ...args];
    return run('nsenter', words, { ...options, env: process.env });
  };
  return {
    run: inMachine,
    sh: (script, options) => inMachine('sh', ['-c', script], options),
    at,
    write(path, text, mode = 0o644) {
      mkdirSync(dirname(at(path)), { recursive: true });
      writeFileSync(at(path), text, { mode });
    },
    read: (path) => read(at(path)),
    done,
    pid,
    async end() {
      // Its parent would take it along, but not where it has changed its user.
      if (!isOver) process.kill(pid, 'SIGKILL');
      child.kill('SIGKILL');
      await settled;
      await until('the first process has ended', () => hasEnded(pid));
      const group = join(hierarchy()!, `daemonry-test-${child.pid}`);
      // Its processes end after the first one, and are reaped when their reaper gets to it.
      await until('the control group is empty', () => removeGroup(group));
      rmSync(work, { recursive: true });
    },
  };
}

/** The machine's first process, once the script has made way for it. */
function firstProcess(parent: number): number | undefined {
  if (read(`/proc/${parent}/comm`) !== 'unshare\n') return undefined;
  const child = Number(read(`/proc/${parent}/task/${parent}/children`).trim());
  // By what the script leaves it. A command line tells nothing: it is empty for an instant whenever a process executes something.
  const isFirst = read(`/proc/${child}/environ`).split('\0').includes('container=daemonry-test');
  return isFirst ? child : undefined;
}

/** Control groups go from the leaves up; false while something still runs in one. */
function removeGroup(group: string): boolean {
  if (!existsSync(group)) return true;
  for (const entry of readdirSync(group, { withFileTypes: true })) {
    if (entry.isDirectory() && !removeGroup(join(group, entry.name))) return false;
  }
  try {
    rmdirSync(group);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EBUSY') return false;
    throw error;
  }
}
