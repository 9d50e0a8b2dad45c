/** SIGHUP: the logs are reopened first, then the program reads its configuration again. */
import { closeSync, openSync } from 'node:fs';
import { inspect } from 'node:util';
import type { Logs } from './logs.js';

export class Reload {
  readonly #mode: 'daemon' | 'foreground';
  readonly #logs: Logs;
  readonly #handlers: (() => unknown)[] = [];
  #listens = false;
  #reloading = false;
  #again = false;

  constructor(mode: 'daemon' | 'foreground', logs: Logs) {
    this.#mode = mode;
    this.#logs = logs;
    if (!logs.isEmpty) this.#listen();
  }

  add(handler: () => unknown): void {
    this.#handlers.push(handler);
    this.#listen();
  }

  #listen(): void {
    // In a foreground with a terminal SIGHUP means that the terminal went away.
    if (this.#listens || (this.#mode === 'foreground' && hasTerminal())) return;
    this.#listens = true;
    process.on('SIGHUP', () => void this.#reload());
  }

  async #reload(): Promise<void> {
    try {
      this.#logs.reopen();
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
