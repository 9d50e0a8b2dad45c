/** Inspects, signals, stops and forgets daemons, by name or pidfile. */
import { constants } from 'node:os';
import type { NativeEnd } from '../index.js';
import { currentDaemon } from './current-daemon.js';
import { daemonError, isDaemonError, type DaemonError } from './errors.js';
import { reportUnrecorded } from './launch/stderr.js';
import { failureError, isFailure, native, unwrap } from './native/index.js';
import * as check from './options/check.js';
import { defaults } from './options/defaults.js';
import { locate, locateAll, locateJournals, type Located, type Target } from './store/locate.js';
import { publicRecord, type DaemonCaller, type DaemonRecord } from './store/record.js';

/** What every {@link DaemonStatus} has. */
interface StatusBase {
  /** The name that was asked for. */
  readonly name?: string;
  /** Its pidfile. */
  readonly pidFile: string;
  /** Of a named daemon: what is on record about it, if the caller may read that. */
  readonly record?: DaemonRecord;
}

/** The state of a daemon, from its pidfile. A pid in it counts only when the kernel names that process as the holder. */
export type DaemonStatus = StatusBase &
  (
    | {
        /** Up, or on its way out. */
        readonly state: 'running' | 'stopping';
        /** The daemon's pid, confirmed by the kernel. */
        readonly pid: number;
        /** When the process was started. */
        readonly since: Date;
        /** The last reload, if it failed; missing once a reload has succeeded, and for users who may not read the daemon's state. */
        readonly failedReload?: FailedReload;
      }
    | {
        /** A start is under way. */
        readonly state: 'starting';
        /** The process that is being started, if it is known already. */
        readonly pid?: number;
      }
    | {
        /** It has ended without having been asked to, or has left processes behind, or a pidfile that no process holds. */
        readonly state: 'dead';
        /** The pid that it had, which may by now be another process's. */
        readonly lastPid?: number;
        /** How it has ended, if known. */
        readonly ended?: DaemonEnd;
        /** The last start, if it failed; of a named daemon. */
        readonly failedStart?: FailedStart;
      }
    | {
        /** Locked, but not by the process whose pid is in it; or, from {@link list} alone, it cannot be inspected. */
        readonly state: 'unknown';
        /** Why it cannot be inspected. */
        readonly error?: DaemonError;
        /** The process that holds it, if it can be found. */
        readonly heldBy?: number;
      }
    | {
        /** No pidfile, and nothing has crashed. */
        readonly state: 'stopped';
        /** How the last one has ended, if known. */
        readonly ended?: DaemonEnd;
        /** The last start, if it failed; of a named daemon. */
        readonly failedStart?: FailedStart;
      }
  );

/**
 * How a daemon has ended, until it is started again. For a named daemon it outlives a reboot.
 *
 * | reason | what happened |
 * | --- | --- |
 * | `stopped` | it was asked to stop |
 * | `replaced` | it was asked to stop because another one was to take its place: `daemonry restart`, `ifRunning: 'replace'`, another `version` |
 * | `finished` | it had nothing left to do, and exited with 0 |
 * | `idle` | nothing had held it for `idleTimeout` |
 * | `crashed` | it threw, or exited with another code, without having been asked to stop |
 * | `killed` | it did not stop in time |
 * | `vanished` | no process saw how: it was killed by another program or by the kernel, or does not call `daemonize` |
 * | `lost` | it ran when the machine, or the container, ended |
 */
export interface DaemonEnd {
  /** Why, as in the table. */
  readonly reason: 'stopped' | 'replaced' | 'finished' | 'idle' | 'crashed' | 'killed' | 'vanished' | 'lost';
  /** When; missing if no process saw it. */
  readonly at?: Date;
  /** The code that it exited with, by its own word. */
  readonly exitCode?: number;
  /** The signal that it died of, by its own word. */
  readonly signal?: NodeJS.Signals;
  /** The process that asked it to stop, by {@link stop}, a restart or a replacement. */
  readonly by?: DaemonCaller;
  /** What it had thrown, in one line. */
  readonly lastWords?: string;
  /**
   * For `replaced`: `true` if no other one has come up, because its start has failed, or none has begun within 30 s. From
   * {@link status} and {@link list} only; missing otherwise.
   */
  readonly replacementFailed?: true;
}

