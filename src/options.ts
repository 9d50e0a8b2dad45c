/** The options of `daemonize`: their documentation, their defaults, and the one place where they are checked. */
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { inspect } from 'node:util';
import type { NativeStream } from '../index.js';
import { daemonEnvironment } from './environment.js';
import { invalidOption, systemCallError } from './errors.js';
import { checkName, makePlaces, paths } from './places.js';
import { scriptName } from './script.js';

/** A file that a daemon writes to. */
export interface LogFile {
  /** Where it is; relative to the launcher's working directory. */
  readonly path: string;
  /**
   * Exactly this mode when it has to be created, whatever the umask; never writable by everybody.
   * @default 0o640
   */
  readonly mode?: number;
  /**
   * `false` empties it at the start, once the pidfile is locked.
   * @default true
   */
  readonly append?: boolean;
}

/** What a standard stream is connected to: `/dev/null`, the launcher's own, a file, or an open descriptor. */
export type StreamOption = 'ignore' | 'inherit' | (string & {}) | LogFile | number;

/** What a started daemon is, for {@link DaemonizeOptions.onStarted}. */
export interface StartedDaemon {
  readonly outcome: 'started';
  readonly pid: number;
}

/** Options of {@link daemonize}. */
export interface DaemonizeOptions {
  /**
   * `[A-Za-z0-9_.@-]+`; picks the conventional pidfile and log of {@link paths}, and makes their directories.
   * @default none
   */
  readonly name?: string;
  /**
   * The pidfile: locked from before the fork until the daemon's death, so that only one can run. Without one, nothing is
   * locked, and `status` and `stop` cannot find the daemon.
   * @default from `name`, else none
   */
  readonly pidFile?: string;
  /**
   * The file for stdout and stderr.
   * @default from `name`, else none
   */
  readonly log?: string | LogFile;
  /** @default 'ignore' */
  readonly stdin?: StreamOption;
  /** @default `log`, else 'ignore' */
  readonly stdout?: StreamOption;
  /**
   * With `'ignore'`, what the daemon writes while it starts is kept and shown by the launcher.
   * @default `log`, else 'ignore'
   */
  readonly stderr?: StreamOption;
  /**
   * The daemon's working directory.
   * @default '/'
   */
  readonly cwd?: string;
  /**
   * The daemon's file mode creation mask. Pidfiles and logs have their own modes, whatever it is.
   * @default 0o022
   */
  readonly umask?: number;
  /**
   * Added to the environment; `undefined` deletes.
   * @default {}
   */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /**
   * `false` starts from an empty environment; else it is the launcher's without what concerns the launcher alone
   * (`NODE_CHANNEL_FD`, `NOTIFY_SOCKET` and the like).
   * @default true
   */
  readonly extendEnv?: boolean;
  /**
   * When the start counts: `'start'`, once `daemonize()` has returned in the daemon and the event loop has turned; `'ready'`,
   * once `daemon.ready()` was called. Not together with `main`, which counts as up when it has settled or called `ready()`.
   * @default 'start'
   */
  readonly waitFor?: 'start' | 'ready';
  /**
   * Milliseconds that the daemon must live on after that point.
   * @default 0
   */
  readonly aliveFor?: number;
  /**
   * Milliseconds after which a start has failed and is undone, `aliveFor` included.
   * @default 30_000
   */
  readonly startTimeout?: number;
  /**
   * Milliseconds that a stopping daemon has after the first SIGTERM.
   * @default 8_000
   */
  readonly stopTimeout?: number;
  /**
   * What to do when the daemon is running already: fail with `ERR_ALREADY_RUNNING`.
   * @default 'error'
   */
  readonly ifRunning?: 'error';
  /**
   * Called in the launcher just before it exits; must be synchronous. What it throws is printed, and the launcher exits with 1
   * instead of 0; the daemon stays up.
   * @default none
   */
  readonly onStarted?: (started: StartedDaemon) => void;
}

const maxTimer = 2 ** 31 - 1;

/** Every default, in one place. */
export const defaults = {
  cwd: '/',
  umask: 0o022,
  logMode: 0o640,
  pidFileMode: 0o644,
  aliveFor: 0,
  startTimeout: 30_000,
  stopTimeout: 8_000,
  killTimeout: 10_000,
} as const;

/** A log that a running daemon can open again, and the descriptors behind which it lies. */
export interface ReopenableLog {
  readonly path: string;
  readonly mode: number;
  readonly descriptors: readonly number[];
}

