/** `reloadDaemon`: makes a daemon reload, and waits for the outcome. */
import { statusOf } from './daemon-status.js';
import { failureError, isFailure, native } from './native/index.js';
import * as check from './options/check.js';
import { defaults } from './options/defaults.js';
import { locate, unwrapAbout, type Target } from './store/locate.js';

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
    const { record } = statusOf(located);
    const problem = record?.problem === undefined ? '' : `; it reports a problem: ${record.problem}`;
    throw failureError(outcome, `${outcome.message}${problem}`);
  }
  return unwrapAbout(located, outcome) as ReloadResult;
}
