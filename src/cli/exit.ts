/** Exit codes, those of LSB init scripts, and the sentence on stderr that goes with them. */
import { constants } from 'node:os';
import { isDaemonError } from '../errors.js';
import { native } from '../native.js';
import { UsageError } from './arguments.js';

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
export const statusCodes = { running: 0, starting: 0, stopping: 0, dead: 1, stopped: 3, unknown: 4 } as const;

/** Something that only a start with the right options could have left is missing. */
export class NotConfiguredError extends Error {}

export function exitCodeOf(error: unknown): number {
  if (error instanceof UsageError) return exitCodes.usage;
  if (error instanceof NotConfiguredError) return exitCodes.notConfigured;
  if (!isDaemonError(error)) return exitCodes.failure;
  switch (error.code) {
    case 'ERR_INVALID_OPTION':
      return exitCodes.usage;
    case 'ERR_NOT_RUNNING':
      return exitCodes.notRunning;
    case 'EACCES':
    case 'EPERM':
      return exitCodes.notPermitted;
    case 'ENOENT':
      return error.step === 'exec' ? exitCodes.notInstalled : exitCodes.failure;
    default:
      return exitCodes.failure;
  }
}

/** Prints what was thrown as one sentence, and sets the exit code; a start that was interrupted ends by its signal. */
export function fail(error: unknown, codeOf = exitCodeOf): void {
  const isOurs = isDaemonError(error) || error instanceof UsageError || error instanceof NotConfiguredError;
  // Anything else is a mistake of this program, and its stack helps to find it.
  if (!isOurs) throw error;
  process.stderr.write(`daemonry: ${error.message}\n`);
  process.exitCode = codeOf(error);
  if (isDaemonError(error) && error.code === 'ERR_START_INTERRUPTED' && error.signal !== undefined) {
    native().dieOfSignal(constants.signals[error.signal]);
  }
}
