/** Programs of a few lines, written where a test can read them. */
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import type { ExecutionContext } from 'ava';
import { status, stop } from '../../dist/index.js';
import { read } from './files.js';
import { run, start, type RunOptions } from './run.js';
import { until } from './until.js';
import { workspace, type Workspace } from './workspace.js';

/** What every program has at hand: the files beside it, notes for the test, options, and the library. */
const prelude = `
import fs from 'node:fs';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import * as daemonry from '${new URL('../../dist/index.js', import.meta.url).href}';
const { daemonize, currentDaemon } = daemonry;
const at = (name) => import.meta.dirname + '/' + name;
const note = (text) => fs.appendFileSync(at('notes'), text + '\\n');
const forever = () => void setInterval(() => {}, 60_000);
const never = () => (forever(), new Promise(() => {}));
const exists = async (name) => { while (!fs.existsSync(at(name))) await sleep(10); };
const options = { pidFile: at('daemon.pid'), onStarted: ({ pid }) => console.log('started ' + pid) };
`;

export interface Bench extends Workspace {
  readonly pidFile: string;
  /** Writes a program below the prelude; returns its path. */
  write(text: string, name?: string): string;
  /** Removes a file beside it. */
  remove(name: string): void;
  /** What is in the folder. */
  entries(): string[];
  /** Runs a program to its end: for a daemon, its launcher. */
  launch(text: string, options?: RunOptions): ReturnType<typeof run>;
  /** Launches a daemon that holds `pidFile` and is stopped in the end; returns its pid. */
  daemon(text: string, options?: RunOptions): Promise<number>;
  /** Runs a program in the foreground, away from any terminal, and waits until it notes "up". */
  foreground(text: string, options?: RunOptions): Promise<ReturnType<typeof start>>;
  /** What the programs have noted so far. */
  notes(): string[];
  /** Waits for a note. */
  noted(text: string): Promise<unknown>;
  /** Waits until nobody holds the pidfile; returns whether the file is gone, too. */
  gone(): Promise<boolean>;
}

/** A folder for one test and its programs. */
export function bench(t: ExecutionContext): Bench {
  const space = workspace(t);
  const pidFile = space.at('daemon.pid');
  const notes = () => read(space.at('notes')).split('\n').slice(0, -1);
  const noted = (text: string) => until(`"${text}" is noted`, () => notes().includes(text));
  const write = (text: string, name = 'program.mjs') => {
    writeFileSync(space.at(name), prelude + text);
    return space.at(name);
  };
  const launch = (text: string, options?: RunOptions) => run(process.execPath, [write(text)], options);
  return {
    ...space,
    pidFile,
    notes,
    noted,
    write,
    remove: (name) => rmSync(space.at(name)),
    entries: () => readdirSync(space.path),
    launch,
    async daemon(text, options) {
      const outcome = await launch(text, options);
      t.is(outcome.code, 0, outcome.stderr);
      t.teardown(() => stop({ pidFile }, { timeout: 500 }));
      return Number(outcome.stdout.match(/^started (\d+)$/m)?.[1]);
    },
    async foreground(text, options = {}) {
      const env = { ...process.env, DAEMONRY_MODE: 'foreground', ...options.env };
      // A core that a signal leaves is nobody's.
      const command = 'ulimit -c 0; exec "$@"';
      const args = ['-c', command, 'sh', process.execPath, write(text)];
      const started = start('sh', args, { detached: true, ...options, env });
      await Promise.race([noted('up'), started.done]);
      return started;
    },
    async gone() {
      const isFree = () => ['dead', 'stopped'].includes(status({ pidFile }).state);
      await until('the pidfile is free', isFree);
      return !existsSync(pidFile);
    },
  };
}
