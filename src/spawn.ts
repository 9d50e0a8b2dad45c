/** Any program as a daemon, while the caller lives on. */
import type { Abort, LaunchRequest } from '../index.js';
import * as check from './check.js';
import { forkVariable } from './environment.js';
import { daemonError, invalidOption } from './errors.js';
import { lookUp, type Account } from './identity.js';
import { boundListeners, socketFiles, withInherited, type Endpoint } from './listeners.js';
import { failureError, isFailure, native, unwrap } from './native.js';
import { resolveSpawn, type ResolvedStart, type SpawnDaemonOptions, type StartOutcome } from './options.js';
import type { Program } from './program.js';
import { describeFailure } from './reasons.js';
import { fullRecord, nativeRecord, type FullRecord } from './record.js';

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

/** What a launcher tells its daemon, by way of the marker. */
export interface Note {
  readonly startedBy: 'daemonize' | 'spawnDaemon';
  /** The directory to change to at adoption; missing where that was done before exec. */
  readonly cwd?: string;
  readonly logs: ResolvedStart['logs'];
  /** The record that the daemon keeps up to date; the file for its own words where it has given up root's rights. */
  readonly recordFile?: string;
  readonly wordsFile?: string;
  /** The name by which root has started it. */
  readonly systemName?: string;
  /** The files that were made for the sockets that it gets. */
  readonly sockets?: readonly string[];
}

/** What tells how the daemon is started, before the start itself is looked at. */
export type StartedHow = Pick<Note, 'startedBy' | 'cwd'>;

/**
 * Starts any program as a daemon; the caller lives on, with no child, zombie or descriptor of it.
 *
 * The command is looked for in the daemon's `PATH` as execvp(3) does, unless there is a slash in it. It is executed in `cwd`,
 * by default `/`. A Node program that calls `daemonize()` itself takes over this start: its top level runs once, `waitFor` may
 * be `'start'` or `'ready'`, and the options given here win over its own. Any other program holds the pidfile's lock as long as
 * it keeps the descriptors that it inherits; wrappers that close them (sudo) or leave the work to a child (npx) do not, which
 * is told where the start is watched long enough (`aliveFor`, or another `waitFor` than `'exec'`).
 *
 * @example
 * const { pid, outcome } = await spawnDaemon('redis-server', ['--port', '7000'], { name: 'cache', ifRunning: 'reuse' });
 *
 * @throws a {@link DaemonError}: `ENOENT` or `EACCES` with `step: 'exec'` for a program that is missing or not executable, and
 * whatever `daemonize` tells; the message is one sentence
 */
export async function spawnDaemon(
  command: string,
  args: readonly string[] = [],
  options: SpawnDaemonOptions = {},
): Promise<SpawnedDaemon> {
  return spawnResolved(command, args, options, resolveSpawn(checkCommand(command, args), options), false);
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
  const program = { program: command, arguments: [command, ...args] };
  const request: LaunchRequest = {
    ...launchRequest(resolved, program, { startedBy: 'spawnDaemon' }, keepable(options)),
    workingDirectory: resolved.cwd,
    launcherLeaves: leaves,
  };
  const abort = signal === undefined ? undefined : unwrap(native().createAbort());
  const outcome = await listening(signal, abort, async () => native().launchAside(request, abort));
  if (isFailure(outcome)) {
    const wasAborted = outcome.errorCode === 'ERR_START_INTERRUPTED' && outcome.signal === undefined;
    if (wasAborted && signal !== undefined) throw aborted(resolved.label, signal, outcome);
    throw failureError(outcome, describeFailure(outcome, resolved, false));
  }
  const { pidFile } = resolved;
  return {
    outcome: outcome.outcome,
    pid: outcome.pid,
    ...(pidFile === undefined ? {} : { pidFile }),
    ...boundListeners(outcome),
  };
}

/** What both ways to launch tell the core. Does, and looks up, what can only be done in the launcher. */
export function launchRequest(
  start: ResolvedStart,
  { program, arguments: args }: Program,
  how: StartedHow,
  options?: FullRecord['options'],
) {
  const { name, pidFile, recordFile, version, logPath: logFile, stdin, stdout, stderr, umask } = start;
  const { waitFor, aliveFor, startTimeout, ifRunning, limits, nice, oomScore, noNewPrivileges } = start;
  const account = start.identity === undefined ? undefined : lookUp(start.identity);
  start.prepare(account?.ids);
  const listeners = withInherited(start.listen);
  const words = wordsOf(start, account);
  const note: Note = {
    ...how,
    logs: start.logs,
    ...(listeners.length === 0 ? {} : { sockets: socketFiles(listeners) }),
    ...(recordFile === undefined || words !== undefined ? {} : { recordFile }),
    ...(words === undefined ? {} : { wordsFile: words.file }),
    ...(name === undefined || process.geteuid?.() !== 0 ? {} : { systemName: name }),
  };
  const request = {
    program,
    arguments: [...args],
    environment: start.environment(account?.variables ?? {}),
    stdin,
    stdout,
    stderr,
    umask,
    listeners,
    limits,
    noNewPrivileges,
    copies: process.env[forkVariable] === 'copy',
    waitFor,
    aliveFor,
    startTimeout,
    ifRunning,
    note: JSON.stringify(note),
    ...(account === undefined ? {} : { ids: account.ids }),
    ...(nice === undefined ? {} : { nice }),
    ...(oomScore === undefined ? {} : { oomScore }),
    ...(pidFile === undefined ? {} : { pidFile }),
  };
  if (name === undefined || pidFile === undefined || recordFile === undefined) return request;
  const { startedBy } = how;
  const known = { name, pidFile, program, arguments: args, startedBy, version, logFile, ...(words && { words }) };
  const record = fullRecord(options === undefined ? known : { ...known, options });
  return { ...request, record: nativeRecord(recordFile, record) };
}

/** Where a named daemon says something about itself that cannot write its record, for that is root's. */
function wordsOf({ wordsFile }: ResolvedStart, account: Account | undefined): FullRecord['words'] {
  if (account === undefined || !account.isAnother || wordsFile === undefined) return undefined;
  return { file: wordsFile, user: account.ids.uid };
}

/** The options that a restart gives again: all that mean the same then. A deleted variable is null, for JSON has no other. */
function keepable({
  signal: _signal,
  ifRunning: _rival,
  env,
  ...options
}: SpawnDaemonOptions): Record<string, unknown> {
  if (env === undefined) return options;
  return { ...options, env: Object.fromEntries(Object.entries(env).map(([name, value]) => [name, value ?? null])) };
}

export function checkCommand(command: unknown, args: unknown): string {
  if (typeof command !== 'string' || command === '' || command.includes('\0')) {
    throw invalidOption(`the command must be a program's name or path, not ${check.show(command)}`);
  }
  const wrong = Array.isArray(args)
    ? args.findIndex((argument) => typeof argument !== 'string' || argument.includes('\0'))
    : undefined;
  if (wrong !== -1) {
    const shown = check.show(wrong === undefined ? args : (args as unknown[])[wrong]);
    throw invalidOption(`the arguments must be an array of strings without NUL, not ${shown}`);
  }
  return command;
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
  { pid, stderr = '' }: { pid?: number; stderr?: string } = {},
) {
  const message = `${label} did not start: the start was aborted and undone`;
  return daemonError(
    'ERR_START_INTERRUPTED',
    message,
    { stderr, ...(pid === undefined ? {} : { pid }) },
    signal.reason,
  );
}
