/**
 * What the fixture of the hostile neighbour has at hand, in the namespaces of neighbourhood.sh: files that only root may touch,
 * processes that nothing may touch, the neighbour's programs, and a record of what each call came to.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  constants,
  existsSync,
  lstatSync,
  statSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isDaemonError, type DaemonError } from '../../dist/index.js';
import { count, type Counts } from './counts.js';
import { descriptors, hasEnded, processes } from './processes.js';
import { fixture } from './run.js';
import { until } from './until.js';

/** The neighbour. */
export const www = 4242;
/** Another user, without an entry in the user database. */
export const stranger = 5353;

const program = fileURLToPath(new URL('../../target/release/neighbour', import.meta.url));

/** What every process has in its environment, so that those that are left are found. */
export const env = { PLACE: `daemonry-neighbour-${process.pid}-${Date.now()}` };

const asNeighbour = { uid: www, gid: www, cwd: '/', env: { ...process.env, ...env } };

export interface Figures {
  rounds: number;
  /** Rounds in which the neighbour got what it needs for its attack. */
  attacked: number;
  /** Everything that came of it and must not, how often. */
  effects: Counts;
  /** The first few of them, in full. */
  examples: string[];
  /** What root's calls came to. */
  counts: Counts;
}

export const figures: Figures = { rounds: 0, attacked: 0, effects: {}, examples: [], counts: {} };

export function effect(what: string, details = ''): void {
  count(figures.effects, what);
  if (figures.effects[what]! <= 2) figures.examples.push(`round ${figures.rounds}, ${what}: ${details}`.slice(0, 1000));
}

/** Counts what a call came to. */
export function came(call: string, to: string): void {
  count(figures.counts, `${call}: ${to}`);
}

/** Makes a call. One that does not end, or throws anything but an error of daemonry's in one line, is an effect. */
export async function told<T>(
  call: string,
  work: () => T | Promise<T>,
): Promise<{ returned?: T; error?: DaemonError }> {
  const hung = Symbol('hung');
  const deadline = sleep(30_000, hung, { ref: false });
  try {
    const returned = await Promise.race([(async () => work())(), deadline]);
    if (returned === hung) {
      effect(`${call} hangs`);
      return {};
    }
    const { outcome, state } = (returned ?? {}) as { outcome?: string; state?: string };
    came(call, outcome ?? state ?? 'done');
    return { returned: returned as T };
  } catch (error) {
    if (!isDaemonError(error)) {
      effect(`${call} throws something else`, String((error as Error).stack ?? error));
      return {};
    }
    came(call, error.code);
    if (error.message.includes('\n')) effect(`${call} reports more than a line`, error.message);
    return { error };
  }
}

/** Removes and makes again everything that rounds may change. */
export function furnish(): void {
  for (const folder of ['/srv', '/tmp']) {
    for (const name of readdirSync(folder)) {
      // Named pipes of tsx, and a daemon's own folder, last longer than a round.
      if (!/^(home|tsx-.*|node-compile-cache)$/.test(name))
        rmSync(join(folder, name), { recursive: true, force: true });
    }
  }
  rmSync('/run/app', { recursive: true, force: true });
  const folders = { '/srv/secret': 0o700, '/srv/secret/deep': 0o755, '/srv/public': 0o755, '/run/app': 0o755 };
  for (const [folder, mode] of Object.entries(folders)) {
    mkdirSync(folder);
    chmodSync(folder, mode);
  }
  for (const folder of ['/srv/secret', '/srv/secret/deep', '/srv/public']) {
    for (const name of ['app.log', 'app.pid', 'app.sock', 'app.in']) {
      const path = join(folder, name);
      // A socket that nothing listens on is what a start replaces.
      if (name === 'app.sock') spawnSync(program, ['plant', 'socket', path]);
      else writeFileSync(path, name === 'app.pid' ? '' : 'secret\n', { mode: 0o644 });
    }
  }
  mkdirSync('/srv/www');
  chownSync('/srv/www', www, www);
  mkdirSync('/srv/stranger');
  chownSync('/srv/stranger', stranger, stranger);
}

/** Everything about root's own files that could change. */
export function canaries(): Record<string, string> {
  const seen: Record<string, string> = {};
  const look = (path: string) => {
    const { ino, mode, uid, gid, mtimeNs } = lstatSync(path, { bigint: true });
    const isFile = lstatSync(path).isFile();
    const content = isFile ? JSON.stringify(readFileSync(path, 'utf8')) : '';
    // What is in a folder is compared by itself.
    const changed = lstatSync(path).isDirectory() ? '' : mtimeNs;
    seen[path] = `inode ${ino}, mode ${mode.toString(8)}, owner ${uid}:${gid}, ${changed}, ${content}`;
    if (lstatSync(path).isDirectory()) for (const name of readdirSync(path)) look(join(path, name));
  };
  for (const folder of ['/srv/secret', '/srv/public']) look(folder);
  return seen;
}

