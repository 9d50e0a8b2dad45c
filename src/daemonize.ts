/** The one call: launcher, daemon or foreground, and what each of them does. */
import { inspect } from 'node:util';
import type { DaemonStart, NativePidFile } from '../index.js';
import { currentDaemon, DaemonHandle, type Daemon, type DaemonParts } from './daemon.js';
import { forgetSupervisor, isDaemonsWorker, markDaemon, takeRestart } from './environment.js';
import { daemonError, downAfter, invalidOption, isDaemonError, printsAsSentence } from './errors.js';
import { launch } from './launcher.js';
import { openListeners, socketsOfPrimary, withInherited } from './listeners.js';
import { ServiceManager } from './manager.js';
import { takeStart, worksFor } from './marker.js';
import { chooseMode } from './mode.js';
import { failureError, inMainThread, isFailure, native, nativeOfMainThread } from './native.js';
import { defaults, resolveOptions, type DaemonizeOptions, type ResolvedOptions } from './options.js';
import { ownArguments } from './program.js';
import { describeFailure } from './reasons.js';
import { isSameFile } from './same-file.js';
import { sayUnwritten } from './say.js';
import type { Note } from './spawn.js';
import { isOfAnotherVersion, newRecord, paths, SelfReport, staysInSystemPlaces, type NewRecord } from './store.js';

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
export function daemonize<Sockets extends string = never>(
  options: DaemonizeOptions<Sockets>,
  main: (daemon: Daemon<Sockets>) => unknown,
): void;
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
export function daemonize(options?: DaemonizeOptions, main?: (daemon: Daemon) => unknown): Daemon | void {
  try {
    return begin(options, main);
  } catch (error) {
    // A worker's errors are printed by its parent, if it does not catch them.
    throw isDaemonError(error) && inMainThread() ? printsAsSentence(error) : error;
  }
}

