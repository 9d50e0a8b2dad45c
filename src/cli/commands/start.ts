/** `daemonry start`: any script or command as a daemon. */
import * as check from '../../options/check.js';
import type { ListenAddress } from '../../options/listen.js';
import { resolveSpawn } from '../../options/resolve.js';
import type { SpawnDaemonOptions } from '../../options/types.js';
import { printableLine } from '../../printable.js';
import { spawnResolved } from '../../spawn-daemon.js';
import type { Command, Parsed } from '../command.js';
import { exitCodes } from '../exit-codes.js';
import { printJson, spin } from '../output.js';
import { duration, jsonOption, missing, pairs, text, UsageError } from '../parse.js';
import { nameOf, programOf } from '../program.js';
import { durationOf, sizeOf } from '../quantity.js';

/** How long a program that says nothing itself is watched before the start counts, in ms. */
const aliveForDefault = 1000;

export const start: Command = {
  name: 'start',
  usage: '[OPTIONS] [--] PROGRAM [ARGUMENT…]',
  summary: 'Start a script or a command as a daemon, and report whether it is up.',
  programAfter: 0,
  options: {
    name: { type: 'string', short: 'n', value: 'NAME', help: "its name (default: PROGRAM's base name)" },
    'pid-file': { type: 'string', short: 'p', value: 'FILE', help: 'the pidfile, instead of a name or beside it' },
    log: { type: 'string', short: 'l', value: 'FILE', help: 'the file for its output (default: by the name)' },
    cwd: { type: 'string', short: 'C', value: 'DIR', help: 'its working directory (default: this one)' },
    env: { type: 'string', short: 'e', value: 'NAME=VALUE', multiple: true, help: 'set a variable; may be repeated' },
    umask: { type: 'string', value: 'MASK', help: 'its file mode creation mask, in octal (default: 022)' },
    user: { type: 'string', short: 'u', value: 'USER', help: 'the user to run as (requires root)' },
    group: { type: 'string', short: 'g', value: 'GROUP', help: "its group (default: the user's)" },
    nice: { type: 'string', value: 'N', help: 'its niceness, -20 to 19' },
    limit: {
      type: 'string',
      value: 'NAME=N',
      multiple: true,
      help: 'a resource limit, as nofile=4096, core=512M or core=unlimited',
    },
    listen: {
      type: 'string',
      value: 'NAME=WHERE',
      multiple: true,
      help: 'hand it a socket: a port, HOST:PORT or a path (see sd_listen_fds(3))',
    },
    wait: {
      type: 'string',
      short: 'w',
      value: 'POINT',
      help: 'exec; start or ready for a script that calls daemonize() (default: exec)',
    },
    'alive-for': {
      type: 'string',
      value: 'TIME',
      help: `how long it must stay alive (default: ${aliveForDefault / 1000}s with exec)`,
    },
    timeout: {
      type: 'string',
      short: 't',
      value: 'TIME',
      help: 'how long the start may take, as 500ms, 10s or 1.5m (default: 30s)',
    },
    'stop-timeout': { type: 'string', value: 'TIME', help: 'how long it may take to stop (default: 8s)' },
    'kill-mode': {
      type: 'string',
      value: 'MODE',
      help: 'what a stop ends: session or process (default: session)',
    },
    restart: { type: 'string', value: 'WHEN', help: 'restart it when it ends: no, on-failure or always (default: no)' },
    'restart-limit': {
      type: 'string',
      value: 'N/T',
      help: 'give up after N restarts within the time T, as 5/1m (default: never)',
    },
    supervise: { type: 'boolean', help: 'put a supervisor above it, also without restarts' },
    'kill-signal': { type: 'string', value: 'SIGNAL', help: 'how a supervisor asks it to stop (default: SIGTERM)' },
    replace: { type: 'boolean', help: 'stop a daemon that is already running, instead of keeping it' },
    json: jsonOption,
  },
  notes: ['PROGRAM is a Node.js script (.js, .ts, …) or a command. If it is already running, that is a success.'],
  run,
};

async function run({ command: self, values, program }: Parsed): Promise<number> {
  const [given, ...rest] = program;
  if (given === undefined) throw missing('program', self);
  const { command, args } = programOf(given, rest, values['cwd'] !== undefined);
  const options = optionsOf(values, given);
  const resolved = resolveSpawn(given, options);
  const starting = spawnResolved(command, args, options, resolved, true);
  const { outcome, pid } = await spin(`${resolved.label} starts`, starting);

  const { label, name, pidFile, logPath: logFile } = resolved;
  if (values['json']) printJson({ name, outcome, pid, pidFile, logFile });
  else {
    const words = { started: 'started', reused: 'is already running', replaced: 'was stopped and started anew' };
    const log = logFile === undefined ? '' : ` (log ${logFile})`;
    process.stdout.write(`${printableLine(`${label} ${words[outcome]} with pid ${pid}${log}`)}\n`);
  }
  return exitCodes.success;
}

