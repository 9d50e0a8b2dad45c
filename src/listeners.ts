/** Sockets that are bound before the daemon runs: the option `listen`, and the door through which they come. */
import { closeSync, lstatSync, unlinkSync, type BigIntStats } from 'node:fs';
import type { NativeEndpoint, NativeListener, Started } from '../index.js';
import { absolute } from './directory.js';
import * as check from './check.js';
import { isClusterWorker, socketsVariable } from './environment.js';
import { invalidOption } from './errors.js';
import type { ServiceManager } from './manager.js';
import { native, unwrap } from './native.js';

/** A TCP port to listen on. */
export interface TcpAddress {
  /** From 0 to 65535; 0 lets the kernel choose, which `onStarted`, `spawnDaemon` and `server.address()` tell. */
  readonly port: number;
  /**
   * An IP address, or a host name whose first address counts.
   * @default every address, of IPv6 and IPv4
   */
  readonly host?: string;
  /**
   * How many connections wait to be accepted; the kernel has a limit of its own (listen(2)).
   * @default 511
   */
  readonly backlog?: number;
  /**
   * Whether an IPv6 socket takes no IPv4 connections.
   * @default false
   */
  readonly ipv6Only?: boolean;
}

/** A Unix socket to listen on. One that is left there, and on which nobody listens, is replaced. */
export interface UnixAddress {
  /** Relative to the launcher's working directory. */
  readonly path: string;
  /**
   * Exactly this mode, whatever the umask. The file belongs to the daemon's user and group.
   * @default 0o660
   */
  readonly mode?: number;
  /** As for {@link TcpAddress.backlog}. */
  readonly backlog?: number;
}

/** Where a socket listens. */
export type ListenAddress = TcpAddress | UnixAddress;

/** Where a socket that was bound listens: an IP address and a port, or a path. */
export type Endpoint =
  { readonly address: string; readonly port: number } | { readonly path: string } | { readonly path?: undefined };

/** A socket of a daemon: its descriptor, and the file that goes with it, if that is the daemon's. */
export interface OwnSocket {
  readonly descriptor: number;
  /** Of a Unix socket. */
  readonly path: string | undefined;
  readonly file: SocketFile | undefined;
}

/** sd_listen_fds(3): the first descriptor that is handed over. */
const firstDescriptor = 3;

/** The same: how long the name of a descriptor can be. */
const longestName = 255;

const variables = ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES', 'LISTEN_PIDFDID'] as const;

/** Checks the option and puts it in the form of the core. */
export function resolveListen(listen: unknown): NativeListener[] {
  if (listen === undefined) return [];
  if (!check.isRecord(listen)) {
    throw check.invalid('listen', 'an object such as { http: { port: 80 } }', listen);
  }
  return Object.entries(listen).map(([name, address]) => resolveAddress(name, address));
}

function resolveAddress(name: string, address: unknown): NativeListener {
  const option = `listen.${name}`;
  if (!/^[!-9;-~]{1,255}$/.test(name)) {
    throw invalidOption(`${check.named('listen')} has an impossible name: ${check.show(name)}`);
  }
  if (!check.isRecord(address)) {
    throw check.invalid(option, '{ port, host } or { path }', address);
  }
  const { port, host, backlog, ipv6Only, path, mode } = address as Partial<TcpAddress & UnixAddress>;
  const known = path === undefined ? ['port', 'host', 'backlog', 'ipv6Only'] : ['path', 'mode', 'backlog'];
  for (const key of Object.keys(address)) {
    if (!known.includes(key)) throw check.unknownOption(`${option}.${key}`, []);
  }
  const waiting = backlog === undefined ? {} : { backlog: check.integer(`${option}.backlog`, backlog, 0, 2 ** 31 - 1) };
  if (path !== undefined) {
    const bits = mode === undefined ? {} : { mode: check.mode(`${option}.mode`, mode, 0) };
    return { name, path: check.socketPath(absolute(check.path(`${option}.path`, path))), ...bits, ...waiting };
  }
  if (host !== undefined && (typeof host !== 'string' || !/^[^\s\0]+$/.test(host))) {
    throw check.invalid(`${option}.host`, 'an IP address or a host name', host);
  }
  return {
    name,
    port: check.integer(`${option}.port`, port, 0, 65535),
    ...(host === undefined ? {} : { host }),
    ...waiting,
    ipv6Only: check.boolean(`${option}.ipv6Only`, ipv6Only, false),
  };
}

/**
 * The sockets that a service manager, or the launcher, has handed to this very process: name → descriptor. They are looked for
 * once; nothing that this process executes gets them.
 */
function inheritedSockets(): ReadonlyMap<string, number> {
  const [pid, count = NaN] = [process.env['LISTEN_PID'], process.env['LISTEN_FDS']].map(Number);
  if (pid !== process.pid || !(count > 0)) return new Map();
  if (!native().takeSockets(firstDescriptor, count)) return new Map();
  const names = process.env['LISTEN_FDNAMES']?.split(':') ?? [];
  const sockets = new Map<string, number>();
  for (let index = 0; index < count; index++) {
    const name = names[index] ?? '';
    if (!sockets.has(name)) sockets.set(name, firstDescriptor + index);
  }
  return sockets;
}

