/** Whether the daemon can be found: checked every few seconds, and what was removed of its files is made again. */
import type { NativePidFile } from '../index.js';
import { isDaemonError } from './errors.js';
import { unwrap } from './native.js';
import { printableLine } from './printable.js';
import type { ServedSocket } from './served-socket.js';
import { claimPlace } from './store.js';

/** Between two checks, in ms. */
const pause = 3000;

export interface UpkeepParts {
  /** Whose directory is made again, too. */
  readonly name: string | undefined;
  readonly pidFile: NativePidFile | undefined;
  /** Whether the daemon takes its files away itself by now. */
  readonly isStopping: () => boolean;
  /** Something was made again. */
  readonly onMadeAgain: () => void;
  /** Another process is the daemon now. */
  readonly onSuperseded: () => void;
}

export class Upkeep {
  readonly #parts: UpkeepParts;
  readonly #sockets = new Set<ServedSocket>();
  /** What was said about each file that is not in its place. */
  readonly #said = new Map<string, string>();
  #isBegun = false;
  #isWatching = false;

  constructor(parts: UpkeepParts) {
    this.#parts = parts;
  }

  /** The daemon is up: from now on it must be found. */
  begin(): void {
    this.#isBegun = true;
    this.#watch();
  }

  add(socket: ServedSocket): void {
    this.#sockets.add(socket);
    this.#watch();
  }

  delete(socket: ServedSocket): void {
    this.#sockets.delete(socket);
  }

  /** Not what keeps the process alive. */
  #watch(): void {
    const isWorthIt = this.#parts.pidFile !== undefined || this.#sockets.size > 0;
    if (!this.#isBegun || !isWorthIt || this.#isWatching) return;
    this.#isWatching = true;
    setInterval(() => this.#check(), pause).unref();
  }

  #check(): void {
    const { pidFile, isStopping, onMadeAgain } = this.#parts;
    const files: [what: string, keep: () => boolean][] = [...this.#sockets].map((socket) => [
      `the socket ${socket.path}`,
      () => socket.keep(),
    ]);
    if (pidFile !== undefined) files.unshift([`the pidfile ${pidFile.path}`, () => this.#keepPidFile(pidFile)]);
    const made = files.filter(([what, keep]) => !isStopping() && this.#isMadeAgain(what, keep));
    if (made.length > 0) onMadeAgain();
  }

  /** The log gets each reason once. */
  #isMadeAgain(what: string, keep: () => boolean): boolean {
    try {
      const isMade = this.#inDirectory(keep);
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
  #inDirectory(keep: () => boolean): boolean {
    const { name } = this.#parts;
    try {
      return keep();
    } catch (error) {
      if (name === undefined || !isDaemonError(error) || error.code !== 'ENOENT') throw error;
    }
    claimPlace(name, 'pidFile');
    return keep();
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