function begin(options: DaemonizeOptions = {}, main?: (daemon: Daemon) => unknown): Daemon | void {
  nativeOfMainThread();
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

function adopt(start: DaemonStart, options: DaemonizeOptions, resolved: ResolvedOptions): DaemonHandle {
  const note = JSON.parse(start.note) as Note;
  markDaemon();
  if (note.name !== undefined && note.isSystems === true) staysInSystemPlaces(note.name);
  const daemon = new DaemonHandle({
    mode: 'daemon',
    name: note.name ?? options.name,
    start,
    manager: undefined,
    ...ownPart(resolved),
    ...takeOver(start, note, options, resolved),
  });
  try {
    // Else it was changed to before exec.
    if (note.cwd !== undefined) process.chdir(note.cwd);
  } catch (error) {
    start.failedChdir((error as NodeJS.ErrnoException).errno ?? 0, note.cwd ?? '');
    process.exit(1);
  }
  daemon.started();
  return daemon;
}

/** What the daemon was handed, and what it asks for besides. The launcher is told what it cannot have. */
function takeOver(start: DaemonStart, note: Note, options: DaemonizeOptions, resolved: ResolvedOptions) {
  try {
    const held = holdPidFile(start.pidFile() ?? undefined, note, options, resolved);
    return { ...held, listeners: openListeners(resolved.listen, note.sockets ?? []) };
  } catch (error) {
    start.failed((error as Error).message);
    throw error;
  }
}

/** The pidfile that the daemon was handed; of a `spawnDaemon` that named none, the one that it asks for itself. */
function holdPidFile(
  pidFile: NativePidFile | undefined,
  note: Note,
  options: DaemonizeOptions,
  resolved: ResolvedOptions,
): Held {
  const { logs } = note;
  const selfReport = note.selfReport === undefined ? undefined : new SelfReport(note.selfReport);
  const held = { pidFile, marksPidFile: false, selfReport, logs };
  if (note.method === 'daemonize') return held;
  if (pidFile === undefined) {
    resolved.prepare();
    return { ...claimPidFile(resolved, resolved.pidFile, 'daemonize', resolved.recordFile), logs };
  }
  const own = options.name ?? options.pidFile;
  // Whoever gave up root's rights looks for its places only now where root has them.
  const ownFile =
    options.pidFile === undefined && options.name !== undefined ? paths(options.name).pidFile : resolved.pidFile;
  // Two pidfiles for one daemon would let a second one start.
  if (own !== undefined && (ownFile === undefined || !isSameFile(ownFile, pidFile.path))) {
    const how = options.name === undefined ? 'start it with its own, or give it a name' : 'start it by the same name';
    throw invalidOption(
      `this program calls itself ${own} (pidfile ${ownFile}), but was started with the pidfile ${pidFile.path}: ${how}`,
    );
  }
  // It is shown if the caller named none.
  if (resolved.version !== undefined) selfReport?.change({ version: resolved.version });
  return held;
}

type Held = Pick<DaemonParts, 'pidFile' | 'marksPidFile' | 'selfReport' | 'logs'>;

/** Of a process that has locked its pidfile itself. */
type Claimed = Omit<Held, 'logs'>;

const nothingClaimed: Claimed = { pidFile: undefined, marksPidFile: false, selfReport: undefined };

/** Locks the pidfile for this process itself, and keeps the record of a named daemon; of another one only which program it is. */
function claimPidFile(
  options: ResolvedOptions,
  path: string | undefined,
  method: NewRecord['method'],
  recordFile: string | undefined,
): Claimed {
  if (path === undefined) return nothingClaimed;
  // A process that is the daemon itself cannot reuse another.
  const replaces = options.ifRunning === 'replace' || (options.ifRunning === 'reuse' && isOfAnotherVersion(options));
  const { name, version, logPath, selfReportFile: selfReport, startTimeout, stopTimeout } = options;
  const record = newRecord(name === undefined ? undefined : recordFile, {
    name,
    pidFile: path,
    program: process.execPath,
    arguments: [process.argv0, ...process.execArgv, ...ownArguments()],
    method,
    logFile: method === 'foreground' ? undefined : logPath,
    version,
    selfReport,
    stopTimeout,
  });
  const pidFile = native().acquirePidFile({
    pidFile: path,
    mode: defaults.pidFileMode,
    listeners: withInherited(options.listen),
    replaces,
    startTimeout,
    record,
    ...(name === undefined ? {} : { name }),
    ...(version === undefined ? {} : { version }),
  });
  if (isFailure(pidFile)) throw failureError(pidFile, describeFailure(pidFile, options, false));
  sayUnwritten(pidFile.unwritten);
  return {
    pidFile,
    marksPidFile: true,
    selfReport: record.path && selfReport ? new SelfReport(selfReport) : undefined,
  };
}

/** What a handle takes from the options. */
function ownPart({ stopTimeout, idleTimeout, waitFor }: ResolvedOptions) {
  return { stopTimeout, idleTimeout, waitFor };
}

/** A wrapper that was started as the daemon holds the pidfile, and waits for this process, which waits for the pidfile. */
function refuseToWorkForAnother({ label, pidFile }: ResolvedOptions): void {
  if (pidFile === undefined) return;
  const holder = native().pidFileStatus(pidFile);
  if (isFailure(holder) || holder.pid === undefined || !worksFor(holder.pid)) return;
  const { pid } = holder;
  const message = `${label} did not start: process ${pid}, which was started as the daemon, has left the work to another process, as npx does: start the program itself`;
  throw daemonError('ERR_ALREADY_RUNNING', message, { pid, path: pidFile });
}

/** What a supervisor runs, or somebody who wants to see it. */
function stayInForeground(options: DaemonizeOptions, resolved: ResolvedOptions): DaemonHandle {
  const manager = ServiceManager.find();
  manager?.starting(resolved.startTimeout);
  try {
    const claimed = claimOwnPidFile(options, resolved);
    const listeners = listenOrRelease(resolved, claimed.pidFile, manager);
    forgetSupervisor();
    markDaemon();
    return foreground(resolved, { name: resolved.name, manager, ...claimed, listeners });
  } catch (error) {
    manager?.failed((error as Error).message, error);
    throw error;
  }
}

/** A worker of a cluster: the pidfile and the sockets are the daemon's whose worker this is. */
function workForDaemon(resolved: ResolvedOptions): DaemonHandle {
  const listeners = socketsOfPrimary();
  return foreground(resolved, { name: resolved.name, manager: undefined, ...nothingClaimed, listeners });
}

function foreground(
  options: ResolvedOptions,
  parts: Claimed & Pick<DaemonParts, 'name' | 'manager' | 'listeners'>,
): DaemonHandle {
  const daemon = new DaemonHandle({ mode: 'foreground', start: undefined, logs: [], ...ownPart(options), ...parts });
  daemon.started();
  return daemon;
}

/**
 * The pidfile in the foreground. Where the conventional place for it cannot be had, as on a read-only file system or for a user
 * without a home, the program runs without one: its supervisor sees to it that there is only one, and a service that does not
 * start is worse. A `pidFile` that was asked for by its path is a must.
 */
function claimOwnPidFile(options: DaemonizeOptions, resolved: ResolvedOptions): Claimed {
  const { label, pidFile, recordFile } = resolved;
  const hasPlace = orWithout(`${label} runs without a pidfile`, () => resolved.prepareForeground('pidFile'));
  if (!hasPlace && options.pidFile === undefined) return nothingClaimed;
  const hasRecord =
    recordFile !== undefined && orWithout(`${label} keeps no record`, () => resolved.prepareForeground('record'));
  return claimPidFile(resolved, pidFile, 'foreground', hasRecord ? recordFile : undefined);
}

/** Whether something could be done; where there is no place for it, says what is to be done without. */
function orWithout(what: string, attempt: () => void): boolean {
  try {
    attempt();
    return true;
  } catch (error) {
    // As opposed to something being wrong with what is there.
    const hasNoPlace = isDaemonError(error) && ['EROFS', 'EACCES', 'EPERM', 'ENOENT', 'ENOTDIR'].includes(error.code);
    if (!hasNoPlace) throw error;
    process.stderr.write(`${what}: ${error.message}\n`);
    return false;
  }
}

/** A process that cannot serve does not hold its pidfile either. */
function listenOrRelease(
  { label, listen }: ResolvedOptions,
  pidFile: Held['pidFile'],
  manager: ServiceManager | undefined,
): DaemonParts['listeners'] {
  try {
    return openListeners(listen, [], manager);
  } catch (error) {
    const isDown = pidFile?.hasReplaced === true && isDaemonError(error);
    pidFile?.release();
    throw isDown ? downAfter(error, label) : error;
  }
}

/** Runs `main`; up when it has settled, over when it rejects. */
function runMain(daemon: DaemonHandle, main: (daemon: Daemon) => unknown): void {
  const running = (async () => main(daemon))();
  daemon.mainRuns(running);
  running.then(
    () => daemon.ready(),
    (error: unknown) => {
      // A main that waits on `stopping` ends this way when the daemon stops.
      if (daemon.isStopping && (error as Error | undefined)?.name === 'AbortError') return;
      daemon.failed(error);
      process.stderr.write(`${inspect(error)}\n`);
      process.exit(1);
    },
  );
}
