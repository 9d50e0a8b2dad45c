/** A server that lives as its daemon does: connections hold the daemon, and its end loses none of them. */
import { unlinkSync } from 'node:fs';
import type { Server } from 'node:net';
import type { Hold } from './idle.js';
import type { OwnSocket } from './listeners.js';

/** Takes a hold for as long as each connection is open. */
export function holdWhileConnected(server: Server, hold: () => Hold): void {
  server.on('connection', (socket) => {
    const held = hold();
    socket.once('close', () => held.release());
  });
}

/** Calls back with the path of the server's Unix socket, once it listens on one. */
export function onUnixSocket(server: Server, sockets: readonly OwnSocket[], callback: (path: string) => void): void {
  const tell = () => {
    const { path } = unixSocketOf(server, sockets) ?? {};
    if (path !== undefined) callback(path);
  };
  if (server.listening) tell();
  else server.once('listening', tell);
}

/**
 * Takes no new connections, serves those that were already made, and resolves when they have ended.
 * @param sockets those that were bound for the process, of which a service manager's keep their names
 */
export async function drain(server: Server, sockets: readonly OwnSocket[]): Promise<void> {
  if (!server.listening) return;
  const { path, own } = unixSocketOf(server, sockets) ?? {};
  // Without a name nobody new can connect; who has connected, but was not accepted yet, would be cut off by the close.
  if (own !== undefined) own.file?.remove();
  else if (path?.startsWith('/')) unlink(path);
  await turn();
  await turn();
  await new Promise<void>((resolve) => server.close(() => resolve()));
}

/** Where a server listens on a Unix socket. Of one that listens on a descriptor Node itself does not know the path. */
function unixSocketOf(server: Server, sockets: readonly OwnSocket[]): { path?: string; own?: OwnSocket } | undefined {
  const address = server.address();
  if (typeof address === 'string') return { path: address };
  // eslint-disable-next-line no-underscore-dangle -- nothing public tells the descriptor
  const descriptor = (server as { _handle?: { fd?: number } | null })._handle?.fd;
  const own = sockets.find((socket) => socket.descriptor === descriptor);
  return own?.path === undefined ? undefined : { path: own.path, own };
}

function unlink(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

/** Resolves when the event loop has looked for connections once more. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
