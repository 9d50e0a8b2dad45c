/** The option `listen`. */
import type { NativeListener } from '../../index.js';
import { invalidOption, show } from '../errors.js';
import { absolute } from '../files/working-directory.js';
import * as check from './check.js';

/** A TCP port to listen on. */
export interface TcpAddress {
  /** From 0 to 65535; 0 lets the kernel choose, and `onStarted`, `spawnDaemon` and `server.address()` report its choice. */
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
  /** Not beside a port. */
  readonly path?: never;
  /** Not beside a port. */
  readonly mode?: never;
}

/** A Unix socket to listen on. A socket that is left there, and on which no process listens, is replaced. */
export interface UnixAddress {
  /** Relative to the launcher's working directory. */
  readonly path: string | URL;
  /**
   * Exactly this mode, whatever the umask. The file belongs to the daemon's user and group.
   * @default 0o660
   */
  readonly mode?: number;
  /** As for {@link TcpAddress.backlog}. */
  readonly backlog?: number;
  /** Not beside a path. */
  readonly port?: never;
  /** Not beside a path. */
  readonly host?: never;
  /** Not beside a path. */
  readonly ipv6Only?: never;
}

/** Where a socket listens. */
export type ListenAddress = TcpAddress | UnixAddress;

/** Where a socket that was bound listens: an IP address and a port, or a path. */
export type Endpoint =
  { readonly address: string; readonly port: number } | { readonly path: string } | { readonly path?: undefined };

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
    throw invalidOption(`${check.named('listen')} has an impossible name: ${show(name)}`);
  }
  if (!check.isRecord(address)) {
    throw check.invalid(option, '{ port, host } or { path }', address);
  }
  const { port, host, backlog, ipv6Only, path, mode } = address;
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