/** A start that failed. */
export interface FailedStart {
  /** When. */
  readonly at: Date;
  /** Why, in one sentence. */
  readonly reason: string;
}

/** A reload that failed. */
export interface FailedReload {
  /** When. */
  readonly at: Date;
  /** What the handlers threw, or why a log could not be reopened, in one line. */
  readonly reason: string;
}

/** Options of {@link stop}. */
export interface StopOptions {
  /**
   * The signal that asks the daemon to stop.
   * @default 'SIGTERM'
   */
  readonly killSignal?: NodeJS.Signals;
  /**
   * Milliseconds that it may take.
   * @default the daemon's own `stopTimeout` and 2_000; 10_000 if that is not known
   */
  readonly timeout?: number;
  /**
   * Whether SIGKILL follows; `false` throws `ERR_STOP_TIMEOUT` instead.
   * @default true
   */
  readonly force?: boolean;
}

/**
 * How a daemon was stopped: by itself, by SIGKILL, or not at all because none was running. Processes that a daemon has left behind
 * are ended in the last case, too.
 */
export type StopResult =
  | {
      readonly outcome: 'stopped' | 'killed';
      /** The pid that it had. */
      readonly pid: number;
      /** What went wrong with its stop handlers: one threw, or they were cut off after `stopTimeout`. */
      readonly handlers?: 'failed' | 'timed-out';
      /** How many other processes of its session were ended after it (option `killMode`); missing where there were none. */
      readonly othersEnded?: number;
      /** How many run on, because they are another user's or cannot be proven to be of its session; missing where none does. */
      readonly othersLeft?: number;
    }
  | {
      readonly outcome: 'not-running';
      /** The pid that the daemon had; missing if it had left no processes behind. */
      readonly lastPid?: number;
      /** How many processes that it had left behind were ended; missing where there were none. */
      readonly othersEnded?: number;
      /** How many run on, because they are another user's or cannot be proven to be of its session; missing where none does. */
      readonly othersLeft?: number;
    };

/** Options of {@link reloadDaemon}. */
export interface ReloadOptions {
  /**
   * Milliseconds to wait for the reload.
   * @default 10_000
   */
  readonly timeout?: number;
}

/** What became of a reload that did not fail. */
export interface ReloadResult {
  /**
   * `'reloaded'`: the logs are reopened and all handlers have finished. `'signalled'`: SIGHUP was sent, but how the program
   * handles it is not known: it has its own listener instead of {@link Daemon.onReload}, or root has started it and the caller may
   * not read its state.
   */
  readonly outcome: 'reloaded' | 'signalled';
  /** The daemon. */
  readonly pid: number;
}

/** What became of a daemon that was to be forgotten: it was, or there was nothing to forget. */
export type ForgetResult =
  | {
      /** Everything but its log was removed. */
      readonly outcome: 'forgotten';
      /** Its log, which stays; only a record says where that is. */
      readonly logFile?: string;
    }
  | {
      /** There was nothing to remove. */
      readonly outcome: 'not-known';
    };

/**
 * Returns the state of a daemon without disturbing it.
 * @throws `ERR_NOT_A_PIDFILE`, `ERR_INVALID_OPTION`, a {@link SystemCallError}
 */
export function status(target: Target): DaemonStatus {
  return statusOf(locate(target));
}

/**
 * The named daemons of this user, and the system's, running or not, in the order of their names. One whose pidfile cannot be
 * inspected, or is something else, is `unknown`, with the `error`. One that was never up is in the list if its last start failed.
 * @throws a {@link SystemCallError} for directories that cannot be read
 */
export function list(): DaemonStatus[] {
  const known = locateAll();
  const places = new Set(known.map(({ pidFile }) => pidFile));
  const neverUp = locateJournals().filter(({ pidFile }) => !places.has(pidFile));
  const failed = neverUp.map(inspected).filter((found) => 'failedStart' in found);
  return [...known.map(inspected), ...failed].toSorted((one, other) => (one.name! < other.name! ? -1 : 1));
}

