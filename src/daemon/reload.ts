/** SIGHUP: the logs are reopened first, then the program reads its configuration again. */
import { inspect } from 'node:util';
import type { NativePidFile } from '../../index.js';
import { reasonOf } from '../launch/failure-message.js';
import { hasTerminal } from '../launch/tty.js';
import type { LogFiles } from './log-files.js';
import type { SdNotify } from './sd-notify.js';

/** How often an outcome that could not be written is tried again, in ms. */
const retryPause = 1000;

type Outcome = [event: 'possible' | 'done' | 'failed', reason?: string];

export class Reload {
  readonly #mode: 'daemon' | 'foreground';
  readonly #logs: LogFiles;
  readonly #manager: SdNotify | undefined;
  readonly #pidFile: NativePidFile | undefined;
  readonly #onProblem: (problem: string | undefined) => void;
  #retry: NodeJS.Timeout | undefined;
  readonly #handlers: (() => unknown)[] = [];
  #listens = false;
  #reloading = false;
  #again = false;

  /** @param onProblem called with why a reload cannot be reported to callers; with `undefined` when it can */
  constructor(
    mode: 'daemon' | 'foreground',
    logs: LogFiles,
    manager: SdNotify | undefined,
    pidFile: NativePidFile | undefined,
    onProblem: (problem: string | undefined) => void,
  ) {
    this.#mode = mode;
    this.#logs = logs;
    this.#manager = manager;
    this.#pidFile = pidFile;
    this.#onProblem = onProblem;
    // A manager that asks for a reload has its answer also where there is nothing to do.
    if (!logs.isEmpty || manager !== undefined) this.#listen();
  }

  add(handler: () => unknown): void {
    this.#handlers.push(handler);
    this.#listen();
  }

  #listen(): void {
    // In a foreground with a terminal SIGHUP means that the terminal went away.
    if (this.#listens || (this.#mode === 'foreground' && hasTerminal())) return;
    this.#listens = true;
    // First: a caller that sees that the signal is caught waits for the outcome, if one is reported.
    this.#report('possible');
    process.on('SIGHUP', () => void this.#reload());
  }

  async #reload(): Promise<void> {
    // One at a time. However many signals come meanwhile, the last reload begins after the last of them.
    this.#again = true;
    if (this.#reloading) {
      // Logs do not wait for a slow handler. If this fails, so does the reload that follows.
      this.#reopenLogs();
      return;
    }
    this.#reloading = true;
    while (this.#again) {
      this.#again = false;
      // Before anything else: a caller that asked for it earlier than this takes the outcome for an answer. If this cannot be
      // written, the outcome says it as well.
      this.#pidFile?.markReload('begins');
      this.#manager?.reloading();
      const reasons = [...this.#reopenLogs(), ...(await this.#runHandlers())];
      if (reasons.length === 0) this.#report('done');
      else this.#report('failed', reasons.join('; '));
      this.#manager?.reloaded();
    }
    this.#reloading = false;
  }

  /** A waiting caller gets no other answer, so it is tried until it can be written, or the next reload has an outcome. */
  #report(...outcome: Outcome): void {
    clearInterval(this.#retry);
    const why = this.#whyUnreported(outcome);
    this.#onProblem(why);
    if (why === undefined) return;
    process.stderr.write(`${why}\n`);
    this.#retry = setInterval(() => {
      if (this.#whyUnreported(outcome) !== undefined) return;
      clearInterval(this.#retry);
      this.#onProblem(undefined);
    }, retryPause).unref();
  }

  #whyUnreported([event, reason]: Outcome): string | undefined {
    const failure = this.#pidFile?.markReload(event, reason);
    return failure ? `what becomes of a reload cannot be reported: ${failure.message}` : undefined;
  }

  /** Returns why that failed, if it did. */
  #reopenLogs(): string[] {
    try {
      this.#logs.reopen();
      return [];
    } catch (error) {
      const { message } = error as Error;
      process.stderr.write(`${message}\n`);
      return [message];
    }
  }

  /** Returns what they threw. */
  async #runHandlers(): Promise<string[]> {
    const reasons: string[] = [];
    for (const handler of this.#handlers) {
      try {
        await handler();
      } catch (error) {
        reasons.push(reasonOf(error));
        process.stderr.write(`a reload handler failed: ${inspect(error)}\n`);
      }
    }
    return reasons;
  }
}
