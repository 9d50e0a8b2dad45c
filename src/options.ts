/** The options of every way to start a daemon: their documentation, their defaults, and the one place where they are checked. */
import { statSync } from 'node:fs';
import { basename } from 'node:path';
import type { NativeIds, NativeLimit, NativeListener, NativeStream } from '../index.js';
import { absolute, absoluteAsCalled, callersDirectory, callersDirectoryOrRoot } from './directory.js';
import * as check from './check.js';
import { daemonEnvironment, type Variables } from './environment.js';
import { invalidOption, systemCallError } from './errors.js';
import { checkIdentity, type Identity } from './identity.js';
import { resolveLimits, type Limit, type Resource } from './limits.js';
import { resolveListen, type Endpoint, type ListenAddress } from './listeners.js';
import { scriptName } from './script.js';
import { claimPlace, makePlaces, ownPlaces } from './store.js';

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

/** How there came to be a daemon: this call started it, it ran already, or this call started it in the place of another. */
export type StartOutcome = 'started' | 'reused' | 'replaced';

/** What a started daemon is, for {@link DaemonizeOptions.onStarted}. */
export interface StartedDaemon {
  /** Whether this call has started it. */
  readonly outcome: StartOutcome;
  /** The daemon's pid. */
  readonly pid: number;
  /** Where the sockets of {@link StartOptions.listen} listen; missing without them, and of a daemon that ran already. */
  readonly listeners?: Readonly<Record<string, Endpoint>>;
}

/** Options of every way to start a daemon. `Sockets` are the names of the sockets of `listen`. */
export interface StartOptions<Sockets extends string = string> {
  /**
   * `[A-Za-z0-9_.@-]+`; picks the conventional pidfile and log of {@link paths}, makes their directories, and keeps a record
   * of how the daemon is started for `list`, `restart` and `logs`.
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
   * @default '/' for `daemonize` and `connectDaemon`, the caller's for `spawnDaemon`
   */
  readonly cwd?: string;
  /**
   * The daemon's file mode creation mask. Pidfiles and logs have their own modes, whatever it is.
   * @default 0o022
   */
  readonly umask?: number;
  /**
   * The user that the daemon runs as, by name or number: supplementary groups, group and user are changed in this order before
   * the program is executed, and verified; nothing of the launcher's rights is left. Takes root, unless it is the launcher's
   * own. `HOME`, `USER`, `LOGNAME` and `SHELL` follow, and `XDG_*_HOME`, `XDG_RUNTIME_DIR` and `MAIL` go. In the foreground it
   * is left to whoever started the program.
   * @default the launcher's
   */
  readonly user?: string | number;
  /**
   * The daemon's primary group, by name or number.
   * @default the primary group of `user`, else the launcher's
   */
  readonly group?: string | number;
  /**
   * All of the daemon's supplementary groups, by name or number.
   * @default what the group database gives `user`; with `group` alone none; else the launcher's
   */
  readonly groups?: readonly (string | number)[];
  /**
   * Resource limits, as setrlimit(2) has them: `{ nofile: 65536, core: 0, as: { soft: 2 ** 30 } }`.
   * @default the launcher's
   */
  readonly limits?: Readonly<Partial<Record<Resource, Limit>>>;
  /**
   * Niceness, from -20 (served first) to 19.
   * @default the launcher's
   */
  readonly nice?: number;
  /**
   * Linux: from -1000 (never killed when memory runs out) to 1000 (killed first); proc_pid_oom_score_adj(5).
   * @default the launcher's
   */
  readonly oomScoreAdjust?: number;
  /**
   * Linux: nothing that the daemon executes gains privileges by set-user-ID bits or file capabilities.
   * @default false
   */
  readonly noNewPrivileges?: boolean;
  /**
   * Sockets to bind before the fork, with the launcher's rights: a port below 1024 as root, served as `user`. A program that
   * calls `daemonize` finds their descriptors in {@link Daemon.listeners}, for `server.listen({ fd })`; any other gets them as
   * from systemd, from descriptor 3 on with `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES` (sd_listen_fds(3)). Where systemd
   * has handed over a socket of that name, that one is taken. In the foreground the program binds them itself.
   * @default none
   */
  readonly listen?: { readonly [Name in Sockets]: ListenAddress };
  /**
   * Added to the environment; `undefined` deletes. The record of a daemon that `spawnDaemon` starts by `name` keeps them, for
   * `daemonry restart`, in a file that only its owner reads.
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
   * Milliseconds that the daemon must live on after it is up.
   * @default 0
   */
  readonly aliveFor?: number;
  /**
   * Milliseconds after which a start has failed and is undone, `aliveFor` included. Waiting for somebody else's start, and a
   * start of one's own after that, have twice as long together; ending another daemon takes up to 15 s more.
   * @default 30_000
   */
  readonly startTimeout?: number;
  /**
   * Milliseconds that the daemon has to stop. `stop` waits as long, and 2 s; a program that calls `daemonize` ends itself by then.
   * @default 8_000, also for a program that says nothing about it
   */
  readonly stopTimeout?: number;
  /**
   * What a stop ends: `'session'`, the main process and then whatever is left of the session that the start made, such as the
   * server that a shell script runs; `'process'`, only the main process. Needs a pidfile.
   * @default 'session'
   */
  readonly killMode?: 'session' | 'process';
  /**
   * What to do when the daemon is running already: `'error'` fails with `ERR_ALREADY_RUNNING`; `'reuse'` takes it for the one
   * that was to be started, once it is up, and waits for one that is about to end; `'replace'` ends it as `stop` does and
   * starts another, but reuses one that somebody else has started meanwhile. Needs a pidfile. A daemon that is to stay in the
   * foreground cannot reuse another, and fails. `'reuse'` of another program, or of one in another directory, fails
   * with `ERR_OTHER_PROGRAM`, unless there is a `version`. `'replace'` fails without stopping anything if the new start is known to
   * fail, and with `ERR_START_CANCELLED` if a stop is requested meanwhile.
   * @default 'error'
   */
  readonly ifRunning?: 'error' | 'reuse' | 'replace';
  /**
   * With `ifRunning: 'reuse'` and `name`: a daemon of the same version is reused, one of any other version replaced. Compared
   * as text.
   * @default none
   */
  readonly version?: string;
}

