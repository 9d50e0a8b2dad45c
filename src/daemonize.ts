/** The one call: launcher, daemon or foreground, and what each of them does. */
import { inspect } from 'node:util';
import { isMainThread } from 'node:worker_threads';
import { currentDaemon, DaemonHandle, type Daemon } from './daemon.js';
import { isDaemonsWorker, markDaemon, modeVariable } from './environment.js';
import { invalidOption, isDaemonError, printsAsSentence } from './errors.js';
import { launch, type Note } from './launcher.js';
import { failureError, isFailure, native, nativeOfMainThread, unwrap } from './native.js';
import type { DaemonStart } from '../index.js';
import { defaults, resolveOptions, type DaemonizeOptions, type ResolvedOptions } from './options.js';
import { describeFailure, reasonOf } from './reasons.js';

/**
 * Makes this program a daemon and runs `main` in it.
 *
 * In the launcher the call blocks until the daemon is up, that is, until `main` has settled there or called `ready()`; then
 * the launcher exits with 0, without running its `exit` handlers. If the daemon does not come up, it is undone, and the
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
 * {@link SystemCallError} for a working directory or a conventional place that cannot be used; uncaught, each prints as one
 * sentence
 */
export function daemonize(options: DaemonizeOptions, main: (daemon: Daemon) => unknown): void;
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
export function daemonize(options?: DaemonizeOptions): Daemon;
export function daemonize(options?: DaemonizeOptions, main?: (daemon: Daemon) => unknown): Daemon | void {
  try {
    return begin(options, main);
  } catch (error) {
    // A worker's errors are printed by its parent, if it does not catch them.
    throw isDaemonError(error) && isMainThread ? printsAsSentence(error) : error;
  }
}

function begin(options: DaemonizeOptions = {}, main?: (daemon: Daemon) => unknown): Daemon | void {
  const binding = nativeOfMainThread();
  if (main !== undefined && typeof main !== 'function') throw invalidOption('main must be a function');
  const existing = currentDaemon();
  if (existing !== undefined) return main === undefined ? existing : runMain(existing as DaemonHandle, main);

  const resolved = resolveOptions(options, main !== undefined);
  const start = takeStart(binding.startVariable());
  if (start !== undefined) {
    const daemon = adopt(start, resolved.stopTimeout);
    return main === undefined ? daemon : runMain(daemon, main);
  }
  const isWorker = isDaemonsWorker();
  if (isWorker || wantsForeground()) {
    const daemon = stayInForeground(isWorker ? undefined : resolved.pidFile, resolved);
    return main === undefined ? daemon : runMain(daemon, main);
  }
  return launch(resolved, main !== undefined);
}

/** The start that the marker in the environment is about, if it is about this process. */
function takeStart(variable: string): DaemonStart | undefined {
  const marker = process.env[variable];
  if (marker === undefined) return undefined;
  delete process.env[variable];
  const start = native().adopt(marker);
  return start === null ? undefined : unwrap(start);
}

function adopt(start: DaemonStart, stopTimeout: number): DaemonHandle {
  const { cwd, logs } = JSON.parse(start.note) as Note;
  const pidFile = start.pidFile() ?? undefined;
  markDaemon();
  const daemon = new DaemonHandle({ mode: 'daemon', start, pidFile, logs, stopTimeout });
  try {
    process.chdir(cwd);
  } catch (error) {
    start.failedChdir((error as NodeJS.ErrnoException).errno ?? 0, cwd);
    process.exit(1);
  }
  process.on('uncaughtExceptionMonitor', (error) => {
    // With a listener of its own the program may well survive this.
    const survives = process.listenerCount('uncaughtException') > 0 || process.hasUncaughtExceptionCaptureCallback();
    if (!survives) daemon.failed(reasonOf(error));
  });
  afterATurn(() => daemon.started());
  return daemon;
}

/** Once the event loop has turned: what fails without being awaited, such as `listen(port)`, has thrown by then. */
function afterATurn(callback: () => void): void {
  // The first turn may be the rest of the one that is under way.
  setImmediate(() => setImmediate(callback));
}

function stayInForeground(path: string | undefined, options: ResolvedOptions): DaemonHandle {
  options.prepare();
  const pidFile = path === undefined ? undefined : native().acquirePidFile(path, defaults.pidFileMode);
  if (isFailure(pidFile)) throw failureError(pidFile, describeFailure(pidFile, options, false));
  const { stopTimeout } = options;
  return new DaemonHandle({ mode: 'foreground', start: undefined, pidFile, logs: [], stopTimeout });
}

function wantsForeground(): boolean {
  const mode = process.env[modeVariable] ?? 'auto';
  if (mode === 'foreground') return true;
  if (mode === 'auto' || mode === 'daemon' || mode === '') return false;
  throw invalidOption(`the variable ${modeVariable} must be auto, daemon or foreground, not ${JSON.stringify(mode)}`);
}

/** Runs `main`; up when it has settled, over when it rejects. */
function runMain(daemon: DaemonHandle, main: (daemon: Daemon) => unknown): void {
  const running = (async () => main(daemon))();
  daemon.mainRuns(running);
  running.then(
    () => afterATurn(() => daemon.ready()),
    (error: unknown) => {
      // A main that waits on `stopping` ends this way when the daemon stops.
      if (daemon.isStopping && (error as Error | undefined)?.name === 'AbortError') return;
      daemon.failed(reasonOf(error));
      process.stderr.write(`${inspect(error)}\n`);
      process.exit(1);
    },
  );
}
