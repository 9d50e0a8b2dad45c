/** The handle inside a daemon. */
import type { DaemonStart, NativePidFile } from '../index.js';
import type { Server } from 'node:net';
import { Idleness, type Hold } from './idle.js';
import { Logs } from './logs.js';
import type { OwnSocket } from './listeners.js';
import type { ServiceManager } from './manager.js';
import { failureError } from './native.js';
import type { ReopenableLog } from './options.js';
import { reasonOf } from './reasons.js';
import type { OwnRecord, RecordChanges } from './record.js';
import { Reload } from './reload.js';
import { drain, holdWhileConnected, onUnixSocket } from './server.js';
import { Termination } from './termination.js';

/** The running daemon, as it sees itself. `Sockets` are the names of the option `listen`. */
export interface Daemon<Sockets extends string = string> extends AsyncDisposable {
  /** This process's id. */
  readonly pid: number;
  /** `'daemon'`, or `'foreground'` where a supervisor runs the program, or it was told to stay what it is. */
  readonly mode: 'daemon' | 'foreground';
  /** The pidfile that it holds. */
  readonly pidFile: string | undefined;
  /**
   * The sockets of the option `listen`: descriptors that listen already.
   * @example
   * server.listen({ fd: daemon.listeners.http });
   */
  readonly listeners: { readonly [Name in Sockets]: number };
  /**
   * Aborted when the daemon is asked to stop. Reading it opts in: SIGTERM and SIGINT no longer end the process at once, and
   * the program has `stopTimeout` to wind down. It exits when the {@link Daemon.onStop} handlers are done; where there are
   * none, when a `main` that is still running has settled or nothing is left to do.
   */
  readonly stopping: AbortSignal;
  /**
   * Says that the daemon serves: a start that waits for it has succeeded.
   * @param status one line about what it does, which `status` shows of a named daemon; a later call changes it
   */
  ready(status?: string): void;
  /**
   * Adds a handler that runs when the daemon is asked to stop, by SIGTERM, SIGINT or {@link Daemon.stop}. Handlers are awaited
   * in the order in which they were added; then the process exits with 0. A second signal, or the end of `stopTimeout`, ends
   * it by the signal. Where the program has its own listener for the signal, the handlers run but daemonry does not exit.
   */
  onStop(handler: () => unknown): void;
  /**
   * Adds a handler for SIGHUP; it runs after the logs were reopened. A rejection is logged and the daemon lives on. Signals
   * during a reload reopen the logs at once, and cause one more reload when it is done. In a foreground with a terminal SIGHUP
   * keeps its default and ends the process.
   */
  onReload(handler: () => unknown): void;
  /**
   * Opens the logs again by their paths, under the running process: native output moves, too, and no line is lost.
   * @throws a {@link SystemCallError}; the old files then stay open
   */
  reopenLogs(): void;
  /**
   * Keeps the daemon from being idle (option `idleTimeout`) until the hold is released.
   * @example
   * using hold = daemon.hold();
   */
  hold(): Hold;
  /**
   * Ties a server to the daemon's life. Every open connection is a {@link Daemon.hold}; when the daemon stops, the server takes
   * no new connections (a Unix socket loses its name first, so that nobody is cut off who has connected already), and the open
   * ones have `stopTimeout` to end. That is a handler of {@link Daemon.onStop}, in the order of the calls: what the open
   * connections still need is to be closed by one that is added later. `status` of a named daemon tells its Unix socket.
   * @param server listening or not yet
   */
  serve(server: Server): void;
  /** Stops as on SIGTERM: runs the handlers, then exits with 0. Settles only if the process does not end. */
  stop(): Promise<void>;
}

/** Under this symbol every copy of the package finds the handle. */
const key = Symbol.for('daemonry.daemon');

/** The handle inside a daemon, once `daemonize` was called there; `undefined` elsewhere. Never forks. */
export function currentDaemon(): Daemon | undefined {
  return (globalThis as { [key]?: Daemon })[key];
}

/** What a handle is made of. */
export interface DaemonParts {
  readonly mode: Daemon['mode'];
  /** The start that was taken over, in a daemon. */
  readonly start: DaemonStart | undefined;
  /** Who waits to hear of it, in the foreground. */
  readonly manager: ServiceManager | undefined;
  readonly pidFile: NativePidFile | undefined;
  /** Whether this process has locked it by itself, so that nobody else says in it that the daemon is up. */
  readonly marksPidFile: boolean;
  readonly listeners: ReadonlyMap<string, OwnSocket>;
  /** The record that it keeps up to date. */
  readonly record: OwnRecord | undefined;
  readonly logs: readonly ReopenableLog[];
  readonly stopTimeout: number;
  readonly idleTimeout: number | undefined;
  /** What being up means to this program. */
  readonly waitFor: 'exec' | 'start' | 'ready';
}

