/** Every error that daemonry throws: its codes, its fields, its one sentence. */
import type { constants } from 'node:os';
import { getSystemErrorMap, inspect } from 'node:util';
import { printableLine } from './printable.js';

/** The name of a failed system call's errno, such as `'EACCES'`. */
export type Errno = keyof typeof constants.errno;

/** The step of a start, a look-up or a stop at which a system call failed. */
export type DaemonStep = (typeof steps)[number];

/** What every {@link DaemonError} has. Its `message` is one sentence that says what to do about it. */
interface CommonError extends Error {
  /** The same for every kind; `code` distinguishes them. */
  readonly name: 'DaemonError';
  /** A daemon was stopped to make room for the one that then did not start: none runs now. Missing otherwise. */
  readonly isDown?: boolean;
}

/** A system call failed. `code` is its errno's name, as in Node's own errors. */
export interface SystemCallError extends CommonError {
  readonly code: Errno;
  /** What was being done. */
  readonly step: DaemonStep;
  /** The errno's number, negative. */
  readonly errno: number;
  /** The system call. */
  readonly syscall: string;
  /** The file that it was about. */
  readonly path?: string;
  /** The address that could not be bound, where one was given. */
  readonly address?: string;
  /** The port that could not be bound. */
  readonly port?: number;
  /** The resource whose limit could not be set. */
  readonly resource?: string;
}

/** The pidfile is held by a daemon; the kernel confirms its pid. */
export interface AlreadyRunningError extends CommonError {
  readonly code: 'ERR_ALREADY_RUNNING';
  /** The daemon that runs. */
  readonly pid: number;
  /** The pidfile. */
  readonly path: string;
}

/** The daemon of that name or pidfile runs another program than the one to start, or in another directory. Nothing was done. */
export interface OtherProgramError extends CommonError {
  readonly code: 'ERR_OTHER_PROGRAM';
  /** The daemon that runs. */
  readonly pid: number;
  /** The pidfile. */
  readonly path: string;
  /** The command of the daemon that runs, and its directory, for a person. */
  readonly runningCommand: string;
  /** The same of the one to start. */
  readonly command: string;
}

/** No daemon holds the pidfile. */
export interface NotRunningError extends CommonError {
  readonly code: 'ERR_NOT_RUNNING';
  /** The pidfile. */
  readonly path: string;
}

/** The daemon was not up when it ended, when the time was over, or when the launcher was interrupted. It was rolled back. */
export interface StartError extends CommonError {
  /** `ERR_START_CANCELLED`: a stop was requested while the start waited for the daemon that it was to replace, or started the next. */
  readonly code: 'ERR_START_FAILED' | 'ERR_START_TIMEOUT' | 'ERR_START_INTERRUPTED' | 'ERR_START_CANCELLED';
  /** The pid that the daemon had, if it came that far. */
  readonly pid?: number;
  /**
   * The pidfile, if `ERR_START_TIMEOUT` came from waiting for another process's start, which was not interrupted; the socket, if a
   * running daemon could not be reached on it.
   */
  readonly path?: string;
  /** `ERR_START_TIMEOUT` of a host name in `listen` that was not resolved in time: that name. Nothing was started. */
  readonly address?: string;
  /** The port that goes with `address`. */
  readonly port?: number;
  /** `ERR_START_FAILED`: the code that the daemon exited with. */
  readonly exitCode?: number;
  /** The signal that ended the daemon, or that interrupted the launcher; none when an `AbortSignal` did. */
  readonly signal?: NodeJS.Signals;
  /** The end of what the daemon wrote to its stderr during this start, at most 8 KiB. */
  readonly stderr: string;
  /** The number of other processes that the daemon had started and that were stopped with it, in any session; missing if none. */
  readonly othersEnded?: number;
  /** The number of those that still run because they are another user's; missing if none. */
  readonly othersLeft?: number;
}

