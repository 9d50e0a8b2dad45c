/** Logs and SIGHUP: reopen first, then let the program read its configuration again. */
import { closeSync, openSync } from 'node:fs';
import { inspect } from 'node:util';
import { failureError, native } from './native.js';
import type { ReopenableLog } from './options.js';

export class LogsAndReload {
  readonly #mode: 'daemon' | 'foreground';
  readonly #logs: readonly ReopenableLog[];
  readonly #handlers: (() => unknown)[] = [];
  #listens = false;
  #reloading = false;
  #again = false;

  constructor(mode: 'daemon' | 'foreground', logs: readonly ReopenableLog[]) {
    this.#mode = mode;
    this.#logs = logs;
    if (logs.length > 0) this.#listen();
  }

  add(handler: () => unknown): void {
    this.#handlers.push(handler);
    this.#listen();
  }

  reopenLogs(): void {
    const failures = this.#logs.map(({ path, mode, descriptors }) => native().reopenLog(path, mode, [...descriptors]));
    const failure = failures.find((failure) => failure !== null);
    if (failure) throw failureError(failure);
  }

  #listen(): void {
    // In a foreground with a terminal SIGHUP means that the terminal went away.
    if (this.#listens || (this.#mode === 'foreground' && hasTerminal())) return;
    this.#listens = true;
    process.on('SIGHUP', () => void this.#reload());
  }

  async #reload(): Promise<void> {
    try {
      this.reopenLogs();
    } catch (error) {
      process.stderr.write(`${(error as Error).message}\n`);
    }
    // One at a time. However many signals come meanwhile, the last reload begins after the last of them.
    this.#again = true;
    if (this.#reloading) return;
    this.#reloading = true;
    while (this.#again) {
      this.#again = false;
      await this.#runHandlers();
    }
    this.#reloading = false;
  }

  async #runHandlers(): Promise<void> {
    for (const handler of this.#handlers) {
      try {
        await handler();
      } catch (error) {
        process.stderr.write(`a reload handler failed: ${inspect(error)}\n`);
      }
    }
  }
}

/** Whether the process has a controlling terminal. */
function hasTerminal(): boolean {
  try {
    closeSync(openSync('/dev/tty', 'r'));
    return true;
  } catch {
    return false;
  }
}
