/** Any program as a daemon, while the caller lives on. */
import { resolve } from 'node:path';
import type { Abort, LaunchRequest, NativeRecord, NativeStream } from '../index.js';
import * as check from './check.js';
import { absoluteAsCalled } from './directory.js';
import { forkVariable } from './environment.js';
import { daemonError, downNow, invalidOption } from './errors.js';
import { lookUp } from './identity.js';
import { boundListeners, socketFiles, withInherited, type Endpoint, type ListenAddress } from './listeners.js';
import { failureError, isFailure, native, unwrap } from './native.js';
import { resolveSpawn, type ResolvedStart, type SpawnDaemonOptions, type StartOutcome } from './options.js';
import type { Program } from './program.js';
import { describeFailure } from './reasons.js';
import { sayUnwritten } from './say.js';
import { newRecord, type NewRecord } from './store.js';

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
  readonly method: 'daemonize' | 'spawnDaemon';
  /** The directory to change to at adoption; missing where that was done before exec. */
  readonly cwd?: string;
  readonly logs: ResolvedStart['logs'];
  /** Where a named daemon says something about itself. */
  readonly selfReport?: string;
  /** The name by which it was started. */
  readonly name?: string;
  /** Root has started it, so that its places are the system's. */
  readonly isSystems?: true;
  /** The files that were made for the sockets that it gets. */
  readonly sockets?: readonly string[];
}

/** What tells how the daemon is started, before the start itself is looked at. */
export type StartedHow = Pick<Note, 'method' | 'cwd'>;

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
 *
 * @throws a {@link DaemonError}: `ENOENT` or `EACCES` with `step: 'exec'` for a program that is missing or not executable, and
 * whatever `daemonize` tells; `step: 'read-script'` for the script of an interpreter; `ERR_OTHER_PROGRAM` for `ifRunning: 'reuse'` of
 * another program. The message is one sentence
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
  const request = spawnRequest(command, args, options, resolved, leaves);
  const abort = signal === undefined ? undefined : unwrap(native().createAbort());
  const outcome = await listening(signal, abort, async () => native().launchAside(request, abort));
  if (isFailure(outcome)) {
    const wasAborted = outcome.errorCode === 'ERR_START_INTERRUPTED' && outcome.signal === undefined;
    if (wasAborted && signal !== undefined) throw aborted(resolved.label, signal, outcome);
    throw failureError(outcome, describeFailure(outcome, resolved, false));
  }
  sayUnwritten(outcome.unwritten);
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
  const record = recordOf(start, programOf(command, args), 'spawnDaemon', { options: keepable(options) });
  // By a version the callers agree on what is the same.
  if (record === undefined || pidFile === undefined || version !== undefined) return;
  const failure = native().otherProgram(pidFile, record);
  if (failure !== null) throw failureError(failure, describeFailure(failure, start, false));
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
  const script = scriptOf(program, resolved.cwd);
  return {
    ...launchRequest(resolved, program, { method: 'spawnDaemon' }, { options: keepable(options) }),
    ...(script === undefined ? {} : { mustRead: script }),
    workingDirectory: resolved.cwd,
    launcherLeaves,
  };
}

/** The script of an interpreter, in the directory in which that looks for it; missing if it is no file of its own. */
function scriptOf({ program, arguments: args }: Program, directory: string): string | undefined {
  const script = args[native().scriptAmong(program, [...args]) ?? args.length];
  // Yarn's loader finds what lies in an archive.
  return script === undefined || script.includes('.zip/') ? undefined : resolve(directory, script);
}

/** A start that a caller has asked for, with what it takes from that caller. */
export interface HeldStart {
  readonly start: ResolvedStart;
  /** Closes the duplicates. */
  release(): void;
}

/**
 * Holds what a start takes from its caller, for a start that may come later: descriptors and the environment. The caller may
 * change both meanwhile.
 */
export function holdCaller(start: ResolvedStart): HeldStart {
  const streams = [start.stdin, start.stdout, start.stderr];
  const listen = withInherited(start.listen);
  const numbers = [
    ...streams.map(({ kind, descriptor }, number) => (kind === 'inherit' ? number : descriptor)),
    ...listen.map(({ descriptor }) => descriptor),
  ];
  const wanted = numbers.filter((number) => number !== undefined);
  const held = wanted.length === 0 ? undefined : native().holdDescriptors(wanted);
  const duplicates = [...(held?.numbers ?? [])];
  const [stdin, stdout, stderr, ...sockets] = numbers.map((number) =>
    number === undefined ? undefined : duplicates.shift(),
  );
  const stream = (own: NativeStream, descriptor: number | undefined): NativeStream =>
    descriptor === undefined ? own : { kind: 'descriptor', descriptor };
  const own = { ...process.env };
  return {
    start: {
      ...start,
      stdin: stream(start.stdin, stdin),
      stdout: stream(start.stdout, stdout),
      stderr: stream(start.stderr, stderr),
      listen: listen.map((listener, index) => {
        const descriptor = sockets[index];
        return descriptor === undefined ? listener : { ...listener, descriptor };
      }),
      environment: (ofUser) => start.environment(ofUser, own),
    },
    release: () => held?.close(),
  };
}

