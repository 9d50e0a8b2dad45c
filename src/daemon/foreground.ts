/** A program that stays in the foreground: a service of a supervisor, or a worker of a cluster. */
import { downAfter, isDaemonError } from '../errors.js';
import { forgetSupervisor, markDaemon } from '../options/env.js';
import type { ResolvedOptions } from '../options/resolve.js';
import type { DaemonizeOptions } from '../options/types.js';
import { claimDirectory, daemonPaths } from '../store/paths.js';
import { claimPidFile, nothingClaimed, type ClaimedPidFile, type HeldPidFile } from './claim-pid-file.js';
import { DaemonHandle, handleOptions, type DaemonParts } from './handle.js';
import { SdNotify } from './sd-notify.js';
import { openListeners, socketsOfPrimary } from './sockets.js';

/** For a supervisor, or a person who wants to see it in a terminal. */
export function stayInForeground(options: DaemonizeOptions, resolved: ResolvedOptions): DaemonHandle {
  const manager = SdNotify.find();
  manager?.starting(resolved.request.startTimeout);
  try {
    const claimed = claimOwnPidFile(options, resolved);
    const listeners = listenOrRelease(resolved, claimed.pidFile, manager);
    forgetSupervisor();
    markDaemon();
    return foreground(resolved, { name: resolved.name, manager, ...claimed, listeners });
  } catch (error) {
    manager?.failed((error as Error).message, error);
    throw error;
  }
}

/** A worker of a cluster: the pidfile and the sockets are the daemon's whose worker this is. */
export function workForDaemon(resolved: ResolvedOptions): DaemonHandle {
  const listeners = socketsOfPrimary();
  return foreground(resolved, { name: resolved.name, manager: undefined, ...nothingClaimed, listeners });
}

function foreground(
  options: ResolvedOptions,
  parts: ClaimedPidFile & Pick<DaemonParts, 'name' | 'manager' | 'listeners'>,
): DaemonHandle {
  const daemon = new DaemonHandle({
    mode: 'foreground',
    start: undefined,
    logs: [],
    ...handleOptions(options),
    ...parts,
  });
  daemon.started();
  return daemon;
}

/**
 * The pidfile in the foreground. If its conventional place is not available, as on a read-only file system or for a user without
 * a home, the program runs without one: its supervisor makes sure that there is only one, and a service that does not start is
 * worse. A `pidFile` that was given by its path is required.
 */
function claimOwnPidFile(options: DaemonizeOptions, resolved: ResolvedOptions): ClaimedPidFile {
  const { label, pidFile, recordFile } = resolved;
  const hasPlace = orWithout(`${label} runs without a pidfile`, () => claimPlace(resolved, 'pidFile'));
  if (!hasPlace && options.pidFile === undefined) return nothingClaimed;
  const hasRecord =
    recordFile !== undefined && orWithout(`${label} keeps no record`, () => claimPlace(resolved, 'record'));
  return claimPidFile(resolved, pidFile, 'foreground', hasRecord ? recordFile : undefined);
}

/** Makes the conventional directory of a file for this process; a pidfile that was given by its path has none. */
function claimPlace({ name, pidFile }: ResolvedOptions, file: 'pidFile' | 'record'): void {
  if (name !== undefined && (file === 'record' || pidFile === daemonPaths(name).pidFile)) claimDirectory(name, file);
}

/** Whether the attempt succeeded; if there is no place for it, prints what the program does without. */
function orWithout(what: string, attempt: () => void): boolean {
  try {
    attempt();
    return true;
  } catch (error) {
    // As opposed to something being wrong with what is there.
    const hasNoPlace = isDaemonError(error) && ['EROFS', 'EACCES', 'EPERM', 'ENOENT', 'ENOTDIR'].includes(error.code);
    if (!hasNoPlace) throw error;
    process.stderr.write(`${what}: ${error.message}\n`);
    return false;
  }
}

/** A process that cannot serve does not hold its pidfile either. */
function listenOrRelease(
  { label, request }: ResolvedOptions,
  pidFile: HeldPidFile['pidFile'],
  manager: SdNotify | undefined,
): DaemonParts['listeners'] {
  try {
    return openListeners(request.listeners, [], manager);
  } catch (error) {
    const isDown = pidFile?.hasReplaced === true && isDaemonError(error);
    pidFile?.release();
    throw isDown ? downAfter(error, label) : error;
  }
}
