/** `forgetDaemon`: removes what a daemon that has ended leaves on disk. */
import { failureError, isFailure, native, unwrap } from './native/index.js';
import { parseTarget, type Target } from './store/locate.js';

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
 * Removes the record of a daemon that has ended, what it said about itself, how it ended, and a pidfile that it has left behind:
 * {@link listDaemons} does not report it any more. Its log stays, and so do the files that the program has made.
 *
 * @example
 * const { outcome } = await forgetDaemon('api'); // 'forgotten' or 'not-known'
 *
 * @throws `ERR_ALREADY_RUNNING` if it runs, is being started, or has left a process behind; `ERR_PIDFILE_HELD`,
 * `ERR_INVALID_OPTION`, a {@link SystemCallError}
 */
export async function forgetDaemon(target: Target): Promise<ForgetResult> {
  const { name, pidFile = '' } = parseTarget(target);
  const outcome = native().forgetDaemon(name, pidFile);
  if (isFailure(outcome) && outcome.errorCode === 'ERR_ALREADY_RUNNING') {
    throw failureError(outcome, `${name ?? pidFile} ${outcome.message}`);
  }
  return unwrap(outcome) as ForgetResult;
}
