/** A connection to a daemon's Unix socket, and the daemon behind it if there is none yet. */
import { existsSync } from 'node:fs';
import type { Socket } from 'node:net';
import { daemonStatus, isUp } from './daemon-status.js';
import { daemonError, invalidOption } from './errors.js';
import { absolute } from './files/working-directory.js';
import { holdCaller } from './launch/held-start.js';
import { resolveCall } from './options/call.js';
import * as check from './options/check.js';
import { defaults } from './options/defaults.js';
import { resolveSpawn, withRequest, type ResolvedStart } from './options/resolve.js';
import type { ConnectOptions, SpawnDaemonOptions } from './options/types.js';
import { aborted, refuseOtherProgram, spawnResolved } from './spawn-daemon.js';
import { daemonPaths } from './store/paths.js';
import { isOfAnotherVersion } from './store/record.js';

/** Between two tries to connect to a daemon that is there, in ms. */
const retryPause = 25;

/** A daemon may be stopped, or be idle, before it is reached; after this number of starts the call fails. */
const mostStarts = 5;

/** Connects to the daemon of a program without arguments. */
export function connectDaemon(command: string | URL, options: ConnectOptions): Promise<Socket>;

/**
 * Resolves with a connection to the daemon's Unix socket. When nothing listens there (`ENOENT`, `ECONNREFUSED`; every other
 * error is thrown), the daemon is started as {@link spawnDaemon} does with `ifRunning: 'reuse'`: of any number of callers at
 * the same moment one starts it, and all are connected. One that is about to end is waited for, and with `version` one of
 * another version is replaced first. Without `version`, a daemon of that name that runs another program is refused.
 *
 * Descriptors, relative paths and the environment are those of the call, however late the daemon is started.
 *
 * The program behind `command` listens on `daemonPaths(name).socket`, as {@link Daemon.listen} does, or wherever `socket` says. If the
 * socket of a running daemon is missing, the call waits until it is back.
 *
 * @example
 * const socket = await connectDaemon(process.execPath, [serverScript], { name: 'fmt', version: '2.1.0' });
 *
 * @throws a {@link DaemonError}; what connect(2) says, as Node does; `ERR_START_FAILED` when the daemon ends
 * each time before it can be reached, and `ERR_START_TIMEOUT` if no process listens within twice `startTimeout`
 */
export function connectDaemon(command: string | URL, args: readonly string[], options: ConnectOptions): Promise<Socket>;
export async function connectDaemon(
  command: string | URL,
  second: readonly string[] | ConnectOptions,
  third?: ConnectOptions,
): Promise<Socket> {
  const { program, args, options } = resolveCall(command, second, third);
  const { socket: chosen, ...others } = { ...options };
  const { cwd = defaults.cwd } = others;
  const start: SpawnDaemonOptions = { waitFor: 'ready', ifRunning: 'reuse', ...others, cwd };
  const { name, ifRunning } = start;
  if (name === undefined && (start.pidFile === undefined || chosen === undefined)) {
    throw invalidOption('connectDaemon needs "name", or "pidFile" and "socket"');
  }
  if (ifRunning === 'error') {
    throw invalidOption(`option "ifRunning" of connectDaemon must be 'reuse' or 'replace', not 'error'`);
  }
  const resolved = resolveSpawn(program, start);
  const path = check.socketPath(
    chosen === undefined ? daemonPaths(name!).socket : absolute(check.path('socket', chosen)),
  );
  // The caller may change them before there is a start.
  const kept: SpawnDaemonOptions = start.env === undefined ? start : { ...start, env: { ...start.env } };
  const held = holdCaller(resolved);
  try {
    return await reach(path, program, [...args], kept, held.start);
  } finally {
    held.release();
  }
}

async function reach(
  path: string,
  command: string,
  args: readonly string[],
  start: SpawnDaemonOptions,
  resolved: ResolvedStart,
): Promise<Socket> {
  const { signal, ifRunning } = start;
  const { label } = resolved;
  const pidFile = resolved.pidFile!;
  const deadline = performance.now() + 2 * resolved.request.startTimeout;
  let mustReplace = ifRunning === 'replace' || isOfAnotherVersion(resolved);
  let starts = 0;
  if (!mustReplace) refuseOtherProgram(command, args, start, resolved);
  for (;;) {
    const answer = mustReplace ? 'absent' : await tryToConnect(path);
    if (typeof answer === 'object') return answer;
    if (signal?.aborted) throw aborted(label, signal);
    if (performance.now() > deadline) throw unreachable(path, resolved);
    if (answer === 'absent' && starts === mostStarts) {
      // Not started once more: the last one may end between a check and a start.
      if (!isUp(await daemonStatus({ pidFile }))) throw endedEarly(path, label);
    } else if (answer === 'absent') {
      const again = mustReplace ? resolved : withRequest(resolved, { ifRunning: 'reuse' });
      const { outcome } = await spawnResolved(command, args, start, again, false);
      mustReplace = false;
      if (outcome !== 'reused') {
        starts += 1;
        continue;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, retryPause));
  }
}

/** A connection; `'absent'` if no process listens, `'busy'` if its queue is full. */
async function tryToConnect(path: string): Promise<Socket | 'absent' | 'busy'> {
  // Loaded only here: it takes longer than all of daemonry.
  const { connect } = process.getBuiltinModule('node:net');
  const { once } = process.getBuiltinModule('node:events');
  const socket = connect(path);
  try {
    await once(socket, 'connect');
    return socket;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ECONNREFUSED') return 'absent';
    if (code === 'EAGAIN') return 'busy';
    throw error;
  }
}

function endedEarly(socket: string, label: string) {
  const message = `${label} was started ${mostStarts} times, and ended each time before it could be reached on ${socket}`;
  return daemonError('ERR_START_FAILED', message, { stderr: '' });
}

function unreachable(socket: string, { label, pidFile, request }: ResolvedStart) {
  const time = `${2 * request.startTimeout} ms`;
  const why = existsSync(socket)
    ? `no process listened on its socket ${socket} within ${time}`
    : `its socket ${socket} was still missing after ${time}`;
  const message = `${label} is running (pidfile ${pidFile}), but ${why}: restart it`;
  return daemonError('ERR_START_TIMEOUT', message, { stderr: '', path: socket });
}
