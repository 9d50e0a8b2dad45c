/** Names, places, records and targets of daemons: typed calls into the core, which has the one implementation of them. */
import type { Failure, NativeIds, NativeRecord } from '../index.js';
import { absolute } from './directory.js';
import { show } from './check.js';
import { invalidOption } from './errors.js';
import { failureError, native, unwrap } from './native.js';
import { sayUnwritten } from './say.js';

/** The files of a named daemon. */
export interface DaemonPaths {
  /** Its pidfile. */
  readonly pidFile: string;
  /** Its log. */
  readonly logFile: string;
  /** The Unix socket that it may listen on. */
  readonly socket: string;
}

/** The same with what is daemonry's own. */
interface Places extends DaemonPaths {
  /** Its record, if the caller can keep one there. */
  readonly record?: string;
  /** What it says about itself. */
  readonly selfReport: string;
}

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
export interface FullRecord extends Omit<DaemonRecord, keyof Said> {
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

/** A daemon: the name that it was started with, or its pidfile. */
export type Target = string | { readonly pidFile: string };

/** Where a target was found. */
export interface Located {
  readonly name?: string;
  /** Of a name: whose daemon it is. */
  readonly owner?: 'user' | 'system';
  readonly pidFile: string;
  /** Of a name: what is on record in the place where it was found. */
  readonly record?: FullRecord;
  /** Of a name: where its journal is, or would be. */
  readonly journal?: string;
  /** Every pidfile that it could have been. */
  readonly searched: readonly string[];
}

/**
 * The conventional places of the daemon `name` when the caller starts it. Nothing is looked up or created.
 *
 * | | pidfile, socket | log |
 * | --- | --- | --- |
 * | root | `/run/NAME/` | `/var/log/NAME/` |
 * | users | `$XDG_STATE_HOME/daemonry/NAME/`, by default in `~/.local/state` | the same |
 * | root, macOS | `/var/run/NAME/` | `/var/log/NAME/` |
 * | users, macOS | `~/Library/Application Support/daemonry/NAME/` | `~/Library/Logs/daemonry/NAME/` |
 *
 * @param name `[A-Za-z0-9_.@-]+`, not `daemonry`
 * @throws `ERR_INVALID_OPTION` for another name
 */
export function paths(name: string): DaemonPaths {
  const { pidFile, logFile, socket } = ownPlaces(name);
  return { pidFile, logFile, socket };
}

/** The same with what is daemonry's own. Throws for what cannot be a name. */
export function ownPlaces(name: unknown): Places {
  const { own, ...places } = allPlaces(name);
  return places[own];
}

/** Where a daemon of that name can be, and which of these places are the caller's own. Throws for what cannot be a name. */
export function allPlaces(name: unknown): { user: Places; system: Places; own: 'user' | 'system' } {
  if (typeof name !== 'string') {
    throw invalidOption(`a daemon's name must be a string of letters, digits and _ . @ -, not ${show(name)}`);
  }
  return JSON.parse(unwrap(native().places(name))) as ReturnType<typeof allPlaces>;
}

/** Writes down in the journal of a named daemon that its restart has failed, unless the start itself has done so. */
export function noteFailedStart(name: string, reason: string): void {
  const { journal } = locate(name);
  if (journal !== undefined) sayUnwritten(native().noteFailedStart(journal, reason)?.message);
}

/** Throws for what cannot be a name. */
export function checkName(name: unknown): asserts name is string {
  allPlaces(name);
}

/** Keeps {@link paths} in the daemon what they were when root started it, whichever user it is now. */
export function staysInSystemPlaces(name: string): void {
  throwFailure(native().stayInSystemPlaces(name));
}

/** Makes the directories of a named daemon, for its user. */
export function makePlaces(name: string, owner: NativeIds | undefined): void {
  throwFailure(native().makePlaces(name, owner));
}

/** Makes the directory of one of the files for this process, which must be able to write there. */
export function claimPlace(name: string, file: 'pidFile' | 'log' | 'record'): void {
  throwFailure(native().claimPlace(name, file));
}

/** The daemon that a target means. */
export function locate(target: Target): Located {
  if (typeof target === 'string') return JSON.parse(unwrap(native().locate(target))) as Located;
  const pidFile: unknown = (target as { pidFile?: unknown } | null | undefined)?.pidFile;
  if (typeof pidFile !== 'string' || pidFile === '') {
    throw invalidOption("a target must be a daemon's name or { pidFile: path }");
  }
  const path = absolute(pidFile);
  return { pidFile: path, searched: [path] };
}

/** The named daemons of this user and of the system, in the order of their names. */
export function locateAll(): Located[] {
  return unwrap(native().listDaemons()).map((found) => JSON.parse(found) as Located);
}

/** Those that have a journal, also of starts that have all failed. */
export function locateJournals(): Located[] {
  return unwrap(native().listJournals()).map((found) => JSON.parse(found) as Located);
}

/** What the process that starts a daemon knows about it; the core adds where that is, and who does it. */
export interface NewRecord extends Pick<FullRecord, 'pidFile' | 'program' | 'arguments' | 'method'> {
  /** Missing for a daemon that has only a pidfile. */
  readonly name: string | undefined;
  /** Where it was called for, unless that is the present working directory as the caller calls it. */
  readonly cwd?: string | undefined;
  readonly logFile: string | undefined;
  readonly version: string | undefined;
  readonly selfReport: string | undefined;
  readonly stopTimeout?: number | undefined;
  /** If it is not the caller's. */
  readonly uid?: number | undefined;
  readonly options?: FullRecord['options'];
}

/** A record in the form in which the core takes it. Without a path it is known only as long as the daemon runs. */
export function newRecord(path: string | undefined, { stopTimeout, ...record }: NewRecord): NativeRecord {
  const whole = stopTimeout === undefined ? undefined : Math.ceil(stopTimeout);
  const json = JSON.stringify({ uid: process.geteuid!(), ...record, stopTimeout: whole });
  return { json, ...(path === undefined ? {} : { path }) };
}

/** What others may see of a record. What the daemon itself says counts only as long as it runs, as `pid`. */
export function publicRecord(record: FullRecord, pid: number | undefined): DaemonRecord {
  const { program, arguments: args, cwd, method, startedBy, logFile, version, selfReport, uid } = record;
  const lasting = { program, arguments: args, cwd, method, startedBy, ...(logFile === undefined ? {} : { logFile }) };
  if (pid === undefined) return lasting;
  const said = selfReport === undefined ? '{}' : native().readSelfReport(selfReport, uid, pid);
  return { ...lasting, ...(JSON.parse(said) as Said), ...(version === undefined ? {} : { version }) };
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

/** What a daemon says about itself. */
interface Said {
  version?: string;
  status?: string;
  socket?: string;
  problem?: string;
}

/** What this process says about itself, in a file of its own that is only shown. */
export class SelfReport {
  readonly #path: string;
  #said: { readonly [Key in keyof Said]?: string | undefined } = {};

  constructor(path: string) {
    this.#path = path;
  }

  /** What to say from now on; `undefined` takes it back. Throws a {@link SystemCallError}. */
  change(changes: { readonly [Key in keyof Said]?: string | undefined }): void {
    this.#said = { ...this.#said, ...changes };
    throwFailure(native().writeSelfReport(this.#path, JSON.stringify(this.#said)));
  }
}

function throwFailure(failure: Failure | null): void {
  if (failure !== null) throw failureError(failure);
}
