/** The handle inside a daemon, and `main` that runs with it. */
import type { Server } from 'node:net';
import { inspect } from 'node:util';
import type { DaemonStart, NativePidFile } from '../../index.js';
import { invalidOption } from '../errors.js';
import { reasonOf } from '../launch/failure-message.js';
import { failureError } from '../native/index.js';
import * as check from '../options/check.js';
import type { ResolvedOptions } from '../options/resolve.js';
import type { ReopenableLog } from '../options/stdio.js';
import { claimDirectory, daemonPaths } from '../store/paths.js';
import type { SelfReport } from '../store/self-report.js';
import { isClusterWorker } from './cluster.js';
import type { Daemon } from './daemon.js';
import { Idleness, type Hold } from './idle.js';
import { LogFiles } from './log-files.js';
import { reportEnd } from './own-end.js';
import { Reload } from './reload.js';
import type { SdNotify } from './sd-notify.js';
import { ServedSocket, watchedSocket } from './served-socket.js';
import {
  drain,
  holdWhileConnected,
  keepsConnectionsTooLong,
  listenOn,
  onceListening,
  UnusedConnections,
} from './server.js';
import { Shutdown } from './shutdown.js';
import { bindSocket, type OwnSocket } from './socket-file.js';
import { Upkeep } from './upkeep.js';

/** Mode of the daemon's own socket: its user may connect, and root. */
const ownSocketMode = 0o600;

/** Under this symbol every copy of the package finds the handle. */
export const handleKey = Symbol.for('daemonry.daemon');

/** What a handle is made of. */
export interface DaemonParts {
  readonly mode: Daemon['mode'];
  readonly name: string | undefined;
  /** The start that was taken over, in a daemon. */
  readonly start: DaemonStart | undefined;
  /** The service manager that waits for it, in the foreground. */
  readonly manager: SdNotify | undefined;
  readonly pidFile: NativePidFile | undefined;
  /** The path of the one that its supervisor holds. */
  readonly supervisedPidFile?: string | undefined;
  /** Whether this process has locked it by itself, so that no launcher marks the daemon as up. */
  readonly marksPidFile: boolean;
  readonly listeners: ReadonlyMap<string, OwnSocket>;
  /** Where a named daemon reports about itself. */
  readonly selfReport: SelfReport | undefined;
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
  /** How many times it will be up when the event loop has turned. */
  #awaited = 0;
  readonly #termination: Shutdown;
  readonly #idleness: Idleness;
  readonly #logs: LogFiles;
  readonly #reload: Reload;
  readonly #upkeep: Upkeep;
  readonly #sockets: OwnSocket[];
  /** What is wrong now, by what it is wrong with. */
  readonly #problems = new Map<'logs' | 'reload' | 'files', string>();

