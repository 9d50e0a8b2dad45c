/** The harness: a folder for one test, programs of a few lines in it, and what became of them. */
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ExecutionContext } from 'ava';
import * as daemonry from '../../dist/index.js';
import { read } from './files.js';
import { processes } from './processes.js';
import { fixture, run, start, type Outcome, type RunOptions } from './run.js';
import { until } from './until.js';
import { workspace, type Workspace } from './workspace.js';

const { daemonStatus, stopDaemon } = daemonry;
const root = fileURLToPath(new URL('../..', import.meta.url));

/** What every program has at hand: the library, its arguments, the files beside it, notes for the test, and options. */
const prelude = `
import fs from 'node:fs';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import * as daemonry from '${new URL('../../dist/index.js', import.meta.url).href}';
const { ${Object.keys(daemonry).join(', ')} } = daemonry;
const args = process.argv.slice(2);
const at = (name) => import.meta.dirname + '/' + name;
const note = (text) => fs.appendFileSync(at('notes'), text + '\\n');
const forever = () => void setInterval(() => {}, 60_000);
const never = () => (forever(), new Promise(() => {}));
const until = async (condition) => { while (!condition()) await sleep(10); };
const exists = (name) => until(() => fs.existsSync(at(name)));
const started = ({ pid }) => console.log('started ' + pid);
const options = { pidFile: at('daemon.pid'), onStarted: started };
`;

/** A program that prints as JSON what the body of an async function returned, or the fields of what it threw. */
export const calling = (body: string) => `
try {
  const started = ({ pid }) => console.log(JSON.stringify({ returned: pid }));
  const returned = await (async () => { ${body} })();
  if (returned !== undefined) console.log(JSON.stringify({ returned }));
} catch (error) {
  if (currentDaemon() !== undefined) throw error;
  console.log(JSON.stringify({ error: { name: error.name, message: error.message, ...error } }));
  process.exitCode = 1;
}`;

/** What a call in another process returned, or the fields of what it threw. */
export interface Answer {
  readonly returned?: any;
  readonly error?: daemonry.DaemonError & { readonly pid?: number };
}

/** What `fixtures/tell.cjs` writes. */
export interface Told {
  readonly argv: readonly string[];
  readonly argv0: string;
  readonly execArgv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly pid: number;
  readonly cwd: string;
  readonly umask: number;
  readonly [more: string]: unknown;
}

export interface ProgramOptions extends RunOptions {
  readonly args?: readonly string[];
  /** A command that runs the command that follows it, such as `['setpriv', '--no-new-privs']`. */
  readonly via?: readonly string[];
}

export interface Bench extends Workspace {
  readonly pidFile: string;
  /** Writes a program below the prelude; returns its path. */
  write(text: string, name?: string): string;
  /** Removes a file beside it. */
  remove(name: string): void;
  /** What is in the folder besides what was installed. */
  entries(): string[];
  /** Starts a program, which is killed after the test if it still runs. */
  start(text: string, options?: ProgramOptions): ReturnType<typeof start>;
  /** Runs a program to its end: for a daemon, its launcher. */
  launch(text: string, options?: ProgramOptions): Promise<Outcome>;
  /** Launches a daemon that prints `started PID`, and stops it after the test; returns its pid. */
  daemon(text: string, options?: ProgramOptions): Promise<number>;
  /** Runs a program in the foreground, away from any terminal, and waits until it notes "up". */
  foreground(text: string, options?: ProgramOptions): Promise<ReturnType<typeof start>>;
  /** Runs the body of an async function in a process of its own. */
  call(body: string, options?: ProgramOptions): Promise<Answer>;
  /** Kills a process after the test if it is still one of the folder's. */
  killAfterwards(pid: number): void;
  /** What the programs have noted so far. */
  notes(): string[];
  /** Waits for a note; returns it. */
  noted(note: string | RegExp): Promise<string>;
  /** Waits until nobody holds the pidfile; returns whether the file is gone, too. */
  gone(): Promise<boolean>;
  /** Runs node in the folder. */
  node(args: readonly string[], options?: RunOptions): Promise<Outcome>;
  /** Runs a shell there, in which `$NODE` is this node. */
  shell(script: string, options?: RunOptions): Promise<Outcome>;
  /** What a program told by `tell.cjs`; `undefined` if none did. */
  told(): Told | undefined;
}