/** Options of {@link daemonize}. */
export interface DaemonizeOptions<Sockets extends string = string> extends StartOptions<Sockets> {
  /**
   * When the start counts: `'start'`, once `daemonize()` has returned in the daemon and the event loop has turned; `'ready'`,
   * once `daemon.ready()` was called. Not together with `main`, which counts as up when it has settled or called `ready()`.
   * @default 'start'
   */
  readonly waitFor?: 'start' | 'ready';
  /**
   * `'daemon'` or `'foreground'`; `'auto'` stays in the foreground where a supervisor does already what a daemon does by
   * itself: systemd (unless the unit has `PIDFile=`), launchd, the init of a container or its first program, runit, s6,
   * supervisord and supervise-daemon. Only the one that has started exactly this process, or its parent, counts. In the
   * foreground stdio, working directory, umask, user and limits are left as they are, and the manager is told as
   * sd_notify(3) has it. The variable `DAEMONRY_MODE` wins over this option.
   * @default 'auto'
   */
  readonly mode?: 'auto' | 'daemon' | 'foreground';
  /**
   * Milliseconds without a {@link Daemon.hold} after which the daemon stops itself, counted from when it is up.
   * @default none
   */
  readonly idleTimeout?: number;
  /**
   * Called in the launcher just before it exits; must be synchronous. What it throws is printed, and the launcher exits with 1
   * instead of 0; the daemon stays up.
   * @default none
   */
  readonly onStarted?: (started: StartedDaemon) => void;
}

/** Options of {@link spawnDaemon}. */
export interface SpawnDaemonOptions extends StartOptions {
  /**
   * When the start counts: `'exec'`, once the program's image is executed; `'start'` and `'ready'` for a Node program that
   * calls `daemonize()` itself: see {@link DaemonizeOptions.waitFor}. A program with `main` is started when `main` is called.
   * @default 'exec'
   */
  readonly waitFor?: 'exec' | 'start' | 'ready';
  /**
   * Undoes a start that is under way, which then rejects with `ERR_START_INTERRUPTED`.
   * @default none
   */
  readonly signal?: AbortSignal;
}

/** Options of {@link connectDaemon}. */
export interface ConnectOptions extends SpawnDaemonOptions {
  /**
   * The path of the Unix socket that the daemon listens on.
   * @default the socket of {@link paths} for `name`
   */
  readonly socket?: string;
  /**
   * As for {@link spawnDaemon}.
   * @default 'ready'
   */
  readonly waitFor?: 'exec' | 'start' | 'ready';
}

