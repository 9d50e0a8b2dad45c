/** Exit codes, those of LSB init scripts, and the sentence on stderr that goes with them. */
import { constants } from 'node:os';
import { isDaemonError, type DaemonError } from '../errors.js';
import { writeStderr } from '../launch/stderr.js';
import { native } from '../native/index.js';
import { printableLine } from '../printable.js';
import { printJson } from './output.js';
import { UsageError } from './parse.js';

/** Linux Standard Base, "Init Script Actions". */
export const exitCodes = {
  success: 0,
  failure: 1,
  usage: 2,
  notPermitted: 4,
  notInstalled: 5,
  notConfigured: 6,
  notRunning: 7,
} as const;

/** Of `status`, the same table says. */
export const statusCodes = {
  running: 0,
  starting: 0,
  restarting: 0,
  stopping: 0,
  dead: 1,
  stopped: 3,
  unknown: 4,
} as const;

/** Something that only a start with the right options could have left is missing. */
export class NotConfiguredError extends Error {
  readonly code = 'ERR_NOT_CONFIGURED';
}

export function exitCodeOf(error: unknown): number {
  if (error instanceof UsageError) return exitCodes.usage;
  if (error instanceof NotConfiguredError) return exitCodes.notConfigured;
  if (!isDaemonError(error)) return exitCodes.failure;
  switch (error.code) {
    case 'ERR_INVALID_OPTION':
      return exitCodes.usage;
    case 'ERR_NOT_RESTARTABLE':
      return exitCodes.notConfigured;
    case 'ERR_NOT_RUNNING':
      return exitCodes.notRunning;
    case 'EACCES':
    case 'EPERM':
      return exitCodes.notPermitted;
    case 'ENOENT':
      return ['exec', 'read-script'].includes(error.step) ? exitCodes.notInstalled : exitCodes.failure;
    default:
      return exitCodes.failure;
  }
}

/** Prints what was thrown as one sentence behind `prefix`. */
export function explain(error: unknown, prefix = ''): void {
  writeStderr(`daemonry: ${prefix}${printableLine(expected(error).message)}\n`);
}

/** What was thrown, for `--json`. */
export function failureJson(error: unknown): object {
  const { code, message, ...fields } = expected(error);
  return { code, message, ...fields };
}

/** Prints what was thrown, and sets the exit code; a start that was interrupted ends by its signal. */
export function fail(error: unknown, { codeOf = exitCodeOf, json = false } = {}): void {
  explain(error);
  if (json) printJson(failureJson(error));
  process.exitCode = codeOf(error);
  if (isDaemonError(error) && error.code === 'ERR_START_INTERRUPTED' && error.signal !== undefined) {
    native().dieOfSignal(constants.signals[error.signal]);
  }
}

/** Anything but these is a mistake of this program, and its stack helps to find it. */
function expected(error: unknown): DaemonError | UsageError | NotConfiguredError {
  if (isDaemonError(error) || error instanceof UsageError || error instanceof NotConfiguredError) return error;
  throw error;
}