/** The status of a daemon of a list. One that cannot be inspected is `unknown`, and hides none of the others. */
export function inspected(found: Located): DaemonStatus {
  try {
    return statusOf(found);
  } catch (error) {
    if (!isDaemonError(error)) throw error;
    return { name: found.name!, pidFile: found.pidFile, state: 'unknown', error };
  }
}

/** The same for a daemon that was found already. */
function statusOf({ pidFile, name, record: onRecord, journal }: Located): DaemonStatus {
  const { since, ended, failedReload, ...found } = unwrap(native().pidFileStatus(pidFile, journal));
  const fields = {
    ...found,
    ...(since === undefined ? {} : { since: new Date(since) }),
    ...(failedReload === undefined ? {} : { failedReload: { ...failedReload, at: new Date(failedReload.at ?? 0) } }),
    ...(ended === undefined ? {} : { ended: endOf(ended) }),
    ...(['stopped', 'dead'].includes(found.state) ? lastStart(journal) : {}),
  };
  const record = onRecord === undefined ? {} : { record: publicRecord(onRecord, found.pid) };
  return { ...(name === undefined ? {} : { name }), pidFile, ...fields, ...record } as DaemonStatus;
}

/** What the journal ends with, if that is a start that failed. */
function lastStart(journal: string | undefined): { readonly failedStart?: FailedStart } {
  const lines = journal === undefined ? [] : native().openJournal(journal).read();
  const last = isFailure(lines) ? undefined : lines.at(-1);
  if (last === undefined) return {};
  const { event, at, reason } = JSON.parse(last) as { event: string; at: string; reason: string };
  return event === 'failed' ? { failedStart: { at: new Date(at), reason } } : {};
}

function endOf({ at, by, ...end }: NativeEnd): DaemonEnd {
  const when = at === undefined ? {} : { at: new Date(at) };
  const who = by === undefined ? {} : { by: JSON.parse(by) as DaemonCaller };
  return { ...end, ...when, ...who } as DaemonEnd;
}

/**
 * Stops a daemon and waits for the exit itself. Nothing is ever signalled that is not proven to be the daemon; one that is
 * stopping already is only waited for. If the daemon has ended already, the processes that it has left behind are ended, and its
 * pidfile is removed.
 *
 * Above `daemonize`, in the daemon that is being started, it leaves that daemon alone: `await stop(name)` followed by
 * `daemonize({ name })` is a restart.
 *
 * @example
 * const { outcome } = await stop('api'); // 'stopped', 'killed' or 'not-running'
 *
 * @throws `ERR_STOP_TIMEOUT`, `ERR_PIDFILE_HELD`, `ERR_NOT_A_PIDFILE`, `ERR_INVALID_OPTION`, a {@link SystemCallError}
 */
export async function stop(target: Target, options: StopOptions = {}): Promise<StopResult> {
  return stopFor('nothing', target, options);
}

/** The same for a start that follows: the daemon is replaced. */
export async function stopFor(
  purpose: 'nothing' | 'restart',
  target: Target,
  options: StopOptions,
): Promise<StopResult> {
  check.only(options, 'killSignal', 'timeout', 'force');
  const signal = signalNumber('killSignal', options.killSignal ?? 'SIGTERM');
  const timeout = options.timeout === undefined ? undefined : check.milliseconds('timeout', options.timeout, 0);
  const force = check.boolean('force', options.force, true);
  const { pidFile } = locate(target);
  if (isThisProcess(pidFile)) {
    // Code above `daemonize` runs in the new daemon, too, where the old one has been stopped by the launcher already.
    const daemon = currentDaemon();
    if (daemon === undefined) return { outcome: 'not-running' };
    await daemon.stop();
  }
  const replaces = purpose === 'restart';
  const { unwritten, ...result } = unwrap(await native().stopDaemon(pidFile, signal, timeout, force, replaces));
  reportUnrecorded(unwritten);
  return result as StopResult;
}

