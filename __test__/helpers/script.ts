/** Running `fixtures/script.mjs`: programs and daemons that a test writes in place. */
import { existsSync, readFileSync } from 'node:fs';
import type { ExecutionContext } from 'ava';
import type { DaemonError } from '../../dist/index.js';
import { processes } from './processes.js';
import { fixture, start, type Outcome, type RunOptions } from './run.js';
import { until } from './until.js';
import type { Workspace } from './workspace.js';

/** What a script returned, or the fields of what it threw. */
export interface Told {
  readonly returned?: any;
  readonly error?: DaemonError & { readonly pid?: number };
}

/** Starts a script; the package, `fs`, `args` and the tools of the fixture are in its scope. */
export function startScript(body: string, args: readonly string[], { via = [], ...run }: ScriptOptions = {}) {
  const [command, ...rest] = [...via, process.execPath, fixture('script.mjs'), body, ...args];
  const { child, done } = start(command!, rest, run);
  return { child, done: done.then(toldBy) };
}

export interface ScriptOptions extends RunOptions {
  /** A command that runs the command that follows it, such as `['setpriv', '--no-new-privs']`. */
  readonly via?: readonly string[];
}

/** Runs a script to its end. */
export function runScript(body: string, args: readonly string[], options?: ScriptOptions): Promise<Told> {
  return startScript(body, args, options).done;
}

function toldBy({ stdout, stderr, code, signal }: Outcome): Told {
  const line = stdout.trimEnd().split('\n').at(-1);
  if (!line) throw new Error(`the script told nothing (code ${code}, signal ${signal}): ${stderr}`);
  return JSON.parse(line) as Told;
}

/** Runs a script whose launcher says `started`, and kills its daemon in the end if it is still there. Returns its pid. */
export async function startDaemon(
  t: ExecutionContext,
  { path }: Workspace,
  body: string,
  args: readonly string[],
  options?: ScriptOptions,
): Promise<number> {
  const { returned: pid, error } = await runScript(body, args, options);
  t.is(typeof pid, 'number', error?.message);
  t.teardown(() => killOwn(path, pid));
  return pid;
}

/** Kills a process if it is still the one that belongs to the workspace at `path`, and waits for its end. */
export async function killOwn(path: string, pid: number): Promise<void> {
  const own = processes().find((process) => process.pid === pid && process.mentions(path));
  own?.kill();
  await until(`process ${pid} has ended`, () => own === undefined || own.hasEnded());
}

/** What the script's `tell` wrote into a file, once it is there. */
export async function heard(file: string): Promise<any> {
  await until(`${file} is there`, () => existsSync(file));
  return JSON.parse(readFileSync(file, 'utf8'));
}
