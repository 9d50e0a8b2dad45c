/** `stopDaemon`: stops a daemon, waits for its exit, and reports how it ended. */
import { currentDaemon } from './current-daemon.js';
import { reportUnrecorded } from './launch/stderr.js';
import { isFailure, native, unwrap } from './native/index.js';
import * as check from './options/check.js';
import { locate, type Target } from './store/locate.js';

/** Options of {@link stopDaemon}, and of the stop that a {@link restartDaemon} begins with. */
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

/**
 * Stops a daemon and waits for the exit itself. Nothing is ever signalled that is not proven to be the daemon; one that is
 * stopping already is only waited for. If the daemon has ended already, the processes that it has left behind are ended, and its
 * pidfile is removed.
 *
 * Above `daemonize`, in the daemon that is being started, it leaves that daemon alone: `await stopDaemon(name)` followed by
 * `daemonize({ name })` is a restart.
 *
 * @example
 * const { outcome } = await stopDaemon('api'); // 'stopped', 'killed' or 'not-running'
 *
 * @throws `ERR_STOP_TIMEOUT`, `ERR_PIDFILE_HELD`, `ERR_NOT_A_PIDFILE`, `ERR_INVALID_OPTION`, a {@link SystemCallError}
 */
export async function stopDaemon(target: Target, options: StopOptions = {}): Promise<StopResult> {
  return stopFor('nothing', target, options);
}

/** The same for a start that follows: the daemon is replaced. */
export async function stopFor(
  purpose: 'nothing' | 'restart',
  target: Target,
  options: StopOptions,
): Promise<StopResult> {
  check.only(options, 'killSignal', 'timeout', 'force');
  const signal = check.signalNumber('killSignal', options.killSignal ?? 'SIGTERM');
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

function isThisProcess(pidFile: string): boolean {
  const found = native().pidFileStatus(pidFile);
  return !isFailure(found) && found.pid === process.pid;
}
