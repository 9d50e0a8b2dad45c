/** Looking at daemons, signalling and stopping them, by name or pidfile. */
import { constants } from 'node:os';
import { currentDaemon } from './daemon.js';
import { daemonError, isDaemonError } from './errors.js';
import { isFailure, native, unwrap } from './native.js';
import * as check from './check.js';
import { defaults } from './options.js';
import { namesInUse } from './places.js';
import type { DaemonRecord } from './record.js';
import { locate, located, type Located, type Target } from './target.js';

/** What every {@link DaemonStatus} has. */
interface StatusPlace {
  /** The name that was asked for. */
  readonly name?: string;
  /** The pidfile that was looked at. */
  readonly pidFile: string;
  /** Of a named daemon: what is on record about it, as far as the caller may read that. */
  readonly record?: DaemonRecord;
}

/** What a look at a daemon's pidfile tells. A pid in it counts only when the kernel names that process as the holder. */
export type DaemonStatus = StatusPlace &
  (
    | {
        /** Up, or on its way out. */
        readonly state: 'running' | 'stopping';
        /** The daemon's pid, confirmed by the kernel. */
        readonly pid: number;
        /** When the process was started. */
        readonly since: Date;
      }
    | {
        /** A start is under way. */
        readonly state: 'starting';
        /** Who is being started, where that can be told already. */
        readonly pid?: number;
      }
    | {
        /** A pidfile that nobody holds. */
        readonly state: 'dead';
        /** The pid in it, which may by now be somebody else's. */
        readonly lastPid?: number;
      }
    | {
        /** Locked, but not by the process whose pid is in it. */
        readonly state: 'unknown';
        /** Who holds it, where that can be found. */
        readonly heldBy?: number;
      }
    | {
        /** No pidfile. */
        readonly state: 'stopped';
      }
  );

/** Options of {@link stop}. */
export interface StopOptions {
  /**
   * The signal that asks the daemon to stop.
   * @default 'SIGTERM'
   */
  readonly killSignal?: NodeJS.Signals;
  /**
   * Milliseconds that it may take.
   * @default 10_000
   */
  readonly timeout?: number;
  /**
   * Whether SIGKILL follows; `false` throws `ERR_STOP_TIMEOUT` instead.
   * @default true
   */
  readonly force?: boolean;
}

/** How a daemon was stopped: by itself, by SIGKILL, or not at all because none was running. */
export type StopResult =
  { readonly outcome: 'stopped' | 'killed'; readonly pid: number } | { readonly outcome: 'not-running' };

/**
 * Tells the state of a daemon without disturbing it.
 * @throws `ERR_NOT_A_PIDFILE`, `ERR_INVALID_OPTION`, a {@link SystemCallError}
 */
export function status(target: Target): DaemonStatus {
  return statusAt(locate(target));
}

/**
 * The named daemons of this user, and the system's, running or not, in the order of their names. One whose pidfile cannot be
 * looked at, or is something else, is `unknown`.
 * @throws a {@link SystemCallError} for directories that cannot be read
 */
export function list(): DaemonStatus[] {
  return namesInUse()
    .sort((one, other) => (one.name < other.name ? -1 : 1))
    .map(({ name, places }) => {
      const found = located(name, places.pidFile, places.record);
      try {
        return statusAt(found);
      } catch (error) {
        // The others are no less to be told.
        if (!isDaemonError(error)) throw error;
        return { name, pidFile: found.pidFile, state: 'unknown' };
      }
    });
}

function statusAt({ pidFile, name, record: onRecord }: Located): DaemonStatus {
  const { since, ...found } = unwrap(native().pidFileStatus(pidFile));
  const fields = { ...found, ...(since === undefined ? {} : { since: new Date(since) }) };
  const record = onRecord === undefined ? {} : { record: publicRecord(onRecord, found.pid) };
  return { ...(name === undefined ? {} : { name }), pidFile, ...fields, ...record } as DaemonStatus;
}

/** What the daemon itself says counts only as long as it runs. */
function publicRecord(record: NonNullable<Located['record']>, pid: number | undefined): DaemonRecord {
  const { program, arguments: args, cwd, startedBy, logFile, version, socket, status, problem } = record;
  const lasting = { program, arguments: args, cwd, startedBy, ...(logFile === undefined ? {} : { logFile }) };
  if (pid !== record.pid) return lasting;
  const own = Object.entries({ version, socket, status, problem }).filter(([, value]) => value !== undefined);
  return { ...lasting, ...Object.fromEntries(own) };
}

/**
 * Stops a daemon and waits for the exit itself. Nothing is ever signalled that is not proven to be the daemon; one that is
 * stopping already is only waited for.
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
  check.only(options, 'killSignal', 'timeout', 'force');
  const signal = signalNumber('killSignal', options.killSignal ?? 'SIGTERM');
  const timeout = check.milliseconds('timeout', options.timeout, defaults.killTimeout);
  const force = check.boolean('force', options.force, true);
  const { pidFile } = locate(target);
  if (isThisProcess(pidFile)) {
    // Code above `daemonize` runs in the new daemon, too, where the old one has been stopped by the launcher already.
    const daemon = currentDaemon();
    if (daemon === undefined) return { outcome: 'not-running' };
    await daemon.stop();
  }
  return unwrap(await native().stopDaemon(pidFile, signal, timeout, force)) as StopResult;
}

/**
 * Sends a signal to a daemon.
 *
 * A daemon that is still starting gets only SIGTERM, SIGKILL, SIGSTOP and SIGCONT; SIGHUP goes only to a program that catches
 * it.
 *
 * @returns the pid that got it
 * @throws `ERR_NOT_RUNNING`, `ERR_SIGNAL_REFUSED`, `ERR_PIDFILE_HELD`, `ERR_NOT_A_PIDFILE`, `ERR_INVALID_OPTION`, a
 * {@link SystemCallError}
 */
export function sendSignal(target: Target, signal: NodeJS.Signals): number {
  const number = signalNumber('signal', signal);
  const { pidFile, name, searched } = locate(target);
  const outcome = native().signalDaemon(pidFile, number);
  if (name !== undefined && isFailure(outcome) && outcome.errorCode === 'ERR_NOT_RUNNING') {
    const message = `no daemon named ${name} is running (looked at ${searched.join(' and ')})`;
    throw daemonError('ERR_NOT_RUNNING', message, { path: pidFile });
  }
  return unwrap(outcome);
}

function isThisProcess(pidFile: string): boolean {
  const found = native().pidFileStatus(pidFile);
  return !isFailure(found) && found.pid === process.pid;
}

function signalNumber(option: string, signal: unknown): number {
  const number = typeof signal === 'string' ? (constants.signals as Record<string, number>)[signal] : undefined;
  if (number === undefined) throw check.invalid(option, 'the name of a signal', signal);
  return number;
}