/** The user database does not have the user or the group. Nothing was forked. */
export interface UnknownUserError extends CommonError {
  readonly code: 'ERR_UNKNOWN_USER';
}

/** The daemon did not end in time. */
export interface StopTimeoutError extends CommonError {
  readonly code: 'ERR_STOP_TIMEOUT';
  /** The daemon, which runs still. */
  readonly pid: number;
}

/** The daemon runs on, but has not reloaded; or it exited first. */
export interface ReloadError extends CommonError {
  /** `ERR_RELOAD_TIMEOUT`: not in time; it may do so later. */
  readonly code: 'ERR_RELOAD_FAILED' | 'ERR_RELOAD_TIMEOUT';
  /** The daemon. */
  readonly pid: number;
}

/** The pidfile is locked, but not by the process whose pid is in it. Nothing was signalled. */
export interface PidFileHeldError extends CommonError {
  readonly code: 'ERR_PIDFILE_HELD';
  /** The process that holds the lock, where it can be found. */
  readonly pid?: number;
  /** The pidfile. */
  readonly path: string;
}

/** The file given as a pidfile is something else. It was left untouched. */
export interface NotAPidFileError extends CommonError {
  readonly code: 'ERR_NOT_A_PIDFILE';
  /** The file. */
  readonly path: string;
}

/** The signal could have ended the daemon, so it was not sent. */
export interface SignalRefusedError extends CommonError {
  readonly code: 'ERR_SIGNAL_REFUSED';
  /** The daemon. */
  readonly pid: number;
  /** What was to be sent. */
  readonly signal: NodeJS.Signals;
}

/** The call itself is wrong, or cannot be made here. Nothing was done. */
export interface UsageError extends CommonError {
  readonly code: 'ERR_INVALID_OPTION' | 'ERR_NOT_RESTARTABLE' | 'ERR_WORKER_THREAD' | 'ERR_UNSUPPORTED_PLATFORM';
}

/**
 * An error that daemonry throws, distinguished by its `code`. `instanceof DaemonError` recognises it, also if another copy of the
 * package has thrown it.
 *
 * @example
 * try {
 *   await spawnDaemon('redis-server', { name: 'cache' });
 * } catch (error) {
 *   if (!(error instanceof DaemonError) || error.code !== 'ERR_ALREADY_RUNNING') throw error;
 *   console.log(`it is running already, with pid ${error.pid}`);
 * }
 */
export type DaemonError =
  | SystemCallError
  | AlreadyRunningError
  | OtherProgramError
  | NotRunningError
  | StartError
  | StopTimeoutError
  | ReloadError
  | PidFileHeldError
  | NotAPidFileError
  | SignalRefusedError
  | UnknownUserError
  | UsageError;

/** The values of `code` of a {@link DaemonError}. */
export type DaemonErrorCode = DaemonError['code'];

/** The member of the union that has this code. */
type ErrorOf<Code, Member = DaemonError> = Member extends { code: infer Codes }
  ? Code extends Codes
    ? Member
    : never
  : never;

/** The fields beside the message, each only where it applies. */
type Fields<Code extends DaemonErrorCode> = Omit<ErrorOf<Code>, keyof Error | 'code'>;

/** By this property every copy of the package knows the errors of the others. */
const brand = Symbol.for('daemonry.error');

/** The class behind the kinds. What each has besides is in their interfaces. */
class Implementation extends Error {
  declare readonly code: string;

  constructor(code: string, message: string, fields: object, cause: unknown) {
    // It names what others have chosen: paths, and what a daemon has thrown.
    super(printableLine(message), cause === undefined ? undefined : { cause });
    Object.assign(this, { code }, fields);
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    return isDaemonError(value);
  }

  static {
    // What Node prints above a stack.
    Object.defineProperty(this, 'name', { value: 'DaemonError' });
    Object.defineProperty(this.prototype, 'name', { value: 'DaemonError', configurable: true, writable: true });
    Object.defineProperty(this.prototype, brand, { value: true });
  }
}

