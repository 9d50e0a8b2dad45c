/** The options of a start, checked and filled in: what the rest of the code works with. */
import { statSync } from 'node:fs';
import { basename } from 'node:path';
import type { NativeIds, NativeLimit, NativeListener, NativeStream } from '../../index.js';
import { invalidOption, systemCallError } from '../errors.js';
import { absolute, absoluteAsCalled, callersDirectory, callersDirectoryOrRoot } from '../files/working-directory.js';
import { claimDirectory, makeDirectories, ownPaths } from '../store/paths.js';
import * as check from './check.js';
import { defaults, modes } from './defaults.js';
import { daemonEnvironment, resolveEnv, type Variables } from './env.js';
import { resolveLimits } from './limits.js';
import { resolveListen } from './listen.js';
import { scriptName } from './script.js';
import { devNull, reopenableLogs, resolveLogFile, resolveStream, type ReopenableLog } from './stdio.js';
import type { DaemonizeOptions, SpawnDaemonOptions, StartedDaemon, StartOptions } from './types.js';
import { checkUser, type UserOptions } from './user.js';

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
  /** The user to run as; `undefined` if it is the launcher's. */
  readonly identity: UserOptions | undefined;
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
   * Does what can only be done, and only fail, in the launcher: makes directories, for the user to run as, and checks the
   * working directory.
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
  const places = name === undefined ? undefined : ownPaths(name);
  const log = options.log === undefined ? places?.logFile : options.log;
  const logStream = log === undefined ? undefined : resolveLogFile('log', log);
  const stdin = resolveStream('stdin', options.stdin, devNull);
  const stdout = resolveStream('stdout', options.stdout, devNull, logStream);
  // What only says that it is up when it has taken over its start lets go of the memory file then.
  const stderr = resolveStream('stderr', options.stderr, waitFor === 'exec' ? devNull : { kind: 'capture' }, logStream);
  const pidFile = options.pidFile === undefined ? places?.pidFile : absolute(check.path('pidFile', options.pidFile));
  for (const [option, { path }] of Object.entries({ stdin, stdout, stderr })) {
    if (path !== undefined && path === pidFile) {
      throw invalidOption(
        `${path} cannot be both the pidfile and ${logStream?.path === path ? 'the log' : `"${option}"`}`,
      );
    }
  }
  const env = resolveEnv(options.env);
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
    logs: reopenableLogs(stdout, stderr),
    cwd,
    umask: check.mode('umask', options.umask, defaults.umask),
    ...resolveRights(options),
    listen: resolveListen(options.listen),
    environment: (ofUser, own) => daemonEnvironment(env, extendEnv, ofUser, own),
    waitFor,
    ...resolveTimes(options),
    killMode: check.oneOf('killMode', options.killMode, 'session', ['session', 'process']),
    ...resolveIfRunning(options, pidFile),
    logPath: logStream?.path,
    prepare: (owner) => {
      checkDirectory(cwd);
      if (name !== undefined) makeDirectories(name, owner);
    },
    prepareForeground: (file) => {
      if (name !== undefined && (file === 'record' || pidFile === places?.pidFile)) claimDirectory(name, file);
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
    identity: checkUser({ user, group, groups }),
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
function resolveIfRunning(
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

function checkDirectory(directory: string): void {
  try {
    // Searched, as a change to it would be.
    statSync(`${directory}/.`);
  } catch (error) {
    throw systemCallError('chdir', 'change the working directory to', directory, error);
  }
}