/** Every default, in one place. */
export const defaults = {
  cwd: '/',
  umask: 0o022,
  logMode: 0o640,
  pidFileMode: 0o644,
  aliveFor: 0,
  startTimeout: 30_000,
  stopTimeout: 8_000,
  reloadTimeout: 10_000,
} as const;

/** The values of the option `mode`. */
export const modes = ['auto', 'daemon', 'foreground'] as const;

/** A log that a running daemon can open again, and the descriptors behind which it lies. */
export interface ReopenableLog {
  readonly path: string;
  readonly mode: number;
  readonly descriptors: readonly number[];
}

/** What every start has, with everything filled in and every path absolute. */
export interface ResolvedStart {
  /** How messages call the daemon. */
  readonly label: string;
  readonly name: string | undefined;
  readonly pidFile: string | undefined;
  /** Where the record is kept; only named daemons have one. */
  readonly recordFile: string | undefined;
  /** Where a named daemon says something about itself. */
  readonly selfReportFile: string | undefined;
  readonly version: string | undefined;
  readonly stdin: NativeStream;
  readonly stdout: NativeStream;
  readonly stderr: NativeStream;
  readonly logs: readonly ReopenableLog[];
  readonly cwd: string;
  readonly umask: number;
  /** Who the daemon is to be; `undefined` where it is who the launcher is. */
  readonly identity: Identity | undefined;
  readonly limits: NativeLimit[];
  readonly nice: number | undefined;
  readonly oomScore: number | undefined;
  readonly noNewPrivileges: boolean;
  /** Where the program's relative path begins, unless that is the working directory at the launch; also for the record. */
  readonly directory?: string | undefined;
  /** As they would be bound; a descriptor only where one is held for a later start. */
  readonly listen: readonly NativeListener[];
  /** The environment, with what changes in it for another user; `own` is the launcher's. */
  environment(ofUser: readonly string[], own?: Variables): string[];
  readonly waitFor: 'exec' | 'start' | 'ready';
  readonly aliveFor: number;
  readonly startTimeout: number;
  readonly stopTimeout: number;
  readonly killMode: 'session' | 'process';
  readonly ifRunning: 'error' | 'reuse' | 'replace';
  /** For the second half of a restart: how many stops had been requested when it began. One more cancels the start. */
  readonly stopsBefore?: number;
  /** What the option `log` names, or `name` means. */
  readonly logPath: string | undefined;
  /**
   * Does what can only be done, and only fail, in the launcher: makes directories, for whoever the daemon is to be, and looks
   * at the working directory.
   */
  prepare(owner?: NativeIds): void;
  /** The same for a program in the foreground, which has neither log nor working directory of ours: makes one directory. */
  prepareForeground(file: 'pidFile' | 'record'): void;
}

/** Options of `daemonize` with everything filled in. */
export interface ResolvedOptions extends ResolvedStart {
  readonly mode: (typeof modes)[number];
  readonly idleTimeout: number | undefined;
  readonly onStarted: ((started: StartedDaemon) => void) | undefined;
}

const startOptions = [
  'name',
  'pidFile',
  'log',
  'stdin',
  'stdout',
  'stderr',
  'cwd',
  'umask',
  'user',
  'group',
  'groups',
  'limits',
  'nice',
  'oomScoreAdjust',
  'noNewPrivileges',
  'listen',
  'env',
  'extendEnv',
  'waitFor',
  'aliveFor',
  'startTimeout',
  'stopTimeout',
  'killMode',
  'ifRunning',
  'version',
] as const satisfies (keyof SpawnDaemonOptions)[];

/** Checks the options of `daemonize` and fills in the defaults. Throws `ERR_INVALID_OPTION`, naming what was wrong. */
export function resolveOptions(options: DaemonizeOptions, hasMain: boolean): ResolvedOptions {
  if (typeof options === 'function') {
    throw invalidOption(
      'the options must be an object, not a function: a main function comes second, as in daemonize({}, main)',
    );
  }
  check.only(options, ...startOptions, 'mode', 'idleTimeout', 'onStarted');
  const waitFor = check.oneOf('waitFor', options.waitFor, 'start', ['start', 'ready']);
  if (hasMain && options.waitFor !== undefined) {
    throw invalidOption('option "waitFor" does not go with a main function, which counts as up when it has settled');
  }
  const start = resolveStart(options, options.name ?? scriptName() ?? 'the daemon', hasMain ? 'ready' : waitFor);
  const { idleTimeout } = options;
  return {
    ...start,
    mode: check.oneOf('mode', options.mode, 'auto', modes),
    idleTimeout: idleTimeout === undefined ? undefined : check.milliseconds('idleTimeout', idleTimeout, 0),
    onStarted: check.callback('onStarted', options.onStarted),
  };
}

