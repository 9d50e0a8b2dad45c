/** Any program as a daemon, while the caller lives on. */
import { resolve } from 'node:path';
import type { Abort, LaunchRequest } from '../index.js';
import { daemonError, downNow } from './errors.js';
import { boundListeners } from './launch/endpoints.js';
import { failureMessage } from './launch/failure-message.js';
import { keepable, launchRequest, recordOf } from './launch/request.js';
import type { Program } from './launch/restart-command.js';
import { reportUnrecorded } from './launch/stderr.js';
import { failureError, isFailure, native, unwrap } from './native/index.js';
import { resolveCall } from './options/call.js';
import type { Endpoint } from './options/listen.js';
import { resolveSpawn, type ResolvedStart } from './options/resolve.js';
import type { SpawnDaemonOptions, StartOutcome } from './options/types.js';

/** A daemon that `spawnDaemon` has started, or found. */
export interface SpawnedDaemon {
  /** Whether this call has started it. */
  readonly outcome: StartOutcome;
  /** The daemon's pid, confirmed by the kernel where there is a pidfile. */
  readonly pid: number;
  /** The pidfile that it holds; missing where none was asked for. */
  readonly pidFile?: string;
  /** Where the sockets of the option `listen` listen; missing without them, and of a daemon that ran already. */
  readonly listeners?: Readonly<Record<string, Endpoint>>;
}

/** Starts a program without arguments. */
export function spawnDaemon(command: string | URL, options: SpawnDaemonOptions): Promise<SpawnedDaemon>;

/**
 * Starts any program as a daemon; the caller lives on, with no child, zombie or descriptor of it.
 *
 * The command is looked for in the daemon's `PATH` as execvp(3) does, unless there is a slash in it. It is executed in `cwd`,
 * by default the caller's directory. A Node program that calls `daemonize()` itself takes over this start: its top level runs once, `waitFor` may
 * be `'start'` or `'ready'`, and the options given here win over its own. Any other program is found and stopped by its pid
 * and start time, whatever it does with the descriptors that it inherits. A wrapper that closes them (sudo) or leaves the work to
 * a child (npx) cannot report that it is up, so `waitFor: 'start'` and `'ready'` fail with a sentence that says why.
 *
 * @example
 * const { pid, outcome } = await spawnDaemon('redis-server', ['--port', '7000'], { name: 'cache', ifRunning: 'reuse' });
 * await spawnDaemon(new URL('./watch.sh', import.meta.url), { name: 'watch' });
 *
 * @throws a {@link DaemonError}: `ENOENT` or `EACCES` with `step: 'exec'` for a program that is missing or not executable, and
 * what `daemonize` throws; `step: 'read-script'` for the script of an interpreter; `ERR_OTHER_PROGRAM` for `ifRunning: 'reuse'` of
 * another program. The message is one sentence
 */
export function spawnDaemon(
  command: string | URL,
  args?: readonly string[],
  options?: SpawnDaemonOptions,
): Promise<SpawnedDaemon>;
export async function spawnDaemon(
  command: string | URL,
  second?: readonly string[] | SpawnDaemonOptions,
  third?: SpawnDaemonOptions,
): Promise<SpawnedDaemon> {
  const { program, args, options } = resolveCall(command, second, third);
  return spawnResolved(program, args, options, resolveSpawn(program, options), false);
}

/** The same with options that were checked already. A caller that `leaves` afterwards has the daemon as its child until then. */
export async function spawnResolved(
  command: string,
  args: readonly string[],
  options: SpawnDaemonOptions,
  resolved: ResolvedStart,
  leaves: boolean,
): Promise<SpawnedDaemon> {
  const { signal } = options;
  if (signal?.aborted) throw aborted(resolved.label, signal);
  const request = spawnRequest(command, args, options, resolved, leaves);
  const abort = signal === undefined ? undefined : unwrap(native().createAbort());
  const outcome = await listening(signal, abort, async () => native().launchAside(request, abort));
  if (isFailure(outcome)) {
    const wasAborted = outcome.errorCode === 'ERR_START_INTERRUPTED' && outcome.signal === undefined;
    if (wasAborted && signal !== undefined) throw aborted(resolved.label, signal, outcome);
    throw failureError(outcome, failureMessage(outcome, resolved, false));
  }
  reportUnrecorded(outcome.unwritten);
  const { pidFile } = resolved;
  return {
    outcome: outcome.outcome,
    pid: outcome.pid,
    ...(pidFile === undefined ? {} : { pidFile }),
    ...boundListeners(outcome),
  };
}

/**
 * Throws what a start is known to fail with, without starting anything: for a caller who will stop a daemon before it starts this
 * one.
 */
export function rehearse(
  command: string,
  args: readonly string[],
  options: SpawnDaemonOptions,
  resolved: ResolvedStart,
): void {
  const failure = native().rehearse(spawnRequest(command, args, options, resolved, false));
  if (failure !== null) throw failureError(failure);
}

/** Throws `ERR_OTHER_PROGRAM` if the daemon to connect to runs as another program than this command. */
export function refuseOtherProgram(
  command: string,
  args: readonly string[],
  options: SpawnDaemonOptions,
  start: ResolvedStart,
): void {
  const { pidFile, version } = start;
  const record = recordOf(start, programOf(command, args), 'spawnDaemon', keepable(options));
  // By a version the callers agree on what is the same.
  if (record === undefined || pidFile === undefined || version !== undefined) return;
  const failure = native().otherProgram(pidFile, record);
  if (failure !== null) throw failureError(failure, failureMessage(failure, start, false));
}

function programOf(command: string, args: readonly string[]): Program {
  return { program: command, arguments: [command, ...args] };
}

function spawnRequest(
  command: string,
  args: readonly string[],
  options: SpawnDaemonOptions,
  resolved: ResolvedStart,
  launcherLeaves: boolean,
): LaunchRequest {
  const program = programOf(command, args);
  return launchRequest(resolved, program, {
    how: { method: 'spawnDaemon' },
    options: keepable(options),
    workingDirectory: resolved.cwd,
    mustRead: scriptOf(program, resolved.cwd),
    launcherLeaves,
  });
}

/** The script of an interpreter, in the directory in which that looks for it; `null` if it is no file of its own. */
function scriptOf({ program, arguments: args }: Program, directory: string): string | null {
  const script = args[native().scriptAmong(program, [...args]) ?? args.length];
  // Yarn's loader finds what lies in an archive.
  return script === undefined || script.includes('.zip/') ? null : resolve(directory, script);
}

/** Runs `work` while the signal's abort reaches the launch. */
async function listening<T>(signal: AbortSignal | undefined, abort: Abort | undefined, work: () => Promise<T>) {
  const listener = () => abort?.abort();
  signal?.addEventListener('abort', listener, { once: true });
  try {
    return await work();
  } finally {
    signal?.removeEventListener('abort', listener);
    abort?.close();
  }
}

/** The start was given up by its caller. */
export function aborted(
  label: string,
  signal: AbortSignal,
  { pid, stderr = '', isDown = false }: { pid?: number; stderr?: string; isDown?: boolean } = {},
) {
  const message = `${label} did not start: the start was aborted and rolled back${isDown ? `; ${downNow(label)}` : ''}`;
  return daemonError(
    'ERR_START_INTERRUPTED',
    message,
    { stderr, ...(pid === undefined ? {} : { pid }), ...(isDown ? { isDown } : {}) },
    signal.reason,
  );
}