/** What both ways to launch tell the core. Does, and looks up, what can only be done in the launcher. */
export function launchRequest(
  start: ResolvedStart,
  { program, arguments: args }: Program,
  how: StartedHow,
  onRecord: Pick<NewRecord, 'options'>,
) {
  const { name, pidFile, recordFile, selfReportFile: selfReport, version, stdin, stdout, stderr, umask } = start;
  const {
    waitFor,
    aliveFor,
    startTimeout,
    stopTimeout,
    killMode,
    ifRunning,
    stopsBefore,
    limits,
    nice,
    oomScore,
    noNewPrivileges,
    directory,
  } = start;
  const account = start.identity === undefined ? undefined : lookUp(start.identity);
  start.prepare(account?.ids);
  const listeners = withInherited(start.listen);
  const note: Note = {
    ...how,
    logs: start.logs,
    ...(listeners.length === 0 ? {} : { sockets: socketFiles(listeners) }),
    ...(recordFile === undefined || selfReport === undefined ? {} : { selfReport }),
    ...(name === undefined ? {} : { name }),
    ...(process.geteuid?.() === 0 ? { isSystems: true } : {}),
  };
  const request = {
    program,
    arguments: [...args],
    environment: start.environment(account?.variables ?? []),
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
    stopTimeout,
    killMode,
    ifRunning,
    note: JSON.stringify(note),
    ...(account === undefined ? {} : { ids: account.ids }),
    ...(stopsBefore === undefined ? {} : { stopsBefore }),
    ...(nice === undefined ? {} : { nice }),
    ...(oomScore === undefined ? {} : { oomScore }),
    ...(pidFile === undefined ? {} : { pidFile }),
    ...(name === undefined ? {} : { name }),
    ...(version === undefined ? {} : { version }),
    ...(directory === undefined ? {} : { directory }),
  };
  const uid = account === undefined ? {} : { uid: account.ids.uid };
  const record = recordOf(start, { program, arguments: args }, how.method, { ...onRecord, ...uid });
  return record === undefined ? request : { ...request, record };
}

/** What is put on record about a daemon with a pidfile. Of one without a name no more than says which program it is. */
function recordOf(
  start: ResolvedStart,
  { program, arguments: args }: Program,
  method: Note['method'],
  known: Pick<NewRecord, 'options' | 'uid'>,
): NativeRecord | undefined {
  const { name, directory: cwd, pidFile, recordFile, selfReportFile: selfReport, logPath: logFile } = start;
  if (pidFile === undefined) return undefined;
  const { version, stopTimeout } = start;
  const daemon = { name, cwd, pidFile, program, arguments: args, method, logFile, version, selfReport, stopTimeout };
  if (name !== undefined) return newRecord(recordFile, { ...daemon, ...known });
  const chosen = known.options?.['cwd'];
  return newRecord(undefined, { ...daemon, options: chosen === undefined ? {} : { cwd: chosen } });
}

/**
 * The options that a restart gives again: all that mean the same then, wherever it is called. A deleted variable is null, for JSON
 * has no other.
 */
function keepable({ signal: _signal, ifRunning: _rival, ...options }: SpawnDaemonOptions): Record<string, unknown> {
  const { cwd, pidFile, log, stdin, stdout, stderr, listen, env } = options;
  const place = <T>(path: T) => (typeof path === 'string' ? absoluteAsCalled(path) : path);
  const file = <T>(stream: T) => {
    if (stream === 'ignore' || stream === 'inherit' || typeof stream === 'number') return stream;
    return check.isRecord(stream) ? { ...stream, path: place(stream['path']) } : place(stream);
  };
  const address = ([name, where]: [string, ListenAddress]) =>
    [name, 'path' in where ? { ...where, path: place(where.path) } : where] as const;
  const kept = {
    ...options,
    cwd: place(cwd),
    pidFile: place(pidFile),
    log: file(log),
    stdin: file(stdin),
    stdout: file(stdout),
    stderr: file(stderr),
    listen: listen && Object.fromEntries(Object.entries(listen).map(address)),
    env: env && Object.fromEntries(Object.entries(env).map(([name, value]) => [name, value ?? null])),
  };
  return Object.fromEntries(Object.entries(kept).filter(([, value]) => value !== undefined));
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