/** Takes the place of what is to be bound wherever there is a socket of that name already. */
export function withInherited(wanted: readonly NativeListener[]): NativeListener[] {
  return wanted.length === 0 ? [] : taking(inheritedSockets(), wanted);
}

function taking(sockets: ReadonlyMap<string, number>, wanted: readonly NativeListener[]): NativeListener[] {
  // systemd calls a socket as its unit, unless FileDescriptorName= says otherwise.
  const [only, ...others] = [...sockets].filter(([name]) => !name.startsWith(storedPrefix));
  const any = wanted.length === 1 && others.length === 0 ? only?.[1] : undefined;
  return wanted.map((listener) => {
    if (listener.descriptor !== undefined) return listener;
    const names = [listener.name, `${listener.name}.socket`, storedName(listener)];
    const descriptor = names.map((name) => sockets.get(name)).find((found) => found !== undefined) ?? any;
    return descriptor === undefined ? listener : { name: listener.name, descriptor };
  });
}

/** By this the sockets are known that a service manager keeps for us while the service is restarted. */
const storedPrefix = 'daemonry.';

/** Tells what the socket is, so that one is not taken for another once the options have changed. */
function storedName(listener: NativeListener): string {
  return `${storedPrefix}${Buffer.from(JSON.stringify(listener)).toString('base64url')}`;
}

/** The files of the sockets that are to be bound. */
export function socketFiles(listeners: readonly NativeListener[]): string[] {
  return listeners.flatMap(({ path, descriptor }) => (path === undefined || descriptor !== undefined ? [] : [path]));
}

/**
 * The sockets of this process: handed over, or bound now.
 * @param made the files that were made for the ones handed over, so that this process removes them
 * @param manager keeps those that were bound now while the service is restarted, if its unit has `FileDescriptorStoreMax=`
 */
export function openListeners(
  wanted: readonly NativeListener[],
  made: readonly string[],
  manager?: ServiceManager,
): Map<string, OwnSocket> {
  if (wanted.length === 0) return new Map();
  const inherited = inheritedSockets();
  for (const variable of variables) delete process.env[variable];
  const available = taking(inherited, wanted);
  if (manager !== undefined) forgetOthers(inherited, available, manager);
  const sockets = new Map(
    available.map((listener, index): [string, OwnSocket] => {
      const { name } = listener;
      const descriptor = unwrap(native().listen(listener));
      const isStored = listener.descriptor === undefined && keep(manager, listener, descriptor);
      const wantedPath = wanted[index]?.path;
      const isOurs = wantedPath !== undefined && (listener.descriptor === undefined || made.includes(wantedPath));
      const path = native().socketPath(descriptor) ?? undefined;
      return [name, { descriptor, path, file: isOurs && !isStored ? SocketFile.at(wantedPath) : undefined }];
    }),
  );
  tellWorkers(sockets);
  return sockets;
}

/** Gives a socket to the manager to keep. The file of a Unix socket has to stay then, so that one only where it surely keeps it. */
function keep(manager: ServiceManager | undefined, listener: NativeListener, descriptor: number): boolean {
  const name = storedName(listener);
  if (manager === undefined || name.length > longestName) return false;
  // Since systemd 254 it says how many it keeps.
  const keepsSurely = Number(process.env['FDSTORE']) > 0;
  if (listener.path !== undefined && !keepsSurely) return false;
  return manager.store(name, descriptor);
}

/** What was kept for an earlier version of the options would take connections that nobody accepts. */
function forgetOthers(
  inherited: ReadonlyMap<string, number>,
  taken: readonly NativeListener[],
  manager: ServiceManager,
): void {
  for (const [name, descriptor] of inherited) {
    if (!name.startsWith(storedPrefix) || taken.some((listener) => listener.descriptor === descriptor)) continue;
    manager.forget(name);
    closeSync(descriptor);
  }
}

/** Lets the workers of a cluster know the descriptors: `server.listen({ fd })` in a worker means the descriptor of its primary. */
function tellWorkers(sockets: ReadonlyMap<string, OwnSocket>): void {
  const descriptors = [...sockets].map(([name, { descriptor }]) => [name, descriptor] as const);
  process.env[socketsVariable] = JSON.stringify(Object.fromEntries(descriptors));
}

/** What the primary has told; nothing in a process that is no worker of a cluster, for descriptors are its own there. */
export function socketsOfPrimary(): Map<string, OwnSocket> {
  const told = isClusterWorker() ? process.env[socketsVariable] : undefined;
  const descriptors = Object.entries(JSON.parse(told ?? '{}') as Record<string, number>);
  return new Map(descriptors.map(([name, descriptor]) => [name, { descriptor, path: undefined, file: undefined }]));
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

  /** Whether the name is gone, or leads to another file. */
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

/** What a start tells of its sockets: nothing where there are none. */
export function boundListeners({ listeners }: Started): { readonly listeners?: Readonly<Record<string, Endpoint>> } {
  if (listeners.length === 0) return {};
  return { listeners: Object.fromEntries(listeners.map((endpoint) => [endpoint.name, endpointOf(endpoint)])) };
}

function endpointOf({ address, port, path }: NativeEndpoint): Endpoint {
  if (address !== undefined && port !== undefined) return { address, port };
  return path === undefined ? {} : { path };
}
