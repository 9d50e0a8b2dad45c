/** The daemon takes over the start that its launcher has begun. */
import type { DaemonStart, NativePidFile } from '../../index.js';
import { invalidOption } from '../errors.js';
import { isSameFile } from '../files/same-file.js';
import { checkDirectory } from '../files/working-directory.js';
import type { Handover } from '../launch/handover.js';
import { markDaemon } from '../options/env.js';
import type { ResolvedOptions } from '../options/resolve.js';
import type { DaemonizeOptions } from '../options/types.js';
import { daemonPaths, keepSystemPaths, makeDirectories } from '../store/paths.js';
import { SelfReport } from '../store/self-report.js';
import { claimPidFile, type HeldPidFile } from './claim-pid-file.js';
import { DaemonHandle, handleOptions } from './handle.js';
import { openListeners } from './sockets.js';

export function adopt(start: DaemonStart, options: DaemonizeOptions, resolved: ResolvedOptions): DaemonHandle {
  const handover = JSON.parse(start.note) as Handover;
  markDaemon();
  if (handover.name !== undefined && handover.isSystems === true) keepSystemPaths(handover.name);
  const daemon = new DaemonHandle({
    mode: 'daemon',
    supervisedPidFile: handover.supervisedPidFile,
    name: handover.name ?? options.name,
    start,
    manager: undefined,
    ...handleOptions(resolved),
    ...takeOver(start, handover, options, resolved),
  });
  try {
    // Else it was changed to before exec.
    if (handover.cwd !== undefined) process.chdir(handover.cwd);
  } catch (error) {
    start.failedChdir((error as NodeJS.ErrnoException).errno ?? 0, handover.cwd ?? '');
    process.exit(1);
  }
  daemon.started();
  return daemon;
}

/** What the daemon was handed, and what it asks for besides. If it cannot have that, its launcher gets the reason. */
function takeOver(start: DaemonStart, handover: Handover, options: DaemonizeOptions, resolved: ResolvedOptions) {
  try {
    const held = holdPidFile(start.pidFile() ?? undefined, handover, options, resolved);
    return { ...held, listeners: openListeners(resolved.request.listeners, handover.sockets ?? []) };
  } catch (error) {
    start.failed((error as Error).message);
    throw error;
  }
}

/** The pidfile that the daemon was handed; of a `spawnDaemon` that named none, the one that it asks for itself. */
function holdPidFile(
  pidFile: NativePidFile | undefined,
  handover: Handover,
  options: DaemonizeOptions,
  resolved: ResolvedOptions,
): HeldPidFile {
  const { logs } = handover;
  const selfReport = handover.selfReport === undefined ? undefined : new SelfReport(handover.selfReport);
  const held = { pidFile, marksPidFile: false, selfReport, logs };
  const path = pidFile?.path ?? handover.supervisedPidFile;
  if (handover.method === 'daemonize') return held;
  if (path === undefined) {
    checkDirectory(resolved.cwd);
    if (resolved.name !== undefined) makeDirectories(resolved.name);
    return { ...claimPidFile(resolved, resolved.pidFile, 'daemonize', resolved.recordFile), logs };
  }
  const own = options.name ?? options.pidFile;
  // A program that has given up root's rights finds root's places only now.
  const ownFile =
    options.pidFile === undefined && options.name !== undefined ? daemonPaths(options.name).pidFile : resolved.pidFile;
  // Two pidfiles for one daemon would let a second one start.
  if (own !== undefined && (ownFile === undefined || !isSameFile(ownFile, path))) {
    const how = options.name === undefined ? 'start it with its own, or give it a name' : 'start it by the same name';
    throw invalidOption(
      `this program calls itself ${own} (pidfile ${ownFile}), but was started with the pidfile ${path}: ${how}`,
    );
  }
  // It is shown if the caller named none.
  if (resolved.version !== undefined) selfReport?.change({ version: resolved.version });
  return held;
}