  constructor(parts: DaemonParts) {
    const { mode, name, start, manager, pidFile, logs, stopTimeout, idleTimeout } = parts;
    this.mode = mode;
    this.pidFile = pidFile?.path ?? parts.supervisedPidFile;
    const listeners = [...parts.listeners];
    this.listeners = Object.freeze(Object.fromEntries(listeners.map(([name, { descriptor }]) => [name, descriptor])));
    this.#sockets = [...parts.listeners.values()];
    this.#parts = parts;
    this.#termination = new Shutdown(mode, pidFile, stopTimeout, manager);
    const onIdle = (timeout: number) => {
      process.stderr.write(`nothing has held the daemon for ${timeout} ms: it stops\n`);
      pidFile?.markReason();
      void this.stop();
    };
    this.#idleness = new Idleness(idleTimeout, () => start?.isWatched !== true, onIdle);
    this.#logs = new LogFiles(logs, (problem) => this.#hasProblem('logs', problem));
    this.#reload = new Reload(mode, this.#logs, manager, pidFile, (problem) => this.#hasProblem('reload', problem));
    this.#upkeep = new Upkeep({
      name,
      pidFile,
      logs: this.#logs.files(name === undefined ? undefined : daemonPaths(name).logFile),
      isStopping: () => this.isStopping,
      onMadeAgain: () => this.#say({}),
      onProblem: (problem) => this.#hasProblem('files', problem),
      onSuperseded: () => void this.stop(),
    });
    for (const { file } of this.#sockets) if (file !== undefined) this.#upkeep.add(file.path, watchedSocket(file));
    pidFile?.guard();
    process.on('exit', (code) => {
      // The launcher reports how a start has failed.
      reportEnd(pidFile, { exitCode: code }, start?.isWatched !== true);
      for (const { file } of this.#sockets) file?.remove();
      if (!this.#isUp && !this.isStopping) manager?.failed(`exited with code ${code} before it was up`);
      start?.exiting(code);
    });
    process.once('beforeExit', (code) => this.#ends(code));
    process.on('uncaughtExceptionMonitor', (error) => {
      // With a listener of its own the program may well survive this.
      const survives = process.listenerCount('uncaughtException') > 0 || process.hasUncaughtExceptionCaptureCallback();
      if (!survives) this.failed(error);
    });
    (globalThis as { [handleKey]?: Daemon })[handleKey] = this;
  }

  ready(status?: string): void {
    if (status !== undefined && typeof status !== 'string') throw new TypeError('the status must be a string');
    if (status !== undefined) {
      this.#say({ status });
      this.#parts.manager?.status(status);
    }
    this.#afterATurn(true, () => {
      this.#up();
      this.#report((start) => start.ready());
    });
  }

  onStop(handler: () => unknown): void {
    this.#termination.add(checkHandler(handler));
  }

  abortOnStop(): AbortSignal {
    return this.#termination.abortOnStop();
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
    checkServer(server);
    holdWhileConnected(server, () => this.hold());
    let socket: ServedSocket | undefined;
    onceListening(server, () => {
      const found = ServedSocket.of(server, this.#sockets);
      if (found === undefined) return;
      socket = found;
      this.#upkeep.add(found.path, found);
      server.once('close', () => this.#upkeep.delete(found.path));
      this.#say({ socket: found.path });
    });
    const { stopTimeout } = this.#parts;
    const warning = keepsConnectionsTooLong(server, stopTimeout);
    if (warning !== undefined) process.stderr.write(`${warning}\n`);
    const unused = new UnusedConnections(server);
    this.onStop(() => drain(server, socket, unused, stopTimeout));
  }

  async listen(server: Server): Promise<string> {
    checkServer(server);
    const { name } = this.#parts;
    if (isClusterWorker()) {
      throw invalidOption(
        'daemon.listen() belongs in the primary of a cluster: a worker listens on a socket of the option "listen"',
      );
    }
    if (name === undefined)
      throw invalidOption('daemon.listen() needs a daemon with a name, as in daemonize({ name })');
    if (server.listening) throw invalidOption('daemon.listen() needs a server that does not listen yet');
    const path = check.socketPath(daemonPaths(name).socket);
    claimDirectory(name, 'pidFile');
    const socket = bindSocket(path, ownSocketMode);
    this.#sockets.push(socket);
    this.serve(server);
    try {
      await listenOn(server, socket.descriptor);
    } catch (error) {
      socket.file?.remove();
      throw error;
    }
    return path;
  }

  stop(): Promise<void> {
    return this.#termination.stop();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /** `daemonize` has returned. */
  started(): void {
    const { waitFor } = this.#parts;
    this.#afterATurn(waitFor === 'start', () => {
      if (waitFor !== 'ready') this.#up();
      this.#report((start) => start.started());
    });
  }

  /**
   * Once the event loop has turned, and goes on: what fails without being awaited, such as `listen(port)`, has thrown by then, and
   * a program that has nothing to do has ended.
   * @param isUp whether the daemon is up then
   */
  #afterATurn(isUp: boolean, callback: () => void): void {
    if (isUp) this.#awaited += 1;
    const turned = (again: number): void => {
      // On a slow machine its time can have come before the loop has seen that it is empty. What native addons wait for is not listed.
      if (again > 0 && listedResources() === 0) {
        setTimeout(turned, 1, again - 1).unref();
        return;
      }
      if (isUp) this.#awaited -= 1;
      callback();
    };
    // The first turn may be the rest of the one that is under way. A timer without a reference keeps no program alive.
    setImmediate(() => setImmediate(() => setTimeout(turned, 0, 10).unref()));
  }

  /** Nothing is left that the event loop waits for. */
  #ends(code: number): void {
    if (this.isStopping || this.mode === 'foreground') return;
    if (this.#isUp) process.stderr.write('nothing keeps the daemon alive: it exits\n');
    else if (this.#awaited > 0 && code === 0) {
      process.exitCode = 1;
      this.#report((start) => start.failed('nothing keeps it alive'));
    }
  }

  /** The start has failed, or the daemon later, because of what was thrown. */
  failed(error: unknown): void {
    // What it exits with then says no more.
    this.#isUp = true;
    this.#parts.pidFile?.markReason(reasonOf(error));
    this.#parts.manager?.failed(reasonOf(error), error);
    this.#report((start) => start.failed(reasonOf(error)));
  }

  /** Before the launcher gets the report: its caller may read the pidfile at once. */
  #up(): void {
    if (this.#isUp) return;
    const { start, manager, pidFile, marksPidFile } = this.#parts;
    const failure = marksPidFile ? pidFile?.markUp() : undefined;
    if (failure && start !== undefined) throw failureError(failure);
    // A service that is up serves, and its pidfile names it, although it cannot say so.
    if (failure) process.stderr.write(`${failure.message}\n`);
    this.#isUp = true;
    manager?.ready();
    this.#termination.considerWorkers();
    this.#idleness.begin();
    this.#upkeep.begin();
  }

  /** While `main` runs, a program that only has the signal of `abortOnStop` is not considered done. */
  mainRuns(main: Promise<unknown>): void {
    this.#termination.awaitMain(main);
  }

  /** Whether the process has been asked to stop. */
  get isStopping(): boolean {
    return this.#termination.isStopping;
  }

  /** Shown by `daemonStatus` until it is over. */
  #hasProblem(subject: 'logs' | 'reload' | 'files', problem: string | undefined): void {
    if (this.#problems.get(subject) === problem) return;
    if (problem === undefined) this.#problems.delete(subject);
    else this.#problems.set(subject, problem);
    const all = [...this.#problems.values()].join('; ');
    this.#say({ problem: all === '' ? undefined : all });
  }

  /** A self-report that cannot be written is no reason to die; the log has the reason. */
  #say(changes: Parameters<SelfReport['change']>[0]): void {
    try {
      this.#parts.selfReport?.change(changes);
    } catch (error) {
      process.stderr.write(`${(error as Error).message}\n`);
    }
  }

  #report(send: (start: DaemonStart) => ReturnType<DaemonStart['ready']>): void {
    const { start } = this.#parts;
    const failure = start === undefined ? null : send(start);
    if (failure !== null) throw failureError(failure);
  }
}

