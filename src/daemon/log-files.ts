/** A daemon's log files: opened again on rotation, and no reason to die when they cannot be written. */
import { fstatSync, writeSync } from 'node:fs';
import { failureError, native, unwrap } from '../native/index.js';
import type { ReopenableLog } from '../options/stdio.js';
import type { KeptFile } from './upkeep.js';

/** How often a log that could not be written is tried again, in ms. */
const retryPause = 1000;

export class LogFiles {
  readonly #logs: readonly ReopenableLog[];
  readonly #onProblem: (problem: string | undefined) => void;

  /** @param onProblem called with what is wrong with the logs now; with `undefined` when it is over */
  constructor(logs: readonly ReopenableLog[], onProblem: (problem: string | undefined) => void) {
    this.#logs = logs;
    this.#onProblem = onProblem;
    // A stream error without a listener ends the process; a full disk is no reason to.
    if (logs.some(({ descriptors }) => descriptors.includes(1))) this.#surviveErrors(process.stdout, 1);
    if (logs.some(({ descriptors }) => descriptors.includes(2))) this.#surviveErrors(process.stderr, 2);
  }

  get isEmpty(): boolean {
    return this.#logs.length === 0;
  }

  reopen(): void {
    const failures = this.#logs.map(({ path, mode, descriptors }) => native().reopenLog(path, mode, [...descriptors]));
    const failure = failures.find((failure) => failure !== null);
    this.#onProblem(failure?.message);
    if (failure) throw failureError(failure);
  }

  /**
   * Those that are to be opened again if they are removed: whatever is written then is lost.
   * @param conventional the log of the daemon's name
   */
  files(conventional: string | undefined): KeptFile[] {
    return this.#logs.map(({ path, mode, descriptors }) => ({
      what: `the log ${path}`,
      ...(path === conventional ? { place: 'log' } : {}),
      keep: () => {
        // One that was renamed still has a name: it is being rotated, and written until the reload.
        if (!descriptors.some(isRemoved)) return false;
        unwrap(native().reopenLog(path, mode, [...descriptors]));
        // A reload may have failed to do it.
        this.#onProblem(undefined);
        return true;
      },
    }));
  }

  #surviveErrors(stream: NodeJS.WriteStream, descriptor: number): void {
    let lost: { since: Date; writes: number } | undefined;
    stream.on('error', ({ code }: NodeJS.ErrnoException) => {
      if (lost !== undefined) {
        lost.writes += 1;
        return;
      }
      const first = { since: new Date(), writes: 1 };
      lost = first;
      this.#onProblem(`the log cannot be written: ${code}`);
      const timer = setInterval(() => {
        const { since, writes } = first;
        try {
          // On a line of its own: the last write may have been cut in the middle of one.
          writeSync(
            descriptor,
            `\nthe log could not be written since ${since.toISOString()} (${code}): ${writes} writes were lost\n`,
          );
        } catch {
          // Still not.
          return;
        }
        clearInterval(timer);
        lost = undefined;
        this.#onProblem(undefined);
      }, retryPause).unref();
    });
  }
}

function isRemoved(descriptor: number): boolean {
  const stat = fstatSync(descriptor);
  return stat.isFile() && stat.nlink === 0;
}