/** Options with everything filled in and every path absolute. */
export interface ResolvedOptions {
  /** How messages call the daemon. */
  readonly label: string;
  readonly pidFile: string | undefined;
  readonly stdin: NativeStream;
  readonly stdout: NativeStream;
  readonly stderr: NativeStream;
  readonly logs: readonly ReopenableLog[];
  readonly cwd: string;
  readonly umask: number;
  readonly environment: readonly string[];
  readonly waitFor: 'start' | 'ready';
  readonly aliveFor: number;
  readonly startTimeout: number;
  readonly stopTimeout: number;
  readonly onStarted: ((started: StartedDaemon) => void) | undefined;
  /** What the option `log` names, or `name` means. */
  readonly logPath: string | undefined;
  /** Does what can only be done, and only fail, in the launcher: makes directories, looks at the working directory. */
  prepare(): void;
}

const known = [
  'name',
  'pidFile',
  'log',
  'stdin',
  'stdout',
  'stderr',
  'cwd',
  'umask',
  'env',
  'extendEnv',
  'waitFor',
  'aliveFor',
  'startTimeout',
  'stopTimeout',
  'ifRunning',
  'onStarted',
] as const satisfies (keyof DaemonizeOptions)[];

/** Checks the options and fills in the defaults. Throws `ERR_INVALID_OPTION`, naming the option and what was wrong with it. */
export function resolveOptions(options: DaemonizeOptions, hasMain: boolean): ResolvedOptions {
  if (typeof options === 'function') {
    throw invalidOption(
      'the options must be an object, not a function: a main function comes second, as in daemonize({}, main)',
    );
  }
  only(options, ...known);

  const { name, waitFor } = options;
  if (name !== undefined) checkName(name);
  if (options.ifRunning !== undefined && options.ifRunning !== 'error') {
    throw invalid('ifRunning', "'error'", options.ifRunning);
  }
  if (waitFor !== undefined && waitFor !== 'start' && waitFor !== 'ready') {
    throw invalid('waitFor', "'start' or 'ready'", waitFor);
  }
  if (hasMain && waitFor !== undefined) {
    throw invalidOption('option "waitFor" does not go with a main function, which counts as up when it has settled');
  }
  const places = name === undefined ? undefined : paths(name);
  const log = options.log === undefined ? places?.logFile : options.log;
  const logStream = log === undefined ? undefined : fileStream('log', log);
  const stdin = stream('stdin', options.stdin, { kind: 'null' });
  const stdout = stream('stdout', options.stdout, logStream ?? { kind: 'null' });
  const stderr = stream('stderr', options.stderr, logStream ?? { kind: 'capture' });
  const startTimeout = milliseconds('startTimeout', options.startTimeout, defaults.startTimeout);
  if (startTimeout === 0) throw invalid('startTimeout', 'more than 0 milliseconds', startTimeout);
  const aliveFor = milliseconds('aliveFor', options.aliveFor, defaults.aliveFor);
  if (aliveFor > 0 && aliveFor >= startTimeout) {
    throw invalidOption(`option "aliveFor" (${aliveFor}) must be less than "startTimeout" (${startTimeout})`);
  }
  const pidFile = options.pidFile === undefined ? places?.pidFile : resolve(path('pidFile', options.pidFile));
  for (const [option, { path }] of Object.entries({ stdin, stdout, stderr })) {
    if (path !== undefined && path === pidFile) {
      throw invalidOption(
        `${path} cannot be both the pidfile and ${logStream?.path === path ? 'the log' : `"${option}"`}`,
      );
    }
  }
  const cwd = resolve(options.cwd === undefined ? defaults.cwd : path('cwd', options.cwd));

  return {
    label: name ?? scriptName() ?? 'the daemon',
    pidFile,
    stdin,
    stdout,
    stderr,
    logs: reopenable(stdout, stderr),
    cwd,
    umask: mode('umask', options.umask, defaults.umask),
    environment: daemonEnvironment(environment(options.env), boolean('extendEnv', options.extendEnv, true)),
    waitFor: hasMain ? 'ready' : (waitFor ?? 'start'),
    aliveFor,
    startTimeout,
    stopTimeout: milliseconds('stopTimeout', options.stopTimeout, defaults.stopTimeout),
    onStarted: callback('onStarted', options.onStarted),
    logPath: logStream?.path,
    prepare() {
      if (places !== undefined) makePlaces(places);
      checkDirectory(cwd);
    },
  };
}

/** Which standard streams are regular log files, and where. */
function reopenable(stdout: NativeStream, stderr: NativeStream): ReopenableLog[] {
  const logs = new Map<string, { path: string; mode: number; descriptors: number[] }>();
  for (const [descriptor, { path, mode }] of [
    [1, stdout],
    [2, stderr],
  ] as const) {
    if (path === undefined) continue;
    const log = logs.get(path) ?? { path, mode: mode ?? defaults.logMode, descriptors: [] };
    log.descriptors.push(descriptor);
    logs.set(path, log);
  }
  return [...logs.values()];
}

