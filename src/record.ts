/** The record of a named daemon: how it was started, and what it says about itself. */
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  type Stats,
} from 'node:fs';
import type { NativeRecord } from '../index.js';
import * as check from './check.js';
import { systemCallError } from './errors.js';
import { failureError, native, unwrap } from './native.js';

/** What is on record about a named daemon. It outlives the daemon; what only the running one can say does not. */
export interface DaemonRecord {
  /** The executable, or its name on `PATH`. */
  readonly program: string;
  /** Its arguments, `argv[0]` first. */
  readonly arguments: readonly string[];
  /** The directory that it was started in. */
  readonly cwd: string;
  /** What started it: a supervisor, where it stays in the foreground. */
  readonly startedBy: 'daemonize' | 'spawnDaemon' | 'supervisor';
  /** The log, where it has one. */
  readonly logFile?: string;
  /** The option `version`, while it runs. */
  readonly version?: string;
  /** The Unix socket of {@link Daemon.serve}, while it runs. */
  readonly socket?: string;
  /** What it said last to {@link Daemon.ready}, while it runs. */
  readonly status?: string;
  /** What went wrong with its log since it was last opened, while it runs. */
  readonly problem?: string;
}

/** The same with what is daemonry's own. */
export interface FullRecord extends DaemonRecord {
  readonly name: string;
  readonly pidFile: string;
  /** Where a daemon that has given up root's rights says something about itself, and who that is. */
  readonly words?: { readonly file: string; readonly user: number };
  /** For `restart`: the options of `spawnDaemon` as far as JSON has them. */
  readonly options?: Readonly<Record<string, unknown>>;
}

/** A record of a start that is made from here; what is undefined is left out. */
export function fullRecord(
  known: Omit<FullRecord, 'cwd' | 'version' | 'logFile'> & {
    readonly version: string | undefined;
    readonly logFile: string | undefined;
  },
): FullRecord {
  const { version, logFile, ...others } = known;
  return {
    ...others,
    cwd: process.cwd(),
    ...(logFile === undefined ? {} : { logFile }),
    ...(version === undefined ? {} : { version }),
  };
}

/** In the form in which the core writes it. */
export function nativeRecord(path: string, { version, ...record }: FullRecord): NativeRecord {
  const members = JSON.stringify(record).slice(1, -1);
  return { path, members, ...(version === undefined ? {} : { version }) };
}

/** What to say from now on; `undefined` takes it back. */
export type RecordChanges = { readonly [Key in 'version' | 'status' | 'socket' | 'problem']?: string | undefined };

/** What this process says about itself. */
export interface OwnRecord {
  /** Throws a {@link SystemCallError}. */
  change(changes: RecordChanges): void;
}

/** In the record that its launcher has written. */
export function recordOfOwn(path: string): OwnRecord {
  return {
    change(changes) {
      const found = readRecord(path);
      // Deleted, or of a start that came later than this process thinks: then there is nothing of ours to change.
      if (found?.pid !== process.pid) return;
      const { pid: _, ...record } = found;
      const failure = native().writeRecord(nativeRecord(path, { ...record, ...changes } as FullRecord));
      if (failure !== null) throw failureError(failure);
    },
  };
}

/**
 * In a file of its own: a daemon that has given up root's rights cannot, and must not, write what `restart` executes.
 */
export function wordsOfOwn(path: string): OwnRecord {
  let words: Words = { pid: process.pid };
  return {
    change({ version: _version, ...changes }) {
      words = { ...words, ...changes };
      try {
        const fresh = `${path}.new`;
        rmSync(fresh, { force: true });
        writeFileSync(fresh, JSON.stringify(words), { mode: 0o600, flag: 'wx' });
        renameSync(fresh, path);
      } catch (error) {
        throw systemCallError('write-record', 'write', path, error);
      }
    },
  };
}

/** What a daemon says in a file of its own. */
type Words = { readonly pid: number } & { readonly [Key in Said]?: string | undefined };

type Said = 'status' | 'socket' | 'problem';

/** More than any status text is no status text. */
const mostWords = 64 * 1024;

/**
 * What the daemon of `user` says about itself. Only to be shown: somebody who may not be trusted has written it, so it is
 * neither a path to use nor a terminal's commands.
 */
function readWords(path: string, user: number, pid: number): { readonly [Key in Said]?: string } {
  const words = readJson(path, (stat) => stat.isFile() && stat.uid === user && stat.size <= mostWords);
  if (typeof words !== 'object' || words === null || (words as Words).pid !== pid) return {};
  const said = (['status', 'socket', 'problem'] as const).flatMap((key) => {
    const text: unknown = (words as Words)[key];
    // eslint-disable-next-line no-control-regex
    return typeof text === 'string' ? [[key, text.replaceAll(/[\u0000-\u001F\u007F-\u009F]/g, '?')]] : [];
  });
  return Object.fromEntries(said) as { readonly [Key in Said]?: string };
}

/**
 * What is in a record and the pid that it is about; `undefined` where there is none that can be read and believed: only what
 * the caller or root has written, and nobody else can write, is.
 */
export function readRecord(path: string): (FullRecord & { readonly pid: number }) | undefined {
  const record = readJson(path, ({ uid, mode }) => (uid === process.geteuid?.() || uid === 0) && (mode & 0o022) === 0);
  if (!isRecord(record)) return undefined;
  const { version, words, ...others } = record;
  const said = !words ? {} : readWords(words.file, words.user, record.pid);
  return { ...others, ...said, ...(words && { words }), ...(typeof version === 'string' ? { version } : {}) };
}

/** What is in a JSON file that `mayRead` believes; `undefined` where there is none, or none that can be read. */
function readJson(path: string, mayRead: (stat: Stats) => boolean): unknown {
  let file: number | undefined;
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    return mayRead(fstatSync(file)) ? JSON.parse(readFileSync(file, 'utf8')) : undefined;
  } catch {
    return undefined;
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

/** Whether a daemon of another version than the wanted one holds the pidfile. */
export function isOfAnotherVersion({
  pidFile,
  recordFile,
  version,
}: {
  readonly pidFile: string | undefined;
  readonly recordFile: string | undefined;
  readonly version: string | undefined;
}): boolean {
  if (pidFile === undefined || recordFile === undefined || version === undefined) return false;
  const { pid } = unwrap(native().pidFileStatus(pidFile));
  if (pid === undefined) return false;
  const record = readRecord(recordFile);
  return record?.pid !== pid || record.version !== version;
}

function isRecord(value: unknown): value is FullRecord & { pid: number } {
  if (!check.isRecord(value)) return false;
  const { pid, program, arguments: args, cwd, startedBy, name, pidFile, words, options } = value;
  const { version, logFile, socket, status, problem } = value;
  const isText = (member: unknown) => typeof member === 'string';
  return (
    Number.isInteger(pid) &&
    Array.isArray(args) &&
    [program, cwd, name, pidFile, ...args].every(isText) &&
    [version ?? undefined, logFile, socket, status, problem].every(
      (member) => member === undefined || isText(member),
    ) &&
    ['daemonize', 'spawnDaemon', 'supervisor'].includes(startedBy as string) &&
    (options === undefined || check.isRecord(options)) &&
    (words === undefined || (check.isRecord(words) && isText(words['file']) && Number.isInteger(words['user'])))
  );
}
