/** How a process reports that it ends. */
import type { NativePidFile } from '../../index.js';
import { writeStderr } from '../launch/stderr.js';

/** What `markEnd` takes: an exit code, or the number of a signal. */
export type OwnEnd = { readonly exitCode: number } | { readonly signal: number };

/**
 * Writes it beside the pidfile, and into the journal unless the launcher is still there to do so. A failure changes nothing: the
 * next process that asks for the status writes what it can still see.
 */
export function reportEnd(pidFile: NativePidFile | undefined, end: OwnEnd, isJournalled = true): void {
  const { exitCode, signal } = { exitCode: undefined, signal: undefined, ...end };
  for (const failure of [pidFile?.markEnd(exitCode, signal), isJournalled ? pidFile?.noteEnd() : undefined]) {
    if (failure) writeStderr(`${failure.message}\n`);
  }
}
