/** The interface of the handle. */
import type { Server } from 'node:net';
import type { Hold } from './idle.js';

/** The running daemon, as it sees itself. `Sockets` are the names of the option `listen`. */
export interface Daemon<Sockets extends string = string> extends AsyncDisposable {
  /** This process's id. */
  readonly pid: number;
  /** `'daemon'`, or `'foreground'` if a supervisor runs the program, or an option or a variable says so. */
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
   * Reports that the daemon is ready. A start that is waiting for readiness then succeeds, once the event loop has turned: an
   * exception directly after the call is still a failed start, and so is a program that nothing keeps alive.
   * @param status one line about what it does, which {@link daemonStatus} reports for a named daemon; a later call changes it
   */
  ready(status?: string): void;
  /**
   * Adds a handler that runs when the daemon is asked to stop, by SIGTERM, SIGINT or {@link Daemon.stop}. Handlers are awaited
   * in the order in which they were added; then the process exits with 0. A second signal, at least a second later, or the end of
   * `stopTimeout` ends it by the signal. If the program has its own listener for the signal, the handlers run, but the program
   * decides when to exit within `stopTimeout`.
   */
  onStop(handler: () => unknown): void;
  /**
   * Returns a signal that is aborted when the daemon is asked to stop; every call returns the same one. The first call opts in:
   * SIGTERM and SIGINT no longer end the process at once, and the program has `stopTimeout` to stop. It exits when the
   * {@link Daemon.onStop} handlers are done; without handlers, when a `main` that is still running has settled, or when nothing is
   * left to do.
   * @example
   * const signal = daemon.abortOnStop();
   * while (!signal.aborted) await work({ signal });
   */
  abortOnStop(): AbortSignal;
  /**
   * Adds a handler for SIGHUP; it runs after the logs were reopened. If it throws, the reload has failed: the log,
   * {@link reloadDaemon} and {@link DaemonStatus} report that, the other handlers run, and the daemon lives on. Signals during a
   * reload reopen the logs at once, and cause one more reload when it is done. In a foreground with a terminal SIGHUP keeps its
   * default and ends the process.
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
   * no new connections (a Unix socket loses its name first, so that no client that has connected already is cut off), and the
   * open ones have `stopTimeout` to end: an HTTP server answers further requests with `Connection: close`. That is a handler of
   * {@link Daemon.onStop}, in the order of the calls: close what the open connections still need in a handler that is added
   * later. For a named daemon, {@link daemonStatus} reports its Unix socket.
   * @param server listening or not yet
   */
  serve(server: Server): void;
  /**
   * Listens on the daemon's own Unix socket, `daemonPaths(name).socket`, and serves the server as {@link Daemon.serve} does. Only the
   * daemon's user and root can connect (mode 0600). A socket on which no process listens any more is replaced. While the daemon runs,
   * a socket that was removed is made again within seconds. When the daemon stops, the socket is removed, unless another
   * file is in its place by then; `server.listen(path)` of Node.js removes whatever has the name.
   * @param server does not listen yet
   * @returns the path, once the server listens
   * @throws `ERR_INVALID_OPTION` for a daemon without a name, a path that is too long, a server that listens already, or in a worker
   * of a cluster; a {@link SystemCallError}, such as `EADDRINUSE` if another process listens there
   * @example
   * await daemon.listen(createServer((connection) => connection.end('hello\n')));
   */
  listen(server: Server): Promise<string>;
  /** Stops as on SIGTERM: runs the handlers, then exits with 0. Settles only if the process does not end. */
  stop(): Promise<void>;
}
