/** A connection to a daemon's Unix socket, and the daemon behind it if there is none yet. */
import type { Socket } from 'node:net';
import { resolve } from 'node:path';
import * as check from './check.js';
import { status } from './control.js';
import { daemonError, invalidOption } from './errors.js';
import { resolveSpawn, type ConnectOptions, type ResolvedStart, type SpawnDaemonOptions } from './options.js';
import { checkSocket, paths } from './places.js';
import { isOfAnotherVersion } from './record.js';
import { aborted, checkCommand, spawnResolved } from './spawn.js';

/** Between two tries to connect to a daemon that is there, in ms. */
const retryPause = 25;

/** One may be stopped by somebody, or be idle, before it is reached; more often than this it fails. */
const mostStarts = 5;

/**
 * Resolves with a connection to the daemon's Unix socket. When nothing listens there (`ENOENT`, `ECONNREFUSED`; every other
 * error is thrown), the daemon is started as {@link spawnDaemon} does with `ifRunning: 'reuse'`: of any number of callers at
 * the same moment one starts it, and all are connected. One that is about to end is waited for, and with `version` one of
 * another version is replaced first.
 *
 * The program behind `command` listens on `paths(name).socket`, or wherever `socket` says.
 *
 * @example
 * const socket = await connectDaemon(process.execPath, [serverScript], { name: 'fmt', version: '2.1.0' });
 *
 * @throws a {@link DaemonError}; what connect(2) says, as Node does; `ERR_START_FAILED` when the daemon ends
 * each time before it can be reached, and `ERR_START_TIMEOUT` when nobody listens within twice `startTimeout`
 */
export async function connectDaemon(
  command: string,
  args: readonly string[] = [],
  options: ConnectOptions = {},
): Promise<Socket> {
  const { socket: chosen, ...others } = { ...options };
  const start: SpawnDaemonOptions = { waitFor: 'ready', ifRunning: 'reuse', ...others };
  const { name, signal, ifRunning } = start;
  if (name === undefined && (start.pidFile === undefined || chosen === undefined)) {
    throw invalidOption('connectDaemon needs "name", or "pidFile" and "socket"');
  }
  if (ifRunning === 'error') {
    throw invalidOption(`option "ifRunning" of connectDaemon must be 'reuse' or 'replace', not 'error'`);
  }
  const resolved = resolveSpawn(checkCommand(command, args), start);
  const { label } = resolved;
  const pidFile = resolved.pidFile!;
  const path = checkSocket(chosen === undefined ? paths(name!).socket : resolve(check.path('socket', chosen)));

  const deadline = Date.now() + 2 * resolved.startTimeout;
  let mustReplace = ifRunning === 'replace' || isOfAnotherVersion(resolved);
  let starts = 0;
  for (;;) {
    const answer = mustReplace ? 'nobody' : await tryToConnect(path);
    if (typeof answer === 'object') return answer;
    if (signal?.aborted) throw aborted(label, signal);
    if (Date.now() > deadline) throw nobodyListens(path, resolved);
    if (answer === 'nobody' && starts === mostStarts) {
      // Not started once more: the last one may end between a look and a start.
      if (!isRunning(pidFile)) throw endedEarly(path, label);
    } else if (answer === 'nobody') {
      const again: ResolvedStart = { ...resolved, ifRunning: mustReplace ? resolved.ifRunning : 'reuse' };
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

/** A connection; `'nobody'` where nothing listens, `'busy'` where somebody does who has more callers than room. */
async function tryToConnect(path: string): Promise<Socket | 'nobody' | 'busy'> {
  // Loaded only here: it takes longer than all of daemonry.
  const { connect } = process.getBuiltinModule('node:net');
  const { once } = process.getBuiltinModule('node:events');
  const socket = connect(path);
  try {
    await once(socket, 'connect');
    return socket;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ECONNREFUSED') return 'nobody';
    if (code === 'EAGAIN') return 'busy';
    throw error;
  }
}

function isRunning(pidFile: string): boolean {
  return !['stopped', 'dead'].includes(status({ pidFile }).state);
}

function endedEarly(socket: string, label: string) {
  const message = `${label} was started ${mostStarts} times, and ended each time before it could be reached on ${socket}`;
  return daemonError('ERR_START_FAILED', message, { stderr: '' });
}

function nobodyListens(socket: string, { label, startTimeout, pidFile }: ResolvedStart) {
  const message = `nothing has listened on ${socket} for ${2 * startTimeout} ms, though ${label} runs (pidfile ${pidFile})`;
  return daemonError('ERR_START_TIMEOUT', message, { stderr: '', path: socket });
}
