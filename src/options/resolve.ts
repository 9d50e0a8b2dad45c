/** The options of a start, checked and filled in: what the rest of the code works with. */
import { basename } from 'node:path';
import type { LaunchRequest } from '../../index.js';
import { invalidOption } from '../errors.js';
import { absolute, absoluteAsCalled, callersDirectory, callersDirectoryOrRoot } from '../files/working-directory.js';
import { ownPaths } from '../store/paths.js';
import { resolveAttributes } from './attributes.js';
import * as check from './check.js';
import { defaults, modes } from './defaults.js';
import { inheritedEnv, resolveEnv } from './env.js';
import { resolveIfRunning } from './if-running.js';
import { resolveListen } from './listen.js';
import { scriptName } from './script.js';
import { reopenableLogs, resolveStreams, type ReopenableLog } from './stdio.js';
import { resolveTimes } from './times.js';
import { resolveSupervision, type Supervision } from './supervision.js';
import type { DaemonizeOptions, SpawnDaemonOptions, StartedDaemon, StartOptions } from './types.js';

/** What the options ask of the core, in its own form. What identifies the daemon and what only its launch knows are missing. */
export type StartRequest = Omit<
  LaunchRequest,
  | 'program'
  | 'arguments'
  | 'workingDirectory'
  | 'name'
  | 'pidFile'
  | 'version'
  | 'record'
  | 'mustRead'
  | 'copies'
  | 'supervision'
  | 'launcherLeaves'
  | 'note'
>;

/** What every start has, with everything filled in and every path absolute. */
export interface ResolvedStart {
  /** How messages call the daemon. */
  readonly label: string;
  readonly name: string | undefined;
  readonly pidFile: string | undefined;
  readonly version: string | undefined;
  /** Where the record is kept; only named daemons have one. */
  readonly recordFile: string | undefined;
  /** Where a named daemon says something about itself. */
  readonly selfReportFile: string | undefined;
  /** What the option `log` names, or `name` means. */
  readonly logPath: string | undefined;
  readonly logs: readonly ReopenableLog[];
  readonly cwd: string;
  /** The process above it, if it is to have one. */
  readonly supervision: Supervision | null;
  readonly request: StartRequest;
}

/** Options of `daemonize` with everything filled in. */
export interface ResolvedOptions extends ResolvedStart {
  readonly mode: (typeof modes)[number];
  readonly idleTimeout: number | undefined;
  readonly onStarted: ((started: StartedDaemon) => void) | undefined;
}

/** The same start with another request. */
export function withRequest<T extends ResolvedStart>(start: T, changes: Partial<StartRequest>): T {
  return { ...start, request: { ...start.request, ...changes } };
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
  'restart',
  'restartLimit',
  'supervise',
  'killSignal',
  'ifRunning',
  'version',
] as const satisfies (keyof SpawnDaemonOptions)[];

/** Checks the options of `daemonize` and fills in the defaults. Throws `ERR_INVALID_OPTION`, naming what was wrong. */
export function resolveOptions(options: DaemonizeOptions, hasMain: boolean): ResolvedOptions {
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
  return resolveStart(options, name ?? basename(command), waitFor, from);
}

/** With `directory`, the working directory by default, and where the program's relative path begins. */
function resolveStart(
  options: StartOptions,
  label: string,
  waitFor: LaunchRequest['waitFor'],
  directory?: string,
): ResolvedStart {
  const { name } = options;
  const places = name === undefined ? undefined : ownPaths(name);
  const { streams, logPath } = resolveStreams(options, waitFor, places?.logFile);
  const pidFile = options.pidFile === undefined ? places?.pidFile : absolute(check.path('pidFile', options.pidFile));
  for (const [option, { path }] of Object.entries(streams)) {
    if (path !== undefined && path === pidFile) {
      throw invalidOption(`${path} cannot be both the pidfile and ${logPath === path ? 'the log' : `"${option}"`}`);
    }
  }
  const env = resolveEnv(options.env);
  const extendEnv = check.boolean('extendEnv', options.extendEnv, true);
  const cwd =
    options.cwd === undefined ? (directory ?? defaults.cwd) : absoluteAsCalled(check.path('cwd', options.cwd));
  const { ifRunning, version } = resolveIfRunning(options, pidFile);
  return {
    label,
    name,
    pidFile,
    version,
    recordFile: places?.record,
    selfReportFile: places?.selfReport,
    logPath,
    logs: reopenableLogs(streams),
    cwd,
    supervision: resolveSupervision(options, pidFile),
    request: {
      inheritedEnv: extendEnv ? inheritedEnv() : [],
      env,
      ...streams,
      directory: directory ?? null,
      listeners: resolveListen(options.listen),
      attributes: resolveAttributes(options),
      killMode: check.oneOf('killMode', options.killMode, 'session', ['session', 'process']),
      ifRunning,
      stopsBefore: null,
      waitFor,
      ...resolveTimes(options),
    },
  };
}
