/** Output that cannot be written, or has no reader any more. */
import { writeStderr } from '../launch/stderr.js';
import { exitCodes } from './exit-codes.js';

/**
 * A reader of the output may leave before its end, as `head` does: what the command does is done all the same. Any other reason,
 * such as a full disk, is a failure.
 */
export function surviveWriteErrors(): void {
  process.stderr.on('error', () => {});
  process.stdout.on('error', ({ code, message }: NodeJS.ErrnoException) => {
    // A terminal that was closed is a reader, too.
    if (code === 'EPIPE' || code === 'EIO') return;
    writeStderr(`daemonry: cannot write to standard output: ${message}\n`);
    process.once('exit', () => (process.exitCode ||= exitCodes.failure));
  });
}

/** For a command that only prints, perhaps without end: a reader that leaves, such as `head`, has seen enough. */
export function endWithReader(): void {
  process.stdout.on('error', () => process.exit());
}
