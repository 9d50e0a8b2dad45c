/** SIGHUP: the logs are reopened first, then the program reads its configuration again. */
import { inspect } from 'node:util';
import type { Logs } from './logs.js';
import type { ServiceManager } from './manager.js';
import { hasTerminal } from './terminal.js';

export class Reload {
  readonly #mode: 'daemon' | 'foreground';
  readonly #logs: Logs;
  readonly #manager: ServiceManager | undefined;
  readonly #handlers: (() => unknown)[] = [];
  #listens = false;
  #reloading = false;
  #again = false;

  constructor(mode: 'daemon' | 'foreground', logs: Logs, manager: ServiceManager | undefined) {
    this.#mode = mode;
    this.#logs = logs;
    this.#manager = manager;
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
      this.#manager?.reloading();
      await this.#runHandlers();
      this.#manager?.reloaded();
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
