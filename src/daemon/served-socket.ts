/** The Unix socket of a server: its file goes with the daemon, and another socket takes its place if that was removed. */
import { lstatSync } from 'node:fs';
import type { Server } from 'node:net';
import { resolve } from 'node:path';
import { isClusterWorker } from './cluster.js';
import { SocketFile, type OwnSocket } from './socket-file.js';
import type { KeptFile } from './upkeep.js';

export class ServedSocket implements KeptFile {
  readonly place = 'pidFile';
  readonly path: string;
  readonly #server: Server;
  readonly #file: SocketFile | undefined;
  /** Whether daemonry has bound it, and can bind another one in its place. */
  readonly isOurs: boolean;
  /** They listen in the place of the server since its own socket has lost its name; the last one has the name now. */
  readonly #standIns = new Set<Server>();

  /**
   * The one that `server` listens on, if it does.
   * @param sockets those that were bound for the process, of which a service manager's keep their names
   */
  static of(server: Server, sockets: readonly OwnSocket[]): ServedSocket | undefined {
    const address = server.address();
    if (typeof address === 'string') {
      // An abstract socket has no file, and that of a cluster belongs to all its workers.
      const hasFile = !address.startsWith('\0') && !isClusterWorker();
      return new ServedSocket(server, address, hasFile ? SocketFile.at(resolve(address)) : undefined, false);
    }
    // eslint-disable-next-line no-underscore-dangle -- no public API has the descriptor
    const descriptor = (server as { _handle?: { fd?: number } | null })._handle?.fd;
    const own = sockets.find((socket) => socket.descriptor === descriptor);
    // Node itself does not know the path of a descriptor.
    return own?.path === undefined ? undefined : new ServedSocket(server, own.path, own.file, true);
  }

  private constructor(server: Server, path: string, file: SocketFile | undefined, isOurs: boolean) {
    this.path = path;
    this.#server = server;
    this.#file = file;
    this.isOurs = isOurs;
    server.once('close', () => {
      this.removeFile();
      void this.close();
    });
  }

  get what(): string {
    return `the socket ${this.path}`;
  }

  /** Takes the name away, if it is still the server's: no process can connect any more. */
  removeFile(): void {
    this.#file?.remove();
  }

  /** Whether another file has the name by now, which Node would unlink when it closes what it has bound itself. */
  isTaken(): boolean {
    const { path } = this.#file ?? {};
    return !this.isOurs && path !== undefined && lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  }

  /**
   * Binds another socket if the name was removed; the server gets its connections. Clients in the queue of the old one are
   * served, too. Nothing that Node has bound is made again, because it would unlink the name when it closes its own.
   * @returns whether the name was removed
   * @throws a {@link SystemCallError}; an error for what is not made again
   */
  keep(): boolean {
    // A server that was closed takes the name away itself.
    if (!this.#server.listening || this.#file?.isLost() !== true) return false;
    if (!this.isOurs) throw unreachable();
    const fd = this.#file.bindAgain();
    const server = this.#server as Server & { allowHalfOpen?: boolean; pauseOnConnect?: boolean };
    const { allowHalfOpen = false, pauseOnConnect = false, maxConnections } = server;
    const { createServer } = process.getBuiltinModule('node:net');
    const standIn = createServer({ allowHalfOpen, pauseOnConnect }, (socket) => server.emit('connection', socket));
    if (maxConnections !== undefined) standIn.maxConnections = maxConnections;
    standIn.on('error', (error) => process.stderr.write(`${error.message}\n`));
    standIn.once('close', () => this.#standIns.delete(standIn));
    for (const former of this.#standIns) afterTurns(() => former.close());
    this.#standIns.add(standIn);
    standIn.listen({ fd });
    return true;
  }

  /** Closes what listens in the place of the server, and resolves when the connections that came this way have ended. */
  async close(): Promise<void> {
    await Promise.all([...this.#standIns].map((standIn) => new Promise((closed) => standIn.close(closed))));
  }
}

/** A socket that was bound for the program, of which it has given no server to `serve`: none can be made again. */
export function watchedSocket(file: SocketFile): KeptFile {
  const keep = () => {
    if (file.isLost()) throw unreachable();
    return false;
  };
  return { what: `the socket ${file.path}`, place: 'pidFile', keep };
}

function unreachable(): Error {
  return new Error('its name was removed, or leads to the socket of another process: no new connection reaches it');
}

/** Once the event loop has accepted the clients that had connected already. */
function afterTurns(callback: () => void): void {
  setImmediate(() => setImmediate(callback));
}
