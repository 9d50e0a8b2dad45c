/** How a daemon ends: at once unless it opted in, else by its handlers, within its time. */
import { constants } from 'node:os';
import { inspect } from 'node:util';
import type { NativePidFile } from '../index.js';
import type { ServiceManager } from './manager.js';
import { native } from './native.js';

/** Ask the daemon to stop, for one that opted in. */
const stopSignals = ['SIGTERM', 'SIGINT'] as const;

/**
 * End the process by default; the pidfile goes first, even when the event loop is blocked. Not SIGHUP: who catches it seems to
 * reload, and would be ended by the reload that `sendSignal` does not refuse then.
 */
const endingSignals = [...stopSignals, 'SIGQUIT'] as const;

export class Termination {
  readonly #pidFile: NativePidFile | undefined;
  readonly #timeout: number;
  readonly #manager: ServiceManager | undefined;
  readonly #controller = new AbortController();
  readonly #handlers: (() => unknown)[] = [];
  #optedIn = false;
  #stopped: Promise<void> | undefined;
  #signalled = false;
  #limited = false;
  /** Who only watches `stopping` winds down by itself. */
  #windsDown = false;
  #main: Promise<unknown> | undefined;

  constructor(
    mode: 'daemon' | 'foreground',
    pidFile: NativePidFile | undefined,
    timeout: number,
    manager: ServiceManager | undefined,
  ) {
    this.#pidFile = pidFile;
    this.#timeout = timeout;
    this.#manager = manager;
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

  stop(): Promise<void> {
    this.#limit('SIGTERM', 'it was told to');
    return this.#stop(() => true);
  }

  readonly #onSignal = (signal: NodeJS.Signals): void => {
    const isOnlyListener = () => process.listeners(signal).every((listener) => listener === this.#onSignal);
    // A repeated signal ends what the first one could not, whoever listened only once.
    if (this.#signalled) return isOnlyListener() ? this.#end(signal) : undefined;
    this.#signalled = true;
    // Where the program listens itself, it decides when to exit. Asked now, too: its listener may go with the first signal.
    const decides = isOnlyListener();
    void this.#stop(() => decides && isOnlyListener());
    if (decides) this.#limit(signal, signal, isOnlyListener);
  };

  /** Handlers that take too long are cut off. */
  #limit(signal: NodeJS.Signals, reason: string, mayEnd = () => true): void {
    if (this.#limited) return;
    this.#limited = true;
    const timer = setTimeout(() => {
      if (!mayEnd()) return;
      process.stderr.write(`the daemon did not stop within ${this.#timeout} ms after ${reason} and ends now\n`);
      this.#end(signal);
    }, this.#timeout);
    timer.unref();
  }

  async #stop(mayExit: () => boolean): Promise<void> {
    this.#stopped ??= this.#run();
    await this.#stopped;
    const exit = () => {
      if (mayExit()) process.exit();
    };
    if (!this.#windsDown) return exit();
    // Until main has settled, else until nothing is left to do. Not awaited: main may be waiting for this.
    void this.#main
      ?.catch(() => {})
      .then(() => this.#runHandlers())
      .then(exit);
  }

  async #run(): Promise<void> {
    // A pidfile that cannot say "stopping" any more still names its daemon.
    this.#pidFile?.markStopping();
    this.#manager?.stopping(this.#timeout);
    this.#controller.abort();
    this.#windsDown = this.#optedIn && this.#handlers.length === 0;
    await this.#runHandlers();
  }

  /** Each once, also those that were added meanwhile. */
  async #runHandlers(): Promise<void> {
    for (let handler = this.#handlers.shift(); handler !== undefined; handler = this.#handlers.shift()) {
      try {
        await handler();
      } catch (error) {
        process.exitCode = 1;
        process.stderr.write(`a stop handler failed: ${inspect(error)}\n`);
      }
    }
  }

  #optIn(): void {
    if (this.#optedIn) return;
    this.#optedIn = true;
    // First, to see the program's listeners before those that listen once are gone.
    for (const signal of stopSignals) process.prependListener(signal, this.#onSignal);
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
    if ('deno' in process.versions) {
      // Its own handlers call the one that was there before, which would end the process.
      process.on('newListener', (event) => {
        if (isEnding(event)) native().disarmSignal(constants.signals[event]);
      });
    }
    // Node puts the default back when the last listener goes; a listener that is added replaces ours by itself.
    process.on('removeListener', (event) => {
      if (isEnding(event)) arm(event);
    });
  }
}

function isEnding(event: unknown): event is (typeof endingSignals)[number] {
  return (endingSignals as readonly unknown[]).includes(event);
}
