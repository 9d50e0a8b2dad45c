/** Whether the daemon can be found: checked every few seconds, and what was removed of its files is made again. */
import type { NativePidFile } from '../../index.js';
import { isDaemonError } from '../errors.js';
import { unwrap } from '../native/index.js';
import { printableLine } from '../printable.js';
import { claimDirectory } from '../store/paths.js';

/** Between two checks, in ms. */
const pause = 3000;

/** A file that the daemon must have as long as it runs. */
export interface KeptFile {
  /** What it is, for a sentence. */
  readonly what: string;
  /** Whose directory it lies in, if the daemon has a name; missing if that directory is the user's to make. */
  readonly place?: 'pidFile' | 'log' | 'record';
  /** Makes it again if it is missing, and returns whether it was. Throws if it cannot be made. */
  keep(): boolean;
}

export interface UpkeepParts {
  /** Whose directories are made again, too. */
  readonly name: string | undefined;
  readonly pidFile: NativePidFile | undefined;
  readonly logs: readonly KeptFile[];
  /** Whether the daemon takes its files away itself by now. */
  readonly isStopping: () => boolean;
  /** Something was made again. */
  readonly onMadeAgain: () => void;
  /** What is lost now; `undefined` when nothing is. */
  readonly onProblem: (problem: string | undefined) => void;
  /** Another process is the daemon now. */
  readonly onSuperseded: () => void;
}

export class Upkeep {
  readonly #parts: UpkeepParts;
  readonly #files: readonly KeptFile[];
  /** By their paths. */
  readonly #sockets = new Map<string, KeptFile>();
  /** What was said about each file that is not in its place. */
  readonly #said = new Map<string, string>();
  #isBegun = false;
  #isWatching = false;

  constructor(parts: UpkeepParts) {
    this.#parts = parts;
    const { name, pidFile, logs } = parts;
    const own: KeptFile[] = [];
    // Before the record and the sockets: another process may be the daemon by now, and they are that one's.
    if (pidFile !== undefined) {
      const { path } = pidFile;
      own.push({ what: `the pidfile ${path}`, place: 'pidFile', keep: () => this.#keepPidFile(pidFile) });
      if (name !== undefined) {
        own.push({ what: `the record of ${name}`, place: 'record', keep: () => unwrap(pidFile.keepRecord()) });
      }
    }
    // What is said about the others goes to the log.
    this.#files = [...logs, ...own];
  }

  /** The daemon is up: from now on it must be found. */
  begin(): void {
    this.#isBegun = true;
    this.#watch();
  }

  /** Instead of what was added before for this path. */
  add(path: string, socket: KeptFile): void {
    this.#sockets.set(path, socket);
    this.#watch();
  }

  delete(path: string): void {
    const socket = this.#sockets.get(path);
    if (socket !== undefined) this.#said.delete(socket.what);
    this.#sockets.delete(path);
  }

  /** Not what keeps the process alive. */
  #watch(): void {
    const isWorthIt = this.#files.length + this.#sockets.size > 0;
    if (!this.#isBegun || !isWorthIt || this.#isWatching) return;
    this.#isWatching = true;
    setInterval(() => this.#check(), pause).unref();
  }

  #check(): void {
    const { isStopping, onMadeAgain, onProblem } = this.#parts;
    const made = [...this.#files, ...this.#sockets.values()].filter((file) => !isStopping() && this.#isMadeAgain(file));
    if (isStopping()) return;
    if (made.length > 0) onMadeAgain();
    const lost = [...this.#said].map(([what, message]) => `${what} is lost: ${message}`);
    onProblem(lost.length === 0 ? undefined : lost.join('; '));
  }

  /** The log gets each reason once. */
  #isMadeAgain(file: KeptFile): boolean {
    const { what } = file;
    try {
      const isMade = this.#inDirectory(file);
      this.#said.delete(what);
      if (isMade) process.stderr.write(`${printableLine(what)} was missing and has been made again\n`);
      return isMade;
    } catch (error) {
      const { message } = error as Error;
      if (this.#said.get(what) !== message) process.stderr.write(`${printableLine(what)} is lost: ${message}\n`);
      this.#said.set(what, message);
      return false;
    }
  }

  /** Makes the directory of a named daemon first, if that is missing, too. */
  #inDirectory(file: KeptFile): boolean {
    const { place } = file;
    const { name } = this.#parts;
    try {
      return file.keep();
    } catch (error) {
      if (name === undefined || place === undefined || !isDaemonError(error) || error.code !== 'ENOENT') throw error;
    }
    claimDirectory(name, place);
    return file.keep();
  }

  #keepPidFile(pidFile: NativePidFile): boolean {
    const { state, by } = unwrap(pidFile.keep());
    if (state === 'replaced') throw new Error('another file is in its place');
    if (state !== 'superseded') return state === 'made-again';
    process.stderr.write(`process ${by} is the daemon of ${printableLine(pidFile.path)} now: this one stops\n`);
    this.#parts.onSuperseded();
    return false;
  }
}
