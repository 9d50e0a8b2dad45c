/** The launcher: starts the daemon, reports whether that succeeded, and exits. */
import { constants } from 'node:os';
import { inspect } from 'node:util';
import type { Failure, Started } from '../../index.js';
import { daemonError } from '../errors.js';
import { failureError, isFailure, native } from '../native/index.js';
import type { Restart } from '../options/env.js';
import { withRequest, type ResolvedOptions } from '../options/resolve.js';
import { boundListeners } from './endpoints.js';
import { failureMessage } from './failure-message.js';
import { startedInstead } from './handover.js';
import { launchRequest } from './request.js';
import { runningProgram } from './restart-command.js';
import { printsAsSentence, reportUnrecorded, sentence, writeStderr } from './stderr.js';

/**
 * Starts the daemon and exits when it is up. A failed start is thrown or, with `main`, printed before the launcher exits: no
 * caller can catch it then.
 */
export function launch(resolved: ResolvedOptions, restart: Restart | undefined, hasMain: boolean): never {
  const options = isSecondHalf(resolved, restart)
    ? withRequest(resolved, { stopsBefore: restart.stopsBefore, ifRunning: 'reuse' })
    : resolved;
  const { script, ...program } = runningProgram();
  const { cwd, request } = options;
  const outcome = native().launch(
    launchRequest(options, program, {
      how: { method: 'daemonize', cwd },
      options: undefined,
      workingDirectory: null,
      // Else another user's daemon would only say that it cannot find its module.
      mustRead: request.attributes.runAs === null ? null : (script ?? null),
      launcherLeaves: true,
    }),
  );
  if (isFailure(outcome)) return fail(outcome, options, hasMain);
  writeStderr(outcome.stderr);
  reportUnrecorded(outcome.unwritten);
  return native().exitNow(tellStarted(options, outcome) ? 0 : 1) as never;
}

/** Whether a restart of this very daemon has started this program: of several at once all get the one that comes up. */
function isSecondHalf({ pidFile }: ResolvedOptions, restart: Restart | undefined): restart is Restart {
  return restart !== undefined && restart.pidFile === pidFile;
}

/** The daemon is up, so whatever `onStarted` throws must not run the code below the call. */
function tellStarted({ onStarted }: ResolvedOptions, started: Started): boolean {
  try {
    const { outcome, pid } = started;
    onStarted?.({ outcome, pid, ...boundListeners(started) });
    return true;
  } catch (error) {
    writeStderr(`${inspect(error)}\n`);
    return false;
  }
}

function fail(failure: Failure, options: ResolvedOptions, hasMain: boolean): never {
  const error = failureError(failure, failureMessage(failure, options, hasMain));
  // Output that went to a log can be read there; all other output is passed on.
  if (options.request.stderr.kind === 'capture' && 'stderr' in error) writeStderr(error.stderr);
  if (error.code === 'ERR_START_INTERRUPTED' && error.signal !== undefined) {
    const hasListener = process.listenerCount(error.signal) > 0;
    if (hasMain || !hasListener) {
      writeStderr(sentence(error));
      native().dieOfSignal(constants.signals[error.signal]);
    }
  }
  // Exit handlers from above the call belong to the daemon: one of them could remove the socket of the one that runs.
  if (!hasMain) throw printsAsSentence(error, () => native().exitNow(1));
  writeStderr(sentence(error));
  return native().exitNow(1) as never;
}

/** A wrapper that was started as the daemon holds the pidfile, and waits for this process, which waits for the pidfile. */
export function refuseToWorkForAnother({ label, pidFile }: ResolvedOptions): void {
  const pid = startedInstead();
  if (pidFile === undefined || pid === undefined) return;
  const holder = native().pidFileStatus(pidFile);
  if (isFailure(holder) || holder.pid !== pid) return;
  const message = `${label} did not start: process ${pid}, which was started as the daemon, has left the work to another process, as npx does: start the program itself`;
  throw daemonError('ERR_ALREADY_RUNNING', message, { pid, path: pidFile });
}