/** The same for `spawnDaemon` and `connectDaemon`, for a caller in `directory`, where the program works by default. */
export function resolveSpawn(command: string, options: SpawnDaemonOptions, directory?: string): ResolvedStart {
  check.only(options, ...startOptions, 'signal');
  const { name, signal } = options;
  check.abortSignal('signal', signal);
  const waitFor = check.oneOf('waitFor', options.waitFor, 'exec', ['exec', 'start', 'ready']);
  const from = directory ?? (options.cwd === undefined ? callersDirectory() : callersDirectoryOrRoot());
  return { ...resolveStart(options, name ?? basename(command), waitFor, from), directory: from };
}

function resolveStart(
  options: StartOptions,
  label: string,
  waitFor: ResolvedStart['waitFor'],
  defaultCwd: string = defaults.cwd,
): ResolvedStart {
  const { name } = options;
  const places = name === undefined ? undefined : ownPlaces(name);
  const log = options.log === undefined ? places?.logFile : options.log;
  const logStream = log === undefined ? undefined : fileStream('log', log);
  const stdin = stream('stdin', options.stdin, nowhere);
  const stdout = stream('stdout', options.stdout, nowhere, logStream);
  // What only says that it is up when it has taken over its start lets go of the memory file then.
  const stderr = stream('stderr', options.stderr, waitFor === 'exec' ? nowhere : { kind: 'capture' }, logStream);
  const pidFile = options.pidFile === undefined ? places?.pidFile : absolute(check.path('pidFile', options.pidFile));
  for (const [option, { path }] of Object.entries({ stdin, stdout, stderr })) {
    if (path !== undefined && path === pidFile) {
      throw invalidOption(
        `${path} cannot be both the pidfile and ${logStream?.path === path ? 'the log' : `"${option}"`}`,
      );
    }
  }
  const env = environment(options.env);
  const extendEnv = check.boolean('extendEnv', options.extendEnv, true);
  const cwd = options.cwd === undefined ? defaultCwd : absoluteAsCalled(check.path('cwd', options.cwd));

  return {
    label,
    name,
    pidFile,
    recordFile: places?.record,
    selfReportFile: places?.selfReport,
    stdin,
    stdout,
    stderr,
    logs: reopenable(stdout, stderr),
    cwd,
    umask: check.mode('umask', options.umask, defaults.umask),
    ...resolveRights(options),
    listen: resolveListen(options.listen),
    environment: (ofUser, own) => daemonEnvironment(env, extendEnv, ofUser, own),
    waitFor,
    ...resolveTimes(options),
    killMode: check.oneOf('killMode', options.killMode, 'session', ['session', 'process']),
    ...resolveRivals(options, pidFile),
    logPath: logStream?.path,
    prepare: (owner) => {
      checkDirectory(cwd);
      if (name !== undefined) makePlaces(name, owner);
    },
    prepareForeground: (file) => {
      if (name !== undefined && (file === 'record' || pidFile === places?.pidFile)) claimPlace(name, file);
    },
  };
}

/** Who the daemon is, and what it may use. */
function resolveRights(
  options: StartOptions,
): Pick<ResolvedStart, 'identity' | 'limits' | 'nice' | 'oomScore' | 'noNewPrivileges'> {
  const { user, group, groups, nice, oomScoreAdjust } = options;
  const noNewPrivileges = check.boolean('noNewPrivileges', options.noNewPrivileges, false);
  if (process.platform !== 'linux') {
    if (oomScoreAdjust !== undefined) throw invalidOption(`${check.named('oomScoreAdjust')} is for Linux only`);
    if (noNewPrivileges) throw invalidOption(`${check.named('noNewPrivileges')} is for Linux only`);
  }
  return {
    identity: checkIdentity({ user, group, groups }),
    limits: resolveLimits(options.limits),
    nice: nice === undefined ? undefined : check.integer('nice', nice, -20, 19),
    oomScore: oomScoreAdjust === undefined ? undefined : check.integer('oomScoreAdjust', oomScoreAdjust, -1000, 1000),
    noNewPrivileges,
  };
}

