/** The options `stdin`, `stdout`, `stderr` and `log`: streams, and the log files among them. */
import type { LaunchRequest, NativeStream } from '../../index.js';
import { invalidOption } from '../errors.js';
import { isPathLike } from '../files/path-like.js';
import { absolute } from '../files/working-directory.js';
import * as check from './check.js';
import { defaults } from './defaults.js';
import type { LogFile, StartOptions } from './types.js';

/** A log that a running daemon can open again, and the descriptors behind which it lies. */
export interface ReopenableLog {
  readonly path: string;
  readonly mode: number;
  readonly descriptors: readonly number[];
}

/** Which standard streams are regular log files, and where. */
export function reopenableLogs({ stdout, stderr }: Pick<LaunchRequest, 'stdout' | 'stderr'>): ReopenableLog[] {
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

const devNull: NativeStream = { kind: 'null' };

/** The standard streams, and the log that they default to. */
export function resolveStreams(options: StartOptions, waitFor: LaunchRequest['waitFor'], ownLog: string | undefined) {
  const { stdin, stdout, stderr, log = ownLog } = options;
  const logStream = log === undefined ? undefined : resolveLogFile('log', log);
  // What only says that it is up when it has taken over its start lets go of the memory file then.
  const kept: NativeStream = waitFor === 'exec' ? devNull : { kind: 'capture' };
  const streams = {
    stdin: resolveStream('stdin', stdin, devNull),
    stdout: resolveStream('stdout', stdout, devNull, logStream),
    stderr: resolveStream('stderr', stderr, kept, logStream),
  };
  return { streams, logPath: logStream?.path };
}

function resolveStream(option: string, value: unknown, ignored: NativeStream, fallback = ignored): NativeStream {
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
  return resolveLogFile(option, value);
}

function resolveLogFile(option: string, value: unknown): NativeStream {
  const file = isPathLike(value) ? { path: value } : value;
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
    path: absolute(check.path(isPathLike(value) ? option : `${option}.path`, place)),
    mode: resolved,
    append: check.boolean(`${option}.append`, append, true),
  };
}