/**
 * A folder for one test and its programs, in which daemonry is installed and `tell.cjs` lies. `files` are programs without the
 * prelude, and what else is to be there. After the test the daemons of the pidfiles `a.pid` and `b.pid` are stopped.
 */
export function bench(t: ExecutionContext, files: Readonly<Record<string, string>> = {}): Bench {
  const space = workspace(t);
  const { path, at } = space;
  // Other users run programs here, too.
  chmodSync(path, 0o755);
  mkdirSync(at('node_modules'));
  symlinkSync(root, at('node_modules', 'daemonry'));
  symlinkSync(`${root}/node_modules/tsx`, at('node_modules', 'tsx'));
  copyFileSync(fixture('tell.cjs'), at('tell.cjs'));
  const installed = readdirSync(path);
  for (const [name, source] of Object.entries(files)) {
    mkdirSync(dirname(at(name)), { recursive: true });
    writeFileSync(at(name), source);
  }
  for (const name of ['a.pid', 'b.pid']) t.teardown(() => stopDaemon({ pidFile: at(name) }));
  const pidFile = at('daemon.pid');
  const notes = () => read(at('notes')).split('\n').slice(0, -1);
  const noted = (note: string | RegExp) =>
    until(`${note} is noted`, () =>
      notes().find((line) => (typeof note === 'string' ? line === note : note.test(line))),
    );
  const write = (text: string, name = 'program.mjs') => {
    // Whoever is about to read the same program finds it whole.
    if (read(at(name)) !== prelude + text) writeFileSync(at(name), prelude + text);
    return at(name);
  };
  const startFile = (file: string, { args = [], via = [], ...options }: ProgramOptions = {}) => {
    const [command, ...rest] = [...via, process.execPath, file, ...args];
    return start(command!, rest, options);
  };
  const launch = (text: string, options?: ProgramOptions) => startFile(write(text), options).done;
  const killAfterwards = (pid: number) => {
    t.teardown(async () => {
      const own = processes().find((process) => process.pid === pid && process.mentions(path));
      own?.kill();
      await until(`process ${pid} has ended`, () => own === undefined || own.hasEnded());
    });
  };
  return {
    ...space,
    pidFile,
    notes,
    noted,
    write,
    remove: (name) => rmSync(at(name)),
    entries: () => readdirSync(path).filter((name) => !installed.includes(name)),
    start(text, options) {
      const started = startFile(write(text), options);
      t.teardown(() => started.child.kill('SIGKILL'));
      return started;
    },
    launch,
    async daemon(text, options) {
      const outcome = await launch(text, options);
      t.is(outcome.code, 0, outcome.stderr);
      const pid = Number(outcome.stdout.match(/^started (\d+)$/m)?.[1]);
      // If its pidfile is another one.
      killAfterwards(pid);
      t.teardown(() => stopDaemon({ pidFile }, { timeout: 500 }));
      return pid;
    },
    async foreground(text, options = {}) {
      const env = { ...process.env, DAEMONRY_MODE: 'foreground', ...options.env };
      // A core that a signal leaves is nobody's.
      const via = ['sh', '-c', 'ulimit -c 0; exec "$@"', 'sh'];
      const started = startFile(write(text), { detached: true, via, ...options, env });
      await Promise.race([noted('up'), started.done]);
      return started;
    },
    async call(body, options) {
      const { stdout, stderr, code, signal } = await startFile(write(calling(body), 'call.mjs'), options).done;
      const line = stdout.trimEnd().split('\n').at(-1);
      if (!line) throw new Error(`the call has no outcome (code ${code}, signal ${signal}): ${stderr}`);
      return JSON.parse(line) as Answer;
    },
    killAfterwards,
    async gone() {
      const isFree = async () => ['dead', 'stopped'].includes((await daemonStatus({ pidFile })).state);
      await until('the pidfile is free', isFree);
      return !existsSync(pidFile);
    },
    node: (args, options) => run(process.execPath, args, { cwd: path, ...options }),
    shell: (script, options) =>
      run('sh', ['-c', script], {
        cwd: path,
        ...options,
        env: { ...process.env, ...options?.env, NODE: process.execPath },
      }),
    told: () => (existsSync(at('told.json')) ? (JSON.parse(read(at('told.json'))) as Told) : undefined),
  };
}