function resolveTimes(options: StartOptions): Pick<ResolvedStart, 'startTimeout' | 'aliveFor' | 'stopTimeout'> {
  const startTimeout = check.milliseconds('startTimeout', options.startTimeout, defaults.startTimeout);
  if (startTimeout === 0) throw check.invalid('startTimeout', 'more than 0 milliseconds', startTimeout);
  const aliveFor = check.milliseconds('aliveFor', options.aliveFor, defaults.aliveFor);
  if (aliveFor > 0 && aliveFor >= startTimeout) {
    throw invalidOption(
      `${check.named('aliveFor')} (${aliveFor}) must be less than ${check.named('startTimeout')} (${startTimeout})`,
    );
  }
  const stopTimeout = check.milliseconds('stopTimeout', options.stopTimeout, defaults.stopTimeout);
  return { startTimeout, aliveFor, stopTimeout };
}

/** What is to happen when the daemon is running already. */
function resolveRivals(
  { ifRunning: value, version, name }: StartOptions,
  pidFile: string | undefined,
): Pick<ResolvedStart, 'ifRunning' | 'version'> {
  const ifRunning = check.oneOf('ifRunning', value, 'error', ['error', 'reuse', 'replace']);
  if (ifRunning !== 'error' && pidFile === undefined) {
    throw invalidOption(`option "ifRunning" can be '${ifRunning}' only with "name" or "pidFile"`);
  }
  if (version !== undefined) {
    // Half of a pair (Cs) could not be written, so it would never be the same version again.
    if (typeof version !== 'string' || !/^[^"\\\p{Cc}\p{Cs}]+$/u.test(version)) {
      throw check.invalid('version', 'a text without quotes, backslashes and control characters', version);
    }
    if (name === undefined) throw invalidOption('option "version" needs "name", whose record keeps it');
    if (ifRunning === 'replace') {
      throw invalidOption(`option "version" goes with ifRunning: 'reuse'; 'replace' replaces every version`);
    }
  }
  return { ifRunning, version };
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

const nowhere: NativeStream = { kind: 'null' };

function stream(option: string, value: unknown, ignored: NativeStream, fallback = ignored): NativeStream {
  if (value === undefined) return fallback;
  if (value === 'ignore') return ignored;
  if (value === 'inherit') return { kind: 'inherit' };
  if (typeof value === 'number') {
    // Beyond 31 bits the binding would take another one.
    if (!Number.isInteger(value) || value < 0 || value >= 2 ** 31) {
      throw check.invalid(option, 'an open file descriptor', value);
    }
    return { kind: 'descriptor', descriptor: value };
  }
  return fileStream(option, value);
}

function fileStream(option: string, value: unknown): NativeStream {
  const file = typeof value === 'string' ? { path: value } : value;
  if (!check.isRecord(file)) {
    const others = option === 'log' ? '' : ", 'ignore', 'inherit', an open file descriptor";
    throw check.invalid(option, `a path${others} or { path, mode, append }`, value);
  }
  for (const key of Object.keys(file)) {
    if (!['path', 'mode', 'append'].includes(key)) throw check.unknownOption(`${option}.${key}`, []);
  }
  const { path: place, mode: bits, append } = file as Partial<LogFile>;
  const resolved = check.mode(`${option}.mode`, bits, defaults.logMode);
  if ((resolved & 0o002) !== 0) {
    throw invalidOption(`${check.named(`${option}.mode`)} (0o${resolved.toString(8)}) must not let everybody write`);
  }
  return {
    kind: 'file',
    path: absolute(check.path(typeof value === 'string' ? option : `${option}.path`, place)),
    mode: resolved,
    append: check.boolean(`${option}.append`, append, true),
  };
}

function environment(value: unknown): Record<string, string | undefined> {
  if (value === undefined) return {};
  if (!check.isRecord(value)) throw check.invalid('env', 'an object of strings', value);
  for (const [name, text] of Object.entries(value)) {
    if (name === '' || /[=\0]/.test(name))
      throw invalidOption(`${check.named('env')} has an impossible name: ${check.show(name)}`);
    if (text !== undefined && (typeof text !== 'string' || text.includes('\0'))) {
      throw check.invalid(`env.${name}`, 'a string without NUL, or undefined', text);
    }
  }
  // A copy: what the caller changes later is no part of this start.
  return { ...value } as Record<string, string | undefined>;
}
