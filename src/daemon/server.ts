/** A server that lives as its daemon does: connections hold the daemon, and its end loses none of them. */
import type { Server as HttpServer, ServerResponse } from 'node:http';
import type { Server, Socket } from 'node:net';
import type { Hold } from './idle.js';
import type { ServedSocket } from './served-socket.js';

/** Takes a hold for as long as each connection is open. */
export function holdWhileConnected(server: Server, hold: () => Hold): void {
  server.on('connection', (socket) => {
    const held = hold();
    socket.once('close', () => held.release());
  });
}

/** Calls back once the server listens. */
export function onceListening(server: Server, callback: () => void): void {
  if (server.listening) callback();
  else server.once('listening', callback);
}

/** Makes a server listen on a descriptor that listens already. Rejects with what Node says. */
export function listenOn(server: Server, descriptor: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const onListening = () => {
      server.off('error', onError);
      resolve();
    };
    const onError = (error: Error) => {
      server.off('listening', onListening);
      reject(error);
    };
    server.once('listening', onListening).once('error', onError).listen({ fd: descriptor });
  });
}

/** Connections that have not asked for anything yet, as browsers make them in advance: Node does not count them as idle. */
export class UnusedConnections {
  readonly #sockets = new Set<Socket>();

  constructor(server: Server) {
    if (!isHttp(server)) return;
    const isSecure = 'setSecureContext' in server;
    server.on(isSecure ? 'secureConnection' : 'connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    server.on('request', ({ socket }) => this.#sockets.delete(socket));
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** Between two looks for idle connections of a server that is to end, in ms. */
const idlePause = 50;

/** The share of `stopTimeout` after which idle connections are closed at the latest. */
const idleShare = 0.8;

/** A warning if idle connections may be kept longer than a stop may take: the next request on one of them can be lost. */
export function keepsConnectionsTooLong(server: Server, stopTimeout: number): string | undefined {
  if (!isHttp(server) || server.keepAliveTimeout < stopTimeout) return undefined;
  return `a stop can lose requests: the server's keepAliveTimeout (${server.keepAliveTimeout} ms) is not below stopTimeout (${stopTimeout} ms)`;
}

/**
 * Takes no new connections, serves those that were already made, and resolves when they have ended.
 *
 * An HTTP server closes only its listener. It answers every further request with `Connection: close`, and a connection that
 * waits for one has `keepAliveTimeout` as always: closed at once, it would be reset under a request that is on its way
 * (RFC 9112, section 9.5).
 * @param socket the Unix socket that it listens on
 * @param unused those of its connections
 * @param stopTimeout what all of it may take, in ms; idle connections get most of it
 */
export async function drain(
  server: Server,
  socket: ServedSocket | undefined,
  unused: UnusedConnections,
  stopTimeout: number,
): Promise<void> {
  if (!server.listening) return;
  // Without a name no client can connect any more; a connection that is not accepted yet would be cut off by the close.
  socket?.removeFile();
  await turn();
  await turn();
  const own = socket?.isTaken() === true ? connectionsEnd(server) : closeListener(server);
  const closed = Promise.all([own, socket?.close()]);
  if (isHttp(server)) await drainHttp(server, closed, unused, stopTimeout);
  else await closed;
}

/** Resolves when the connections have ended, too. */
function closeListener(server: Server): Promise<void> {
  return new Promise((resolve) => {
    // Not an HTTP server's own close, which ends idle connections at once.
    if (isHttp(server)) netServer().prototype.close.call(server, () => resolve());
    else server.close(() => resolve());
  });
}

/** The same for a listener that has to stay open: no process can connect to it any more, but Node would unlink its path. */
function connectionsEnd(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const count = () => {
      server.getConnections((_, open) => (open > 0 ? setTimeout(count, idlePause) : resolve()));
    };
    count();
  });
}

function isHttp(server: Server): server is HttpServer {
  return 'closeIdleConnections' in server && server instanceof netServer();
}

/** By the time that there is a server it is loaded; here it would be loaded for every program. */
function netServer(): typeof Server {
  return process.getBuiltinModule('node:net').Server;
}

async function drainHttp(
  server: HttpServer,
  closed: Promise<unknown>,
  unused: UnusedConnections,
  stopTimeout: number,
): Promise<void> {
  server.prependListener('request', (_, response: ServerResponse) => {
    response.setHeader('Connection', 'close');
  });
  const { keepAliveTimeout } = server;
  const most = idleShare * stopTimeout;
  // The server ends those itself that have waited so long after a request.
  const patience = keepAliveTimeout > 0 ? Math.min(keepAliveTimeout + idlePause, most) : most;
  let timer = setTimeout(function close() {
    server.closeIdleConnections();
    unused.close();
    timer = setTimeout(close, idlePause);
  }, patience);
  await closed;
  clearTimeout(timer);
}

/** Resolves when the event loop has looked for connections once more. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