/** The class of every {@link DaemonError}. It is for `instanceof`: only daemonry makes errors of it. */
export const DaemonError = Implementation as unknown as {
  /** What all of them inherit. */
  readonly prototype: DaemonError;
  /** Whether daemonry has thrown `value`. */
  [Symbol.hasInstance](value: unknown): value is DaemonError;
};

/** Whether daemonry has thrown `error`; the same as `error instanceof DaemonError`. */
export function isDaemonError(error: unknown): error is DaemonError {
  return error instanceof Error && brand in error;
}

/** Makes an error of daemonry. */
export function daemonError<Code extends DaemonErrorCode>(
  code: Code,
  message: string,
  fields: Fields<Code>,
  cause?: unknown,
): DaemonError {
  return new Implementation(code, message, fields, cause) as Error as DaemonError;
}

/** The call or an option is wrong. */
export function invalidOption(message: string): DaemonError {
  return daemonError('ERR_INVALID_OPTION', message, {});
}

/** The same error with another message and more fields. */
export function amended(error: DaemonError, message: string, fields: { readonly isDown?: true } = {}): DaemonError {
  return Object.assign(error, { message: printableLine(message), ...fields });
}

/** What a message adds about a daemon that was stopped for a start that failed. */
export function downNow(label: string): string {
  return `the daemon that ran was stopped for this start, so ${label} is down now`;
}

/** An error after which the daemon that ran before is down. */
export function downAfter(error: DaemonError, label: string, details = ''): DaemonError {
  return amended(error, `${error.message}; ${downNow(label)}${details}`, { isDown: true });
}

/** The error of a system call that Node made, in the words of those that the core makes. */
export function systemCallError(step: DaemonStep, doing: string, path: string, cause: unknown): DaemonError {
  const { code, errno, syscall } = cause as NodeJS.ErrnoException;
  if (code === undefined || errno === undefined) throw cause;
  const reason = getSystemErrorMap().get(errno)?.[1] ?? code;
  const message = `cannot ${doing} ${path}: ${reason.charAt(0).toUpperCase()}${reason.slice(1)} (${code})`;
  return daemonError(code as Errno, message, { step, errno, syscall: syscall ?? step, path }, cause);
}

/** The steps at which a system call can fail, spelled as the Rust core spells them; a test compares the two lists. */
export const steps = [
  'look-up-user',
  'open-lock',
  'take-lock',
  'read-lock',
  'write-lock',
  'open-directory',
  'open-pidfile',
  'read-pidfile',
  'clear-pidfile',
  'write-record',
  'remove-record',
  'write-journal',
  'read-journal',
  'open-stdin',
  'open-stdout',
  'open-stderr',
  'open-pipe',
  'move-descriptor',
  'listen',
  'catch-signals',
  'fork',
  'setsid',
  'fork-again',
  'dup',
  'close-descriptors',
  'write-pid',
  'set-oom-score',
  'set-process-group',
  'set-priority',
  'set-limit',
  'reset-priority',
  'set-groups',
  'set-gid',
  'set-uid',
  'verify-ids',
  'join-keyring',
  'no-new-privileges',
  'end-with-supervisor',
  'read-script',
  'exec',
  'adopt',
  'chdir',
  'wait',
  'mark-phase',
  'remove-pidfile',
  'reopen-log',
  'open-process',
  'signal',
  'notify',
  'make-directory',
] as const;

/** A value as a message shows it. */
export function show(value: unknown): string {
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'bigint' || typeof value === 'symbol') return String(value);
  if (typeof value === 'string') return JSON.stringify(value);
  try {
    return value instanceof URL ? value.href : inspect(value, { depth: 0, breakLength: Infinity });
  } catch {
    // Its own way to be shown has failed.
    return 'an object';
  }
}
