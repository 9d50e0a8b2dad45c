/** How a daemon ends: at once unless it opted in, else by its handlers, within its time. */
import { constants } from 'node:os';
import { inspect } from 'node:util';
import type { NativePidFile } from '../index.js';
import { native } from './native.js';

/** Ask the daemon to stop, for one that opted in. */
const stopSignals = ['SIGTERM', 'SIGINT'] as const;

/** End the process by default; the pidfile goes first, even when the event loop is blocked. */
const endingSignals = [...stopSignals, 'SIGHUP', 'SIGQUIT'] as const;

type StopSignal = (typeof stopSignals)[number];

export class Termination {
  readonly #pidFile: NativePidFile | undefined;
  readonly #timeout: number;
  readonly #controller = new AbortController();
  readonly #handlers: (() => unknown)[] = [];
  #optedIn = false;
  #stopped: Promise<void> | undefined;
  #main: Promise<unknown> | undefined;

  constructor(mode: 'daemon' | 'foreground', pidFile: NativePidFile | undefined, timeout: number) {
    this.#pidFile = pidFile;
    this.#timeout = timeout;
    if (mode === 'daemon' || pidFile !== undefined || process.pid === 1) this.#armDefaults();
  }

  get signal(): AbortSignal {
    this.#optIn();
    return this.#controller.signal;
  }

  get isStopping(): boolean {
    return this.#stopped !== undefined;
  }

  add(handler: () => unknown): void {
    this.#handlers.push(handler);
    this.#optIn();
  }

  awaitMain(main: Promise<unknown>): void {
    this.#main = main;
    const settle = () => {
      this.#main = undefined;
    };
    main.then(settle, settle);
  }

  async stop(): Promise<void> {
    this.#stopped ??= this.#run(() => process.exit());
    return this.#stopped;
  }

  readonly #onSignal = (signal: NodeJS.Signals): void => {
    const isOnlyListener = () => process.listeners(signal).every((listener) => listener === this.#onSignal);
    if (this.#stopped === undefined) {
      // Where the program listens itself, it decides when to exit.
      this.#stopped = this.#run(() => isOnlyListener() && process.exit());
      const timer = setTimeout(() => {
        if (!isOnlyListener()) return;
        process.stderr.write(`the daemon did not stop within ${this.#timeout} ms after ${signal} and ends now\n`);
        this.#end(signal);
      }, this.#timeout);
      timer.unref();
    } else if (isOnlyListener()) {
      this.#end(signal);
    }
  };

  async #run(exit: () => void): Promise<void> {
    // A pidfile that cannot say "stopping" any more still names its daemon.
    this.#pidFile?.markStopping();
    this.#controller.abort();
    for (const handler of this.#handlers) {
      try {
        await handler();
      } catch (error) {
        process.exitCode = 1;
        process.stderr.write(`a stop handler failed: ${inspect(error)}\n`);
      }
    }
    // Who only watches `stopping` winds down by itself: until main has settled, else until nothing is left to do.
    if (this.#handlers.length === 0 && this.#optedIn) {
      if (this.#main === undefined) return;
      await this.#main.catch(() => {});
    }
    exit();
  }

  #optIn(): void {
    if (this.#optedIn) return;
    this.#optedIn = true;
    for (const signal of stopSignals) process.on(signal, this.#onSignal);
  }

  /** By the signal, as its default action would. */
  #end(signal: NodeJS.Signals): void {
    this.#pidFile?.release();
    native().dieOfSignal(constants.signals[signal]);
    // The default action of a signal does not reach PID 1.
    native().exitNow(128 + constants.signals[signal]);
  }

  #armDefaults(): void {
    const arm = (signal: NodeJS.Signals) => {
      if (process.listenerCount(signal) === 0) native().armSignal(constants.signals[signal]);
    };
    endingSignals.forEach(arm);
    // Node puts the default back when the last listener goes; a listener that is added replaces ours by itself.
    process.on('removeListener', (event) => {
      if ((endingSignals as readonly unknown[]).includes(event)) arm(event as StopSignal);
    });
  }
}