/** How many resources keep the event loop alive, if the runtime lists them, as Node does. */
function listedResources(): number | undefined {
  return (process as { getActiveResourcesInfo?(): string[] }).getActiveResourcesInfo?.().length;
}

function checkServer(server: unknown): void {
  if (typeof (server as Server | undefined)?.close !== 'function') throw new TypeError('a server must be a net.Server');
}

function checkHandler(handler: unknown): () => unknown {
  if (typeof handler !== 'function') throw new TypeError('the handler must be a function');
  return handler as () => unknown;
}

/** What a handle takes from the options. */
export function handleOptions({ idleTimeout, request }: ResolvedOptions) {
  const { stopTimeout, waitFor } = request;
  return { stopTimeout, idleTimeout, waitFor };
}

/** Runs `main`; up when it has settled, over when it rejects. */
export function runMain(daemon: DaemonHandle, main: (daemon: Daemon) => unknown): void {
  const running = (async () => main(daemon))();
  daemon.mainRuns(running);
  running.then(
    () => daemon.ready(),
    (error: unknown) => {
      // A main that passes the signal of `abortOnStop` on ends this way when the daemon stops.
      if (daemon.isStopping && (error as Error | undefined)?.name === 'AbortError') return;
      daemon.failed(error);
      process.stderr.write(`${inspect(error)}\n`);
      process.exit(1);
    },
  );
}