function optionsOf(values: Parsed['values'], program: string): SpawnDaemonOptions {
  const [pidFile, log, cwd] = [text(values, 'pid-file'), text(values, 'log'), text(values, 'cwd')];
  const name = text(values, 'name') ?? (pidFile === undefined ? nameOf(program) : undefined);
  const waitFor = check.oneOf('wait', text(values, 'wait'), 'exec', ['exec', 'start', 'ready']);
  const aliveFor = duration(values, 'alive-for') ?? (waitFor === 'exec' ? aliveForDefault : 0);
  const startTimeout = duration(values, 'timeout');
  const stopTimeout = duration(values, 'stop-timeout');
  const killMode = text(values, 'kill-mode');
  const umask = text(values, 'umask');
  if (umask !== undefined && !/^0?[0-7]{1,3}$/.test(umask)) {
    throw new UsageError(`--umask must be an octal number up to 777, not ${JSON.stringify(umask)}`);
  }
  return {
    waitFor,
    aliveFor,
    ifRunning: values['replace'] ? 'replace' : 'reuse',
    env: Object.fromEntries(pairs(values, 'env')),
    ...(name === undefined ? {} : { name }),
    ...(pidFile === undefined ? {} : { pidFile }),
    ...(log === undefined ? {} : { log }),
    ...(cwd === undefined ? {} : { cwd }),
    ...rightsOf(values),
    ...supervisionOf(values),
    ...(umask === undefined ? {} : { umask: Number.parseInt(umask, 8) }),
    ...(startTimeout === undefined ? {} : { startTimeout }),
    ...(stopTimeout === undefined ? {} : { stopTimeout }),
    ...(killMode === undefined
      ? {}
      : { killMode: check.oneOf('killMode', killMode, 'session', ['session', 'process']) }),
  };
}

/** The process above it. */
function supervisionOf(
  values: Parsed['values'],
): Pick<SpawnDaemonOptions, 'restart' | 'restartLimit' | 'supervise' | 'killSignal'> {
  const [restart, limit, killSignal] = ['restart', 'restart-limit', 'kill-signal'].map((option) =>
    text(values, option),
  );
  return {
    ...(restart === undefined
      ? {}
      : { restart: check.oneOf('restart', restart, 'no', ['no', 'on-failure', 'always']) }),
    ...(limit === undefined ? {} : { restartLimit: restartLimitOf(limit) }),
    ...(values['supervise'] ? { supervise: true } : {}),
    ...(killSignal === undefined ? {} : { killSignal: killSignal as NodeJS.Signals }),
  };
}

/** `5/1m`. */
function restartLimitOf(limit: string): NonNullable<SpawnDaemonOptions['restartLimit']> {
  const [, times, time = ''] = /^(\d+)\/(.+)$/.exec(limit) ?? [];
  const within = durationOf(time);
  if (times !== undefined && within !== undefined) return { times: Number(times), within };
  throw new UsageError(`--restart-limit must be N/T such as 5/1m, not ${JSON.stringify(limit)}`);
}

/** Who it is and what it may use. */
function rightsOf(values: Parsed['values']): Pick<SpawnDaemonOptions, 'user' | 'group' | 'nice' | 'limits' | 'listen'> {
  const [user, group, nice] = [text(values, 'user'), text(values, 'group'), text(values, 'nice')];
  if (nice !== undefined && !/^-?\d+$/.test(nice)) {
    throw new UsageError(`--nice must be a whole number, not ${JSON.stringify(nice)}`);
  }
  const limits = pairs(values, 'limit').map(([name, limit]) => {
    return [name, limit === 'unlimited' ? limit : limitOf(name, limit)] as const;
  });
  const sockets = pairs(values, 'listen').map(([name, where]) => [name, addressOf(where)] as const);
  return {
    ...(user === undefined ? {} : { user }),
    ...(group === undefined ? {} : { group }),
    ...(nice === undefined ? {} : { nice: Number(nice) }),
    ...(limits.length === 0 ? {} : { limits: Object.fromEntries(limits) }),
    ...(sockets.length === 0 ? {} : { listen: Object.fromEntries(sockets) }),
  };
}

/** The resources whose unit is the byte, getrlimit(2). */
const inBytes = new Set(['as', 'core', 'data', 'fsize', 'memlock', 'msgqueue', 'rss', 'stack']);

/** A limit in the unit of its resource. */
function limitOf(resource: string, given: string): number {
  const isSize = inBytes.has(resource);
  const limit = isSize ? sizeOf(given) : /^\d+$/.test(given) ? Number(given) : undefined;
  if (limit !== undefined) return limit;
  const wanted = isSize ? 'a size such as 64k, 512M or 1G, a whole number of bytes' : 'a whole number';
  throw new UsageError(`--limit ${resource} must be ${wanted} or unlimited, not ${JSON.stringify(given)}`);
}

/** `8080`, `localhost:8080`, `[::1]:8080`, or a path. */
function addressOf(where: string): ListenAddress {
  if (where.includes('/')) return { path: where };
  const [, host, port] = /^(?:\[?([^\]]*)\]?:)?(\d+)$/.exec(where) ?? [];
  if (port === undefined) {
    throw new UsageError(`--listen must name a port, HOST:PORT or a path with a slash, not ${JSON.stringify(where)}`);
  }
  return { port: Number(port), ...(host ? { host } : {}) };
}
