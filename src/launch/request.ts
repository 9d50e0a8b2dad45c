/** The request to the core to launch a daemon, and the record that goes with it. */
import type { LaunchRequest, NativeRecord } from '../../index.js';
import { isPathLike, pathOf } from '../files/path-like.js';
import { absoluteAsCalled, checkDirectory } from '../files/working-directory.js';
import { commandPath } from '../native/command.js';
import { forkVariable } from '../options/env.js';
import type { ListenAddress } from '../options/listen.js';
import type { ResolvedStart } from '../options/resolve.js';
import type { SpawnDaemonOptions, StreamOption } from '../options/types.js';
import { newRecord, type NewRecord } from '../store/record.js';
import type { Handover, StartMethod } from './handover.js';
import { socketFiles, withInherited } from './inherited-sockets.js';
import type { Program } from './restart-command.js';

/** What only one of the ways to launch knows. */
type OneWay = Pick<LaunchRequest, 'workingDirectory' | 'mustRead' | 'launcherLeaves'> &
  Pick<NewRecord, 'options'> & { readonly how: StartMethod };

/** The request of both ways to launch. */
export function launchRequest(
  start: ResolvedStart,
  { program, arguments: args }: Program,
  { how, options, ...oneWay }: OneWay,
): LaunchRequest {
  const { name, pidFile, version, recordFile, selfReportFile: selfReport, supervision, request } = start;
  // Otherwise only the daemon itself would fail, after another one was stopped for it.
  checkDirectory(start.cwd);
  const listeners = withInherited(request.listeners);
  const handover: Handover = {
    ...how,
    logs: start.logs,
    // A supervisor keeps them, and removes their files.
    ...(listeners.length === 0 || supervision !== null ? {} : { sockets: socketFiles(listeners) }),
    ...(supervision === null || pidFile === undefined ? {} : { supervisedPidFile: pidFile }),
    ...(recordFile === undefined || selfReport === undefined ? {} : { selfReport }),
    ...(name === undefined ? {} : { name }),
    ...(process.geteuid?.() === 0 ? { isSystems: true } : {}),
  };
  return {
    ...request,
    ...oneWay,
    program,
    arguments: [...args],
    listeners,
    name: name ?? null,
    pidFile: pidFile ?? null,
    version: version ?? null,
    record: recordOf(start, { program, arguments: args }, how.method, options) ?? null,
    supervision: supervision === null ? null : { command: commandPath(), ...supervision },
    copies: process.env[forkVariable] === 'copy',
    note: JSON.stringify(handover),
  };
}

/** What is put on record about a daemon with a pidfile. Of one without a name no more than says which program it is. */
export function recordOf(
  start: ResolvedStart,
  { program, arguments: args }: Program,
  method: Handover['method'],
  options: NewRecord['options'],
): NativeRecord | undefined {
  const { name, pidFile, version, recordFile, selfReportFile: selfReport, logPath: logFile } = start;
  if (pidFile === undefined) return undefined;
  const { directory, stopTimeout } = start.request;
  const cwd = directory ?? undefined;
  const daemon = { name, cwd, pidFile, program, arguments: args, method, logFile, version, selfReport, stopTimeout };
  if (name !== undefined) return newRecord(recordFile, { ...daemon, options });
  const chosen = options?.['cwd'];
  return newRecord(undefined, { ...daemon, options: chosen === undefined ? {} : { cwd: chosen } });
}

/**
 * The options that a restart gives again: all that mean the same then, wherever it is called. A deleted variable is null, for JSON
 * has no other.
 */
export function keepable({
  signal: _signal,
  ifRunning: _rival,
  ...options
}: SpawnDaemonOptions): Record<string, unknown> {
  const { cwd, pidFile, log, stdin, stdout, stderr, listen, env } = options;
  const place = (path: string | URL) => absoluteAsCalled(pathOf(path)!);
  const file = (stream: StreamOption) => {
    if (stream === 'ignore' || stream === 'inherit' || typeof stream === 'number') return stream;
    return isPathLike(stream) ? place(stream) : { ...stream, path: place(stream.path) };
  };
  const address = ([name, where]: [string, ListenAddress]) =>
    [name, where.path === undefined ? where : { ...where, path: place(where.path) }] as const;
  const kept = {
    ...options,
    cwd: cwd && place(cwd),
    pidFile: pidFile && place(pidFile),
    log: log && file(log),
    stdin: stdin && file(stdin),
    stdout: stdout && file(stdout),
    stderr: stderr && file(stderr),
    listen: listen && Object.fromEntries(Object.entries(listen).map(address)),
    env: env && Object.fromEntries(Object.entries(env).map(([name, value]) => [name, value ?? null])),
  };
  return Object.fromEntries(Object.entries(kept).filter(([, value]) => value !== undefined));
}
