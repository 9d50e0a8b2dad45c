/** How a daemon ends: at once unless it opted in, else by its handlers, within its time. */
import { constants } from 'node:os';
import { inspect } from 'node:util';
import type { NativePidFile } from '../../index.js';
import { native } from '../native/index.js';
import { clusterWorkers } from './cluster.js';
import { reportEnd } from './own-end.js';
import type { SdNotify } from './sd-notify.js';

/** Ask the daemon to stop, for one that opted in. */
const stopSignals = ['SIGTERM', 'SIGINT'] as const;

/**
 * End the process by default; the pidfile goes first, even when the event loop is blocked. Not SIGHUP: who catches it seems to
 * reload, and would be ended by the reload that `signalDaemon` does not refuse then.
 */
const endingSignals = [...stopSignals, 'SIGQUIT'] as const;

/** Milliseconds within which repeated signals count as one request: `npm run` and the terminal both send one. */
const repeatWindow = 1000;

export class Shutdown {
  readonly #pidFile: NativePidFile | undefined;
  readonly #timeout: number;
  readonly #manager: SdNotify | undefined;
  readonly #controller = new AbortController();
  readonly #handlers: (() => unknown)[] = [];
  #optedIn = false;
  #stopped: Promise<void> | undefined;
  /** When the first signal came. */
  #signalledAt: number | undefined;
  #limited = false;
  /** The program has called `abortOnStop`. */
  #isWatched = false;
  /** A program that has only that signal stops by itself. */
  #windsDown = false;
  #main: Promise<unknown> | undefined;

  constructor(
    mode: 'daemon' | 'foreground',
    pidFile: NativePidFile | undefined,
    timeout: number,
    manager: SdNotify | undefined,
  ) {
    this.#pidFile = pidFile;
    this.#timeout = timeout;
    this.#manager = manager;
    // If that cannot be written, a stop uses the launcher's value, or the default.
    pidFile?.markStopTimeout(timeout);
    if (mode === 'daemon' || pidFile !== undefined || process.pid === 1) this.#armDefaults();
  }

  abortOnStop(): AbortSignal {
    this.#isWatched = true;
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

  /** The workers of a cluster have open requests, which are lost when their primary ends at once. */
  considerWorkers(): void {
    if (clusterWorkers().length > 0) this.#optIn();
  }

  awaitMain(main: Promise<unknown>): void {
    this.#main = main;
    const settle = () => {
      this.#main = undefined;
    };
    main.then(settle, settle);
  }

  stop(): Promise<void> {
    this.#limit('SIGTERM', 'it was asked to');
    return this.#stop(() => true);
  }

  readonly #onSignal = (signal: NodeJS.Signals): void => {
    const isOnlyListener = () => process.listenerCount(signal) === 1 + listenersOfSignalExit();
    if (this.#signalledAt !== undefined) {
      // A second request ends the process if the first one could not, even if the program had a listener for the first one only.
      const isSecond = performance.now() - this.#signalledAt >= repeatWindow;
      return isSecond && isOnlyListener() ? this.#end(signal) : undefined;
    }
    this.#signalledAt = performance.now();
    // Where the program listens itself, it decides when to exit. Asked now, too: its listener may go with the first signal.
    const decides = isOnlyListener();
    void this.#stop(() => decides && isOnlyListener());
    this.#limit(signal, signal);
  };

  /** Whatever takes too long is cut off. */
  #limit(signal: NodeJS.Signals, reason: string): void {
    if (this.#limited) return;
    this.#limited = true;
    const timer = setTimeout(() => {
      this.#pidFile?.markStopping('timed-out');
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
    this.#windsDown = this.#isWatched && this.#handlers.length === 0;
    await stopWorkers();
    await this.#runHandlers();
  }

  /** Each once, also those that were added meanwhile. */
  async #runHandlers(): Promise<void> {
    for (let handler = this.#handlers.shift(); handler !== undefined; handler = this.#handlers.shift()) {
      try {
        await handler();
      } catch (error) {
        process.exitCode = 1;
        this.#pidFile?.markStopping('failed');
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
    reportEnd(this.#pidFile, { signal: constants.signals[signal] });
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

/** How often workers are looked for that a program has forked in the place of those that have exited. */
const workerRounds = 3;

/**
 * Waits until the workers of a cluster have finished their requests and exited. Those with a handler for SIGTERM, which
 * `serve` adds, get that: `disconnect` closes idle connections at once, and so resets requests that are on their way.
 */
async function stopWorkers(): Promise<void> {
  for (let round = 0; round < workerRounds; round += 1) {
    const workers = clusterWorkers();
    if (workers.length === 0) return;
    const ended = workers.map((worker) => new Promise((resolve) => worker.once('exit', resolve)));
    for (const worker of workers) {
      const { pid } = worker.process;
      if (pid !== undefined && native().catchesSignal(pid, constants.signals.SIGTERM) === true) {
        // It is what a program looks at before it forks another one.
        worker.exitedAfterDisconnect = true;
        worker.process.kill('SIGTERM');
      } else worker.disconnect();
    }
    await Promise.all(ended);
  }
}

/**
 * How many of the listeners for a signal are of the package signal-exit, in however many versions: they do nothing where another
 * one listens, and would wait for it to end the process.
 */
function listenersOfSignalExit(): number {
  const emitters = [
    // eslint-disable-next-line no-underscore-dangle -- where version 3 keeps it
    (process as { __signal_exit_emitter__?: unknown }).__signal_exit_emitter__,
    (globalThis as { [key: symbol]: unknown })[Symbol.for('signal-exit emitter')],
  ] as ({ count?: unknown } | undefined)[];
  return emitters.reduce((sum, emitter) => sum + (typeof emitter?.count === 'number' ? emitter.count : 0), 0);
}

function isEnding(event: unknown): event is (typeof endingSignals)[number] {
  return (endingSignals as readonly unknown[]).includes(event);
}