/**
 * Sends a signal to a daemon, and to no other process. Proving that the process is the daemon can take seconds while it is
 * starting or stopping; the event loop goes on meanwhile.
 *
 * A daemon that is still starting gets only SIGTERM, SIGKILL, SIGSTOP and SIGCONT; SIGHUP goes only to a program that catches
 * it.
 *
 * @returns the pid that got it
 * @throws `ERR_NOT_RUNNING`, `ERR_SIGNAL_REFUSED`, `ERR_PIDFILE_HELD`, `ERR_NOT_A_PIDFILE`, `ERR_INVALID_OPTION`, a
 * {@link SystemCallError}
 */
export async function sendSignal(target: Target, signal: NodeJS.Signals): Promise<number> {
  const number = signalNumber('signal', signal);
  const located = locate(target);
  return unwrapOf(located, await native().signalDaemon(located.pidFile, number));
}

/**
 * Sends SIGHUP to a daemon and waits until it has reloaded: its logs are reopened, and its {@link Daemon.onReload} handlers have
 * finished. The outcome is that of a reload that began after this call, whichever process has requested it.
 *
 * A program that does not catch SIGHUP is not signalled, because the signal would end it.
 *
 * @example
 * const { outcome } = await reloadDaemon('api'); // 'reloaded' or 'signalled'
 *
 * @throws `ERR_RELOAD_FAILED` with what the handlers threw, or if the daemon exits first; `ERR_RELOAD_TIMEOUT`;
 * `ERR_NOT_RUNNING`, `ERR_SIGNAL_REFUSED`, `ERR_PIDFILE_HELD`, `ERR_NOT_A_PIDFILE`, `ERR_INVALID_OPTION`, a
 * {@link SystemCallError}
 */
export async function reloadDaemon(target: Target, options: ReloadOptions = {}): Promise<ReloadResult> {
  check.only(options, 'timeout');
  const timeout = check.milliseconds('timeout', options.timeout, defaults.reloadTimeout);
  const located = locate(target);
  const outcome = await native().reloadDaemon(located.pidFile, timeout);
  if (isFailure(outcome) && outcome.errorCode === 'ERR_RELOAD_TIMEOUT') {
    const { record } = status(target);
    const problem = record?.problem === undefined ? '' : `; it reports a problem: ${record.problem}`;
    throw failureError(outcome, `${outcome.message}${problem}`);
  }
  return unwrapOf(located, outcome) as ReloadResult;
}

/** The value of a native call about a daemon; for a name that was not found, the error lists the places that were searched. */
function unwrapOf<T>({ name, pidFile, searched }: Located, outcome: T) {
  if (name !== undefined && isFailure(outcome) && outcome.errorCode === 'ERR_NOT_RUNNING') {
    const message = `no daemon named ${name} is running (looked at ${searched.join(' and ')})`;
    throw daemonError('ERR_NOT_RUNNING', message, { path: pidFile });
  }
  return unwrap(outcome);
}

/**
 * Removes the record of a daemon that has ended, what it said about itself, how it ended, and a pidfile that it has left behind:
 * `list` does not show it any more. Its log stays, and so do the files that the program has made.
 *
 * @example
 * const { outcome } = await forgetDaemon('api'); // 'forgotten' or 'not-known'
 *
 * @throws `ERR_ALREADY_RUNNING` if it runs, is being started, or has left a process behind; `ERR_PIDFILE_HELD`,
 * `ERR_INVALID_OPTION`, a {@link SystemCallError}
 */
export async function forgetDaemon(target: Target): Promise<ForgetResult> {
  const [name, pidFile] = typeof target === 'string' ? [target, ''] : [undefined, locate(target).pidFile];
  const outcome = native().forgetDaemon(name, pidFile);
  if (isFailure(outcome) && outcome.errorCode === 'ERR_ALREADY_RUNNING') {
    throw failureError(outcome, `${name ?? pidFile} ${outcome.message}`);
  }
  return unwrap(outcome) as ForgetResult;
}

function isThisProcess(pidFile: string): boolean {
  const found = native().pidFileStatus(pidFile);
  return !isFailure(found) && found.pid === process.pid;
}

function signalNumber(option: string, signal: unknown): number {
  // Where the table has a prototype, `constructor` is in it, too.
  if (typeof signal === 'string' && Object.hasOwn(constants.signals, signal)) {
    return constants.signals[signal as NodeJS.Signals];
  }
  throw check.invalid(option, 'the name of a signal', signal);
}
