/** `daemonStatus`: the state of a daemon, by its name or pidfile. */
import { daemonEndOf, type DaemonEnd } from './daemon-end.js';
import type { DaemonError } from './errors.js';
import { isFailure, native, unwrap } from './native/index.js';
import { locate, type Located, type Target } from './store/locate.js';
import { publicRecord, type DaemonRecord } from './store/record.js';

/** What every {@link DaemonStatus} has. */
interface StatusBase {
  /** The daemon's name; missing if the target was a pidfile. */
  readonly name?: string;
  /** Its pidfile. */
  readonly pidFile: string;
  /** For a named daemon: what is on record about it, if the caller may read that. */
  readonly record?: DaemonRecord;
}

/** The state of a daemon, from its pidfile. A pid in it counts only when the kernel names that process as the holder. */
export type DaemonStatus = StatusBase &
  (
    | {
        /** Up, or on its way out. */
        readonly state: 'running' | 'stopping';
        /** The daemon's pid, confirmed by the kernel. */
        readonly pid: number;
        /** When the process was started; missing if the kernel does not show it. */
        readonly since?: Date;
        /** The process above it, whose pid is in the pidfile; missing without a supervisor. */
        readonly supervisorPid?: number;
        /** How many times its supervisor has restarted it; missing without a supervisor. */
        readonly restarts?: number;
        /** The last reload, if it failed; missing once a reload has succeeded, and for users who may not read the daemon's state. */
        readonly failedReload?: FailedReload;
      }
    | {
        /** A start is under way. */
        readonly state: 'starting';
        /** The process that is being started, if it is known already. */
        readonly pid?: number;
        /** The process above it; missing without a supervisor. */
        readonly supervisorPid?: number;
        /** How many times its supervisor has restarted it; missing without a supervisor. */
        readonly restarts?: number;
      }
    | {
        /** It has ended, and its supervisor starts it again. */
        readonly state: 'restarting';
        /** The pid that it had. */
        readonly lastPid: number;
        /** The process above it, whose pid is in the pidfile. */
        readonly supervisorPid: number;
        /** How many times its supervisor has restarted it, the next one included. */
        readonly restarts: number;
        /** When it is started next. */
        readonly restartsAt: Date;
      }
    | {
        /** It has ended without having been asked to, or has left processes behind, or a pidfile that no process holds. */
        readonly state: 'dead';
        /** The pid that it had, which may by now be another process's. */
        readonly lastPid?: number;
        /** How it has ended, if known. */
        readonly ended?: DaemonEnd;
        /** The last start, if it failed; of a named daemon. */
        readonly failedStart?: FailedStart;
      }
    | {
        /** Locked, but not by the process whose pid is in it; or, from {@link listDaemons} alone, it cannot be inspected. */
        readonly state: 'unknown';
        /** Why it cannot be inspected. */
        readonly error?: DaemonError;
        /** The process that holds it, if it can be found. */
        readonly heldBy?: number;
      }
    | {
        /** No pidfile, and nothing has crashed. */
        readonly state: 'stopped';
        /** How the last one has ended, if known. */
        readonly ended?: DaemonEnd;
        /** The last start, if it failed; of a named daemon. */
        readonly failedStart?: FailedStart;
      }
  );

/** A start that failed. */
export interface FailedStart {
  /** When. */
  readonly at: Date;
  /** Why, in one sentence. */
  readonly reason: string;
}

/** A reload that failed. */
export interface FailedReload {
  /** When. */
  readonly at: Date;
  /** What the handlers threw, or why a log could not be reopened, in one line. */
  readonly reason: string;
}

/**
 * Resolves with the state of a daemon, which is not disturbed.
 *
 * @example
 * const { state } = await daemonStatus('api'); // 'running', 'stopped', …
 *
 * @throws `ERR_NOT_A_PIDFILE`, `ERR_INVALID_OPTION`, a {@link SystemCallError}
 */
export async function daemonStatus(target: Target): Promise<DaemonStatus> {
  return statusOf(locate(target));
}

/** The status of a daemon that was found already. */
export function statusOf({ pidFile, name, record: onRecord, journal }: Located): DaemonStatus {
  const { since, ended, failedReload, restartsAt, ...found } = unwrap(native().pidFileStatus(pidFile, journal));
  const fields = {
    ...found,
    ...(since === undefined ? {} : { since: new Date(since) }),
    ...(restartsAt === undefined ? {} : { restartsAt: new Date(restartsAt) }),
    ...(failedReload === undefined ? {} : { failedReload: { ...failedReload, at: new Date(failedReload.at ?? 0) } }),
    ...(ended === undefined ? {} : { ended: daemonEndOf(ended) }),
    ...(['stopped', 'dead'].includes(found.state) ? lastStart(journal) : {}),
  };
  const record = onRecord === undefined ? {} : { record: publicRecord(onRecord, found.pid) };
  return { ...(name === undefined ? {} : { name }), pidFile, ...fields, ...record } as DaemonStatus;
}

/** What the journal ends with, if that is a start that failed. */
function lastStart(journal: string | undefined): { readonly failedStart?: FailedStart } {
  const lines = journal === undefined ? [] : native().openJournal(journal).read();
  const last = isFailure(lines) ? undefined : lines.at(-1);
  if (last === undefined) return {};
  const { event, at, reason } = JSON.parse(last) as { event: string; at: string; reason: string };
  return event === 'failed' ? { failedStart: { at: new Date(at), reason } } : {};
}

/** Whether a daemon runs, is starting or stopping, or may do so unseen. */
export function isUp({ state }: DaemonStatus): boolean {
  return state !== 'stopped' && state !== 'dead';
}
