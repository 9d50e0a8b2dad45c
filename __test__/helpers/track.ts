/** What races are about: a pidfile, its daemons, and whether what was told about them is true. */
import { existsSync } from 'node:fs';
import type { ExecutionContext } from 'ava';
import { daemonStatus, spawnDaemon, stopDaemon, type SpawnDaemonOptions } from '../../dist/index.js';
import { count, type Counts } from './counts.js';
import { environmentOf, hasEnded } from './processes.js';
import type { Move, Outcome } from './racers.js';
import { until } from './until.js';
import { workspace } from './workspace.js';

/** A pidfile to race for. */
export interface Track {
  readonly pidFile: string;
  readonly at: (name: string) => string;
  /** Options for a start of its daemon. */
  options(more?: SpawnDaemonOptions): SpawnDaemonOptions;
  start(more?: SpawnDaemonOptions): Move;
  stop(): Move;
  /** Starts one that lives for so many seconds. */
  given(seconds?: number): Promise<number>;
  isAlive(pid: number): boolean;
}

export function track(t: ExecutionContext): Track {
  const { path, at } = workspace(t);
  const pidFile = at('a.pid');
  t.teardown(() => stopDaemon({ pidFile }));
  const options = (more: SpawnDaemonOptions = {}) => ({ pidFile, env: { PLACE: path }, ...more });
  return {
    pidFile,
    at,
    options,
    start: (more) => ({ call: 'spawnDaemon', args: ['sleep', ['1000'], options(more)] }),
    stop: () => ({ call: 'stopDaemon', args: [{ pidFile }] }),
    given: async (seconds = 1000) => (await spawnDaemon('sleep', [String(seconds)], options())).pid,
    // Pids wrap in a long run: another process may have it by now. One that has just been executed has no environment yet.
    isAlive: (pid) => !hasEnded(pid) && ['', `PLACE=${path}`].includes(placeOf(pid)),
  };
}

function placeOf(pid: number): string {
  const environment = environmentOf(pid);
  return environment?.find((variable) => variable.startsWith('PLACE=')) ?? environment?.join() ?? 'gone';
}

/** How often each move came to what. */
export function tally(counts: Counts, told: readonly Outcome[]): void {
  for (const { move, returned, error } of told) {
    if (move.call === 'look') {
      for (const [seen, times] of Object.entries<number>(returned ?? {}))
        count(counts, `seen ${seen.split(' ')[0]}`, times);
    } else {
      count(counts, error?.code ?? returned?.outcome ?? (move.call === 'signalDaemon' ? 'signalled' : 'removed'));
    }
  }
}

/** What daemons a race may have ended without telling: those that end by themselves, and those that others replace. */
interface Excuses {
  readonly ends?: number;
  /** Whether the pidfile of one that ended without a word may be left. */
  readonly leavesFile?: boolean;
}

/** Everything that is wrong with what a race came to. */
export async function flaws(
  { pidFile, isAlive }: Track,
  before: readonly number[],
  told: readonly Outcome[],
  { ends = 0, leavesFile = false }: Excuses = {},
): Promise<string[]> {
  const started = told.flatMap(({ returned }) =>
    ['started', 'replaced'].includes(returned?.outcome) ? [returned.pid as number] : [],
  );
  const failed = told.flatMap(({ error }) => (hasFailed(error?.code) && error?.pid !== undefined ? [error.pid] : []));
  const ended = told.flatMap(({ move: { call }, returned }) =>
    call === 'signalDaemon' || call === 'stopDaemon' ? (returned?.pid ?? []) : [],
  );
  const born = [...before, ...started, ...failed];
  const wrong = told.filter((outcome) => !isTrue(outcome, born, ended)).map((outcome) => JSON.stringify(outcome));

  const living = () => born.filter(isAlive);
  const isSettled = async () => !ended.some(isAlive) && living().join() === (await runningAt(pidFile)).join();
  await until('the daemons that were ended are gone', isSettled, 10_000).catch(async () => {
    wrong.push(`ended: ${ended.join()}; alive: ${living().join()}; ${JSON.stringify(await daemonStatus({ pidFile }))}`);
  });
  const lost = [...before, ...started].filter((pid) => !ended.includes(pid) && !isAlive(pid));
  if (lost.length > ends) wrong.push(`ended by nobody: ${lost.join()}`);
  if (living().length === 0 && !leavesFile && existsSync(pidFile))
    wrong.push(`left behind: ${JSON.stringify(await daemonStatus({ pidFile }))}`);
  return wrong.length === 0 ? [] : [...wrong, `told: ${told.map((outcome) => JSON.stringify(outcome)).join('\n')}`];
}

/** Whether it can be true what a move was told, of the daemons that there were and of those that were ended. */
export function isTrue(
  { move, returned, error, gone }: Outcome,
  born: readonly number[],
  ended: readonly number[],
): boolean {
  if (gone !== undefined) return false;
  const code = error?.code;
  if (error !== undefined && move.call === 'spawnDaemon') {
    if (code === 'ERR_ALREADY_RUNNING') return born.includes(error.pid!);
    // Of one that was to replace another, before it had a process of its own.
    const { ifRunning } = move.args[2] as SpawnDaemonOptions;
    if (code === 'ERR_START_CANCELLED' && error.pid === undefined) return ifRunning === 'replace';
    return hasFailed(code) && ended.includes(error.pid!);
  }
  if (error !== undefined) {
    return code === 'ERR_NOT_RUNNING' ? move.call === 'signalDaemon' : code === 'ENOENT' && move.call === 'unlinkSync';
  }
  switch (move.call) {
    case 'spawnDaemon':
    case 'signalDaemon':
      return born.includes(returned.pid);
    case 'stopDaemon':
      return returned.outcome === 'not-running' || (returned.outcome === 'stopped' && born.includes(returned.pid));
    case 'look':
      return Object.keys(returned).every((seen) => isTrueState(seen, born));
    default:
      return true;
  }
}

function hasFailed(code: string | undefined): boolean {
  return code === 'ERR_START_FAILED' || code === 'ERR_START_CANCELLED';
}

/** Between a lock and its text a starter has no name yet; a daemon that is exiting is stopping. */
function isTrueState(seen: string, born: readonly number[]): boolean {
  const [state, pid] = seen.split(' ');
  if (pid === undefined) return ['stopped', 'dead', 'starting', 'unknown'].includes(state!);
  return state === 'dead' || (['starting', 'running', 'stopping'].includes(state!) && born.includes(Number(pid)));
}

/** The pid of the daemon that runs, if one does. */
export async function runningAt(pidFile: string): Promise<number[]> {
  const found = await daemonStatus({ pidFile });
  return found.state === 'running' ? [found.pid] : [];
}