/** The one implementation of {@link Daemon}, with what `daemonize` needs of it besides. */
export class DaemonHandle implements Daemon {
  readonly pid = process.pid;
  readonly mode: Daemon['mode'];
  readonly pidFile: string | undefined;
  readonly listeners: Readonly<Record<string, number>>;
  readonly #parts: DaemonParts;
  #isUp = false;
  readonly #termination: Termination;
  readonly #idleness: Idleness;
  readonly #logs: Logs;
  readonly #reload: Reload;

  constructor(parts: DaemonParts) {
    const { mode, start, manager, pidFile, logs, stopTimeout, idleTimeout } = parts;
    this.mode = mode;
    this.pidFile = pidFile?.path;
    const sockets = [...parts.listeners];
    this.listeners = Object.freeze(Object.fromEntries(sockets.map(([name, { descriptor }]) => [name, descriptor])));
    this.#parts = parts;
    this.#termination = new Termination(mode, pidFile, stopTimeout, manager);
    const onIdle = (timeout: number) => {
      process.stderr.write(`nothing has held the daemon for ${timeout} ms: it stops\n`);
      void this.stop();
    };
    this.#idleness = new Idleness(idleTimeout, () => start?.isWatched !== true, onIdle);
    this.#logs = new Logs(logs, (problem) => this.#record({ problem }));
    this.#reload = new Reload(mode, this.#logs, manager);
    pidFile?.guard();
    process.on('exit', (code) => {
      for (const [, { file }] of sockets) file?.remove();
      if (!this.#isUp && !this.isStopping) manager?.failed(`exited with code ${code} before it was up`);
      start?.exiting(code);
    });
    process.on('uncaughtExceptionMonitor', (error) => {
      // With a listener of its own the program may well survive this.
      const survives = process.listenerCount('uncaughtException') > 0 || process.hasUncaughtExceptionCaptureCallback();
      if (!survives) this.failed(error);
    });
    (globalThis as { [key]?: Daemon })[key] = this;
  }

  get stopping(): AbortSignal {
    return this.#termination.signal;
  }

  ready(status?: string): void {
    if (status !== undefined && typeof status !== 'string') throw new TypeError('the status must be a string');
    if (status !== undefined) {
      this.#record({ status });
      this.#parts.manager?.status(status);
    }
    this.#up();
    this.#report((start) => start.ready());
  }

  onStop(handler: () => unknown): void {
    this.#termination.add(checkHandler(handler));
  }

  onReload(handler: () => unknown): void {
    this.#reload.add(checkHandler(handler));
  }

  reopenLogs(): void {
    this.#logs.reopen();
  }

  hold(): Hold {
    return this.#idleness.hold();
  }

  serve(server: Server): void {
    if (typeof (server as Server | undefined)?.close !== 'function')
      throw new TypeError('a server must be a net.Server');
    holdWhileConnected(server, () => this.hold());
    const sockets = [...this.#parts.listeners.values()];
    onUnixSocket(server, sockets, (socket) => this.#record({ socket }));
    this.onStop(() => drain(server, sockets));
  }

  stop(): Promise<void> {
    return this.#termination.stop();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /** `daemonize` has returned and the event loop has turned. */
  started(): void {
    if (this.#parts.waitFor !== 'ready') this.#up();
    this.#report((start) => start.started());
  }

  /** The start has failed, or the daemon later, because of what was thrown. */
  failed(error: unknown): void {
    // What it exits with then says no more.
    this.#isUp = true;
    this.#parts.manager?.failed(reasonOf(error), error);
    this.#report((start) => start.failed(reasonOf(error)));
  }

  /** Before the launcher is told: whoever it tells may look at the pidfile at once. */
  #up(): void {
    if (this.#isUp) return;
    const { start, manager, pidFile, marksPidFile } = this.#parts;
    const failure = marksPidFile ? pidFile?.markUp() : undefined;
    if (failure && start !== undefined) throw failureError(failure);
    // A service that is up serves, and its pidfile names it, although it cannot say so.
    if (failure) process.stderr.write(`${failure.message}\n`);
    this.#isUp = true;
    manager?.ready();
    this.#idleness.begin();
  }

  /** While `main` runs, a program that only reads `stopping` is not considered done. */
  mainRuns(main: Promise<unknown>): void {
    this.#termination.awaitMain(main);
  }

  /** Whether the process has been asked to stop. */
  get isStopping(): boolean {
    return this.#termination.isStopping;
  }

  /** A record that cannot be written is no reason to die; whoever reads the log learns of it. */
  #record(changes: RecordChanges): void {
    try {
      this.#parts.record?.change(changes);
    } catch (error) {
      process.stderr.write(`${(error as Error).message}\n`);
    }
  }

  #report(tell: (start: DaemonStart) => ReturnType<DaemonStart['ready']>): void {
    const { start } = this.#parts;
    const failure = start === undefined ? null : tell(start);
    if (failure !== null) throw failureError(failure);
  }
}

function checkHandler(handler: unknown): () => unknown {
  if (typeof handler !== 'function') throw new TypeError('the handler must be a function');
  return handler as () => unknown;
}