/** Reports what has changed. */
export function compare(before: Record<string, string>): void {
  const after = canaries();
  for (const path of new Set([...Object.keys(before), ...Object.keys(after)])) {
    if (before[path] === after[path]) continue;
    const kind = before[path] === undefined ? 'made' : after[path] === undefined ? 'removed' : 'changed';
    effect(`a file of root's is ${kind}`, `${path}: ${before[path]} -> ${after[path]}`);
  }
}

/** A process of root's that has nothing to do with any daemon, and notes every signal. */
export async function bystander(pid?: number) {
  if (pid !== undefined) nextPid(pid);
  const child = spawn('sh', [fixture('bystander.sh')], { stdio: ['pipe', 'pipe', 'inherit'] });
  const exit = once(child, 'exit');
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
  await until('the bystander is up', () => lines.includes('up'));
  return {
    pid: child.pid!,
    /** Lets it go, and reports what it got. */
    async leave() {
      child.stdin.write('end\n');
      await exit;
      const signals = lines.filter((line) => line !== 'up');
      if (child.signalCode !== null) signals.push(child.signalCode);
      for (const signal of signals) effect("a process of root's gets a signal", signal);
    },
  };
}

/** The pid that the next process gets, if it is free. */
export function nextPid(pid: number): void {
  writeFileSync('/proc/sys/kernel/ns_last_pid', String(pid - 1));
}

const attackers = new Set<ChildProcess>();

/** Has the neighbour begin something; resolves once it has, with its first line. */
export async function attack(...args: readonly string[]) {
  const child = spawn(program, args, { ...asNeighbour, stdio: ['pipe', 'pipe', 'inherit'] });
  attackers.add(child);
  const exit = once(child, 'exit');
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
  child.stdin.on('error', () => {});
  const line = () => until('the neighbour writes a line', () => lines.shift() ?? child.exitCode !== null, 10_000);
  const first = await line();
  return {
    pid: child.pid!,
    first: String(first),
    /** Sends a line, and returns the next one. */
    async next() {
      child.stdin.write('\n');
      return String(await line());
    },
    isAlive: () => child.exitCode === null && child.signalCode === null,
    async end() {
      child.kill('SIGKILL');
      await exit;
      attackers.delete(child);
    },
  };
}

/** Has the neighbour make something, if it can. */
export function plant(kind: string, path: string, target = ''): void {
  spawnSync(program, ['plant', kind, path, target], { ...asNeighbour, stdio: 'ignore' });
}

/** Has the neighbour run a line of shell. */
export function byNeighbour(line: string): void {
  spawnSync('sh', ['-c', line], { ...asNeighbour, stdio: 'ignore' });
}

/** What a rogue daemon executes. */
export const rogue = (file: string, mode: string): [string, string[]] => [program, ['rogue', file, mode]];

/** Ends every daemon and every process of the neighbour's that is left, but for those that attack. */
export async function sweep(): Promise<void> {
  const own = new Set([...attackers].map(({ pid }) => pid));
  const left = processes().filter(({ pid, mentions }) => mentions(env.PLACE) && !own.has(pid));
  for (const { pid } of left) kill(pid);
  await until('they have ended', () => left.every(({ pid }) => hasEnded(pid)));
}

export function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Kills a daemon, and waits until its pid is free. */
export async function crash(pid: number): Promise<void> {
  kill(pid);
  await until(`${pid} is gone`, () => !existsSync(`/proc/${pid}`));
}

/** The files of root's that a process can write by its descriptors. */
export function writableOfRoot(pid: number): string[] {
  return [...descriptors(pid)].flatMap(([fd, path]) => {
    // Not by its path, which the neighbour exchanges.
    const file = statSync(`/proc/${pid}/fd/${fd}`, { throwIfNoEntry: false });
    return file?.isFile() && file.uid === 0 && isWritable(pid, fd) ? [path] : [];
  });
}

function isWritable(pid: number, fd: number): boolean {
  try {
    const flags = /^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'))?.[1] ?? '0';
    return (parseInt(flags, 8) & (constants.O_WRONLY | constants.O_RDWR)) !== 0;
  } catch {
    // Closed between the two looks.
    return false;
  }
}