function checkDirectory(directory: string): void {
  try {
    // Searched, as a change to it would be.
    statSync(`${directory}/.`);
  } catch (error) {
    throw systemCallError('chdir', 'change the working directory to', directory, error);
  }
}

function stream(option: string, value: unknown, fallback: NativeStream): NativeStream {
  if (value === undefined) return fallback;
  if (value === 'ignore') return { kind: option === 'stderr' ? 'capture' : 'null' };
  if (value === 'inherit') return { kind: 'inherit' };
  if (typeof value === 'number') {
    if (!Number.isInteger(value) || value < 0) throw invalid(option, 'an open file descriptor', value);
    return { kind: 'descriptor', descriptor: value };
  }
  return fileStream(option, value);
}

function fileStream(option: string, value: unknown): NativeStream {
  const file = typeof value === 'string' ? { path: value } : value;
  if (typeof file !== 'object' || file === null) {
    const others = option === 'log' ? '' : ", 'ignore', 'inherit', an open file descriptor";
    throw invalid(option, `a path${others} or { path, mode, append }`, value);
  }
  for (const key of Object.keys(file)) {
    if (!['path', 'mode', 'append'].includes(key)) throw unknownOption(`${option}.${key}`, []);
  }
  const { path: place, mode: bits, append } = file as Partial<LogFile>;
  const resolved = mode(`${option}.mode`, bits, defaults.logMode);
  if ((resolved & 0o002) !== 0) {
    throw invalidOption(`option "${option}.mode" (0o${resolved.toString(8)}) must not let everybody write`);
  }
  return {
    kind: 'file',
    path: resolve(path(typeof value === 'string' ? option : `${option}.path`, place)),
    mode: resolved,
    append: boolean(`${option}.append`, append, true),
  };
}

function environment(value: unknown): Record<string, string | undefined> {
  if (value === undefined) return {};
  if (typeof value !== 'object' || value === null) throw invalid('env', 'an object of strings', value);
  for (const [name, text] of Object.entries(value)) {
    if (name === '' || /[=\0]/.test(name)) throw invalidOption(`option "env" has an impossible name: ${show(name)}`);
    if (text !== undefined && (typeof text !== 'string' || text.includes('\0'))) {
      throw invalid(`env.${name}`, 'a string without NUL, or undefined', text);
    }
  }
  return value as Record<string, string | undefined>;
}

function path(option: string, value: unknown): string {
  if (typeof value === 'string' && value !== '' && !value.includes('\0')) return value;
  throw invalid(option, 'a path', value);
}

function milliseconds(option: string, value: unknown, fallback: number): number {
  if (value === undefined) return fallback;
  if (typeof value !== 'number' || !(value >= 0)) throw invalid(option, 'a number of milliseconds', value);
  // Node's timers end at once when they are given more.
  if (value > maxTimer) throw invalid(option, `at most ${maxTimer} milliseconds (24 days)`, value);
  return value;
}

function mode(option: string, value: unknown, fallback: number): number {
  if (value === undefined) return fallback;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 0o777) return value;
  throw invalid(option, 'an integer from 0 to 0o777', value);
}

function boolean(option: string, value: unknown, fallback: boolean): boolean {
  if (value === undefined) return fallback;
  if (typeof value === 'boolean') return value;
  throw invalid(option, 'true or false', value);
}

function callback<T>(option: string, value: T): T {
  // An async function would be cut off: the launcher exits when it has returned.
  const isAsync = typeof value === 'function' && value.constructor.name === 'AsyncFunction';
  if (value === undefined || (typeof value === 'function' && !isAsync)) return value;
  const given = isAsync ? 'an async one' : show(value);
  throw invalidOption(`option "${option}" must be a synchronous function, not ${given}`);
}

function invalid(option: string, wanted: string, value: unknown) {
  return invalidOption(`option "${option}" must be ${wanted}, not ${show(value)}`);
}

function show(value: unknown): string {
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'bigint' || typeof value === 'symbol') return String(value);
  return typeof value === 'string' ? JSON.stringify(value) : inspect(value, { depth: 0, breakLength: Infinity });
}

/** Throws for options that are no object, and for one that is not `known`. */
function only(options: object, ...known: string[]): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw invalidOption(`the options must be an object, not ${show(options)}`);
  }
  for (const option of Object.keys(options)) if (!known.includes(option)) throw unknownOption(option, known);
}

function unknownOption(option: string, known: readonly string[]) {
  const plain = option
    .toLowerCase()
    .replaceAll(/[-_]/g, '')
    .replace(/^logfile$/, 'log');
  const meant = known.find((name) => name.toLowerCase() === plain);
  return invalidOption(`unknown option "${option}"${meant === undefined ? '' : `: did you mean "${meant}"?`}`);
}

/** For options of other calls: only these keys, and only these types. */
export const check = { milliseconds, boolean, mode, path, callback, only, invalid };
