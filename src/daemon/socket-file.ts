/** A Unix socket that this process has bound, and its file. */
import { lstatSync, unlinkSync, type BigIntStats } from 'node:fs';
import { native, unwrap } from '../native/index.js';

/** A socket of a daemon: its descriptor, and the file that goes with it, if that is the daemon's. */
export interface OwnSocket {
  readonly descriptor: number;
  /** Of a Unix socket. */
  readonly path: string | undefined;
  readonly file: SocketFile | undefined;
}

/** Binds a Unix socket for this process; one on which no process listens is replaced. Throws a {@link SystemCallError}. */
export function bindSocket(path: string, mode: number): OwnSocket {
  const descriptor = unwrap(native().listen({ name: 'socket', path, mode }));
  return { descriptor, path, file: SocketFile.at(path) };
}

/** The file of a Unix socket that goes with its daemon. */
export class SocketFile {
  readonly path: string;
  readonly #mode: number;
  #identity: string | undefined;

  static at(path: string): SocketFile | undefined {
    const stat = socketAt(path);
    return stat === undefined ? undefined : new SocketFile(path, stat);
  }

  private constructor(path: string, stat: BigIntStats) {
    this.path = path;
    this.#mode = Number(stat.mode) & 0o777;
    this.#identity = identityOf(stat);
  }

  /** Whether the name was removed, or leads to another file. */
  isLost(): boolean {
    const stat = socketAt(this.path);
    return stat === undefined || identityOf(stat) !== this.#identity;
  }

  /** Binds another socket under the name, and returns its descriptor. Throws a {@link SystemCallError}. */
  bindAgain(): number {
    const { descriptor } = bindSocket(this.path, this.#mode);
    const stat = socketAt(this.path);
    this.#identity = stat && identityOf(stat);
    return descriptor;
  }

  /** Removes it, if it is still the same. Where the directory is not ours to write it stays, and the next start replaces it. */
  remove(): void {
    try {
      if (!this.isLost()) unlinkSync(this.path);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (!['ENOENT', 'ENOTDIR', 'EACCES', 'EPERM', 'EROFS'].includes(code ?? '')) throw error;
    }
  }
}

function socketAt(path: string): BigIntStats | undefined {
  const stat = lstatSync(path, { throwIfNoEntry: false, bigint: true });
  return stat?.isSocket() === true ? stat : undefined;
}

function identityOf({ dev, ino }: BigIntStats): string {
  return `${dev}:${ino}`;
}
