/** The pidfile that a process locks for itself, because no launcher has done it. */
import { failureMessage } from '../launch/failure-message.js';
import { withInherited } from '../launch/inherited-sockets.js';
import { ownArguments } from '../launch/restart-command.js';
import { reportUnrecorded } from '../launch/stderr.js';
import { failureError, isFailure, native } from '../native/index.js';
import { defaults } from '../options/defaults.js';
import type { ResolvedOptions } from '../options/resolve.js';
import { isOfAnotherVersion, newRecord, type NewRecord } from '../store/record.js';
import { SelfReport } from '../store/self-report.js';
import type { DaemonParts } from './handle.js';

export type HeldPidFile = Pick<DaemonParts, 'pidFile' | 'marksPidFile' | 'selfReport' | 'logs'>;

/** Of a process that has locked its pidfile itself. */
export type ClaimedPidFile = Omit<HeldPidFile, 'logs'>;

export const nothingClaimed: ClaimedPidFile = { pidFile: undefined, marksPidFile: false, selfReport: undefined };

/** Locks the pidfile for this process itself, and keeps the record of a named daemon; of another one only which program it is. */
export function claimPidFile(
  options: ResolvedOptions,
  path: string | undefined,
  method: NewRecord['method'],
  recordFile: string | undefined,
): ClaimedPidFile {
  if (path === undefined) return nothingClaimed;
  const { name, version, logPath, selfReportFile: selfReport, request } = options;
  const { ifRunning, startTimeout, stopTimeout } = request;
  // A process that is the daemon itself cannot reuse another.
  const replaces = ifRunning === 'replace' || (ifRunning === 'reuse' && isOfAnotherVersion(options));
  const record = newRecord(name === undefined ? undefined : recordFile, {
    name,
    pidFile: path,
    program: process.execPath,
    arguments: [process.argv0, ...process.execArgv, ...ownArguments()],
    method,
    logFile: method === 'foreground' ? undefined : logPath,
    version,
    selfReport,
    stopTimeout,
  });
  const pidFile = native().acquirePidFile({
    pidFile: path,
    mode: defaults.pidFileMode,
    listeners: withInherited(request.listeners),
    replaces,
    startTimeout,
    record,
    name: name ?? null,
    version: version ?? null,
  });
  if (isFailure(pidFile)) throw failureError(pidFile, failureMessage(pidFile, options, false));
  reportUnrecorded(pidFile.unwritten);
  return {
    pidFile,
    marksPidFile: true,
    selfReport: record.path && selfReport ? new SelfReport(selfReport) : undefined,
  };
}
