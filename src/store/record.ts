/** The record of a named daemon: what the process that starts it knows about it. */
import type { NativeRecord } from '../../index.js';
import { native, unwrap } from '../native/index.js';
import type { SelfReported } from './self-report.js';

/** The process that has started or stopped a daemon. */
export interface DaemonCaller {
  /** The real user id. */
  readonly uid: number;
  /** The name of that user, if the user database has it. */
  readonly user?: string;
  /** Linux: the user who logged in, whatever became of the ids since. */
  readonly loginUid?: number;
  /** The command line. */
  readonly command: string;
}

/** What is on record about a named daemon. It outlives the daemon; what only the running one can say does not. */
export interface DaemonRecord {
  /** The executable, or its name on `PATH`. */
  readonly program: string;
  /** Its arguments, `argv[0]` first. */
  readonly arguments: readonly string[];
  /** The directory that it was started in, as the caller called it: symbolic links are not resolved. */
  readonly cwd: string;
  /** What starts it: the program itself, another one, or a supervisor or shell that keeps it in the foreground. */
  readonly method: 'daemonize' | 'spawnDaemon' | 'foreground';
  /** Who started it. */
  readonly startedBy: DaemonCaller;
  /** The log, if it has one. */
  readonly logFile?: string;
  /** The option `version`, while it runs. */
  readonly version?: string;
  /** The Unix socket of {@link Daemon.serve}, while it runs. */
  readonly socket?: string;
  /** What it said last to {@link Daemon.ready}, while it runs. */
  readonly status?: string;
  /** What is wrong with its logs, its files or the report of a reload, while it runs. */
  readonly problem?: string;
}

/** The same with what is daemonry's own. */
export interface FullRecord extends Omit<DaemonRecord, keyof SelfReported> {
  readonly name: string;
  readonly pidFile: string;
  readonly version?: string;
  /** Milliseconds that it may take to stop. */
  readonly stopTimeout?: number;
  /** Where it says something about itself. */
  readonly selfReport?: string;
  /** The user that it runs as. */
  readonly uid: number;
  /** For `restart`: the options of `spawnDaemon` that JSON can spell. */
  readonly options?: Readonly<Record<string, unknown>>;
}

/** What the process that starts a daemon knows about it; the core adds where that is, who does it, and the user that it runs as. */
export interface NewRecord extends Pick<FullRecord, 'pidFile' | 'program' | 'arguments' | 'method'> {
  /** Missing for a daemon that has only a pidfile. */
  readonly name: string | undefined;
  /** Where it was called for, unless that is the present working directory as the caller calls it. */
  readonly cwd?: string | undefined;
  readonly logFile: string | undefined;
  readonly version: string | undefined;
  readonly selfReport: string | undefined;
  readonly stopTimeout?: number | undefined;
  readonly options?: FullRecord['options'];
}

/** A record in the form in which the core takes it. Without a path it is known only as long as the daemon runs. */
export function newRecord(path: string | undefined, { stopTimeout, ...record }: NewRecord): NativeRecord {
  const whole = stopTimeout === undefined ? undefined : Math.ceil(stopTimeout);
  const json = JSON.stringify({ ...record, stopTimeout: whole });
  return { json, ...(path === undefined ? {} : { path }) };
}

/** What others may see of a record. What the daemon itself says counts only as long as it runs, as `pid`. */
export function publicRecord(record: FullRecord, pid: number | undefined): DaemonRecord {
  const { program, arguments: args, cwd, method, startedBy, logFile, version, selfReport, uid } = record;
  const lasting = { program, arguments: args, cwd, method, startedBy, ...(logFile === undefined ? {} : { logFile }) };
  if (pid === undefined) return lasting;
  const said = selfReport === undefined ? '{}' : native().readSelfReport(selfReport, uid, pid);
  return { ...lasting, ...(JSON.parse(said) as SelfReported), ...(version === undefined ? {} : { version }) };
}

/** Whether a daemon of another version than the wanted one runs. */
export function isOfAnotherVersion({
  pidFile,
  version,
}: {
  readonly pidFile: string | undefined;
  readonly version: string | undefined;
}): boolean {
  if (pidFile === undefined || version === undefined) return false;
  return unwrap(native().runsOtherVersion(pidFile, version));
}
