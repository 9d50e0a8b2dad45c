/** `daemonize`: chooses between launcher, daemon and foreground. */
import { currentDaemon } from './current-daemon.js';
import { adopt } from './daemon/adopt.js';
import { isDaemonsWorker } from './daemon/cluster.js';
import type { Daemon } from './daemon/daemon.js';
import { stayInForeground, workForDaemon } from './daemon/foreground.js';
import { runMain, type DaemonHandle } from './daemon/handle.js';
import { invalidOption, isDaemonError } from './errors.js';
import { takeStart } from './launch/handover.js';
import { launch, refuseToWorkForAnother } from './launch/launcher.js';
import { chooseMode } from './launch/mode.js';
import { printsAsSentence } from './launch/stderr.js';
import { inMainThread, nativeOfMainThread } from './native/index.js';
import { takeRestart } from './options/env.js';
import { resolveOptions } from './options/resolve.js';
import type { DaemonizeOptions } from './options/types.js';

type Main = (daemon: Daemon) => unknown;

/**
 * Makes this program a daemon and runs `main` in it.
 *
 * In the launcher the call blocks until the daemon is up, that is, until `main` has settled there or called `ready()`; then
 * the launcher exits with 0, without running its `exit` handlers. If the daemon does not come up, the start is rolled back, and the
 * launcher prints one sentence on stderr and exits with 1. Code above the call, static imports included, runs in both
 * processes: import the service inside `main`.
 *
 * Follows daemon(7): fork, setsid, fork, everything closed but stdio, signals and umask reset, exec.
 *
 * @example
 * daemonize({ name: 'api' }, async (daemon) => {
 *   const { serve } = await import('./server.js');
 *   const server = await serve(8080);
 *   daemon.onStop(() => server.finish());
 * });
 *
 * @throws `ERR_INVALID_OPTION`, `ERR_WORKER_THREAD`, `ERR_UNSUPPORTED_PLATFORM`, `ERR_NOT_RESTARTABLE`, and a
 * {@link SystemCallError} for a working directory that cannot be used; uncaught, each prints as one sentence
 */
export function daemonize<Sockets extends string = never>(
  options: DaemonizeOptions<Sockets> & { readonly waitFor?: never },
  main: (daemon: Daemon<Sockets>) => unknown,
): void;

/**
 * Makes this program a daemon and runs `main` in it, with the default of every option, or those of the `spawnDaemon` or
 * `daemonry start` that has started it.
 */
export function daemonize(main: (daemon: Daemon<never>) => unknown): void;

/**
 * Makes this program a daemon: returns only in the daemon, with its handle. A second call returns the same handle.
 *
 * In the launcher the call blocks until the daemon is up (see `waitFor`), then exits with 0.
 *
 * @example
 * const daemon = daemonize({ pidFile: '/run/api.pid', log: '/var/log/api.log' });
 * server.listen(8080);
 *
 * @throws a {@link DaemonError} when the daemon does not come up; uncaught, it prints as one sentence
 */
export function daemonize<Sockets extends string = never>(options?: DaemonizeOptions<Sockets>): Daemon<Sockets>;
export function daemonize(first: DaemonizeOptions | Main = {}, second?: Main): Daemon | void {
  const [options, main] = second === undefined && typeof first === 'function' ? [{}, first] : [first, second];
  try {
    return begin(options, main);
  } catch (error) {
    // A worker's errors are printed by its parent, if it does not catch them.
    throw isDaemonError(error) && inMainThread() ? printsAsSentence(error) : error;
  }
}

function begin(options: DaemonizeOptions | Main, main: Main | undefined): Daemon | void {
  nativeOfMainThread();
  if (typeof options === 'function') {
    throw invalidOption('the options come before the main function, as in daemonize(options, main)');
  }
  if (main !== undefined && typeof main !== 'function') throw invalidOption('main must be a function');
  const existing = currentDaemon();
  if (existing !== undefined) return main === undefined ? existing : runMain(existing as DaemonHandle, main);

  const resolved = resolveOptions(options, main !== undefined);
  const [start, restart] = [takeStart(), takeRestart()];
  if (start !== undefined) {
    const daemon = adopt(start, options, resolved);
    return main === undefined ? daemon : runMain(daemon, main);
  }
  const isWorker = isDaemonsWorker();
  if (isWorker || chooseMode(resolved) === 'foreground') {
    const daemon = isWorker ? workForDaemon(resolved) : stayInForeground(options, resolved);
    return main === undefined ? daemon : runMain(daemon, main);
  }
  refuseToWorkForAnother(resolved);
  return launch(resolved, restart, main !== undefined);
}
