/** The request to the core to launch a daemon, and the record that goes with it. */
import type { NativeRecord } from '../../index.js';
import { absoluteAsCalled } from '../files/working-directory.js';
import * as check from '../options/check.js';
import { forkVariable } from '../options/env.js';
import type { ListenAddress } from '../options/listen.js';
import type { ResolvedStart } from '../options/resolve.js';
import type { SpawnDaemonOptions } from '../options/types.js';
import { lookUp } from '../options/user.js';
import { newRecord, type NewRecord } from '../store/record.js';
import type { Handover, StartMethod } from './handover.js';
import { socketFiles, withInherited } from './inherited-sockets.js';
import type { Program } from './restart-command.js';

/** The request of both ways to launch. Does, and looks up, what can only be done in the launcher. */
export function launchRequest(
  start: ResolvedStart,
  { program, arguments: args }: Program,
  how: StartMethod,
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
  const handover: Handover = {
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
    note: JSON.stringify(handover),
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
export function recordOf(
  start: ResolvedStart,
  { program, arguments: args }: Program,
  method: Handover['method'],
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
export function keepable({
  signal: _signal,
  ifRunning: _rival,
  ...options
}: SpawnDaemonOptions): Record<string, unknown> {
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
