/** `signalDaemon`: sends a signal to a daemon. */
import { native } from './native/index.js';
import * as check from './options/check.js';
import { locate, unwrapAbout, type Target } from './store/locate.js';

/** What {@link signalDaemon} has done. */
export interface SignalResult {
  /** The daemon, which got the signal. */
  readonly pid: number;
}

/**
 * Sends a signal to a daemon, and to no other process. Proving that the process is the daemon can take seconds while it is
 * starting or stopping; the event loop goes on meanwhile.
 *
 * A daemon that is still starting gets only SIGTERM, SIGKILL, SIGSTOP and SIGCONT; SIGHUP goes only to a program that catches
 * it.
 *
 * @example
 * const { pid } = await signalDaemon('api', 'SIGUSR2');
 *
 * @throws `ERR_NOT_RUNNING`, `ERR_SIGNAL_REFUSED`, `ERR_PIDFILE_HELD`, `ERR_NOT_A_PIDFILE`, `ERR_INVALID_OPTION`, a
 * {@link SystemCallError}
 */
export async function signalDaemon(target: Target, signal: NodeJS.Signals): Promise<SignalResult> {
  const number = check.signalNumber('signal', signal);
  const located = locate(target);
  return { pid: unwrapAbout(located, await native().signalDaemon(located.pidFile, number)) };
}
