/** The sockets of the option `listen` inside the daemon: inherited, or bound now. */
import { closeSync } from 'node:fs';
import type { NativeListener } from '../../index.js';
import { assignSockets, inheritedSockets, storedName, storedPrefix } from '../launch/inherited-sockets.js';
import { native, unwrap } from '../native/index.js';
import { socketsVariable } from '../options/env.js';
import { isClusterWorker } from './cluster.js';
import type { SdNotify } from './sd-notify.js';
import { SocketFile, type OwnSocket } from './socket-file.js';

/** sd_notify(3), FDNAME: how long the name of a descriptor can be. */
const longestName = 255;

const variables = ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES', 'LISTEN_PIDFDID'] as const;

/**
 * The sockets of this process: handed over, or bound now.
 * @param made the files that were made for the ones handed over, so that this process removes them
 * @param manager keeps those that were bound now while the service is restarted, if its unit has `FileDescriptorStoreMax=`
 */
export function openListeners(
  wanted: readonly NativeListener[],
  made: readonly string[],
  manager?: SdNotify,
): Map<string, OwnSocket> {
  if (wanted.length === 0) return new Map();
  const inherited = inheritedSockets();
  for (const variable of variables) delete process.env[variable];
  const available = assignSockets(inherited, wanted);
  if (manager !== undefined) forgetStored(inherited, available, manager);
  const sockets = new Map(
    available.map((listener, index): [string, OwnSocket] => {
      const { name } = listener;
      const descriptor = unwrap(native().listen(listener));
      const isStored = listener.descriptor === undefined && storeSocket(manager, listener, descriptor);
      const wantedPath = wanted[index]?.path;
      const isOurs = wantedPath !== undefined && (listener.descriptor === undefined || made.includes(wantedPath));
      const path = native().socketPath(descriptor) ?? undefined;
      return [name, { descriptor, path, file: isOurs && !isStored ? SocketFile.at(wantedPath) : undefined }];
    }),
  );
  shareWithWorkers(sockets);
  return sockets;
}

/** Gives a socket to the manager to keep. The file of a Unix socket has to stay then, so that one only where it surely keeps it. */
function storeSocket(manager: SdNotify | undefined, listener: NativeListener, descriptor: number): boolean {
  const name = storedName(listener);
  if (manager === undefined || name.length > longestName) return false;
  // Since systemd 254 it says how many it keeps.
  const keepsSurely = Number(process.env['FDSTORE']) > 0;
  if (listener.path !== undefined && !keepsSurely) return false;
  return manager.store(name, descriptor);
}

/** Sockets that were kept for an earlier version of the options would take connections that no process accepts. */
function forgetStored(
  inherited: ReadonlyMap<string, number>,
  taken: readonly NativeListener[],
  manager: SdNotify,
): void {
  for (const [name, descriptor] of inherited) {
    if (!name.startsWith(storedPrefix) || taken.some((listener) => listener.descriptor === descriptor)) continue;
    manager.forget(name);
    closeSync(descriptor);
  }
}

/** Lets the workers of a cluster know the descriptors: `server.listen({ fd })` in a worker means the descriptor of its primary. */
function shareWithWorkers(sockets: ReadonlyMap<string, OwnSocket>): void {
  const descriptors = [...sockets].map(([name, { descriptor }]) => [name, descriptor] as const);
  process.env[socketsVariable] = JSON.stringify(Object.fromEntries(descriptors));
}

/** The sockets of the primary; none in a process that is no worker of a cluster, because its descriptors are its own. */
export function socketsOfPrimary(): Map<string, OwnSocket> {
  const shared = isClusterWorker() ? process.env[socketsVariable] : undefined;
  const descriptors = Object.entries(JSON.parse(shared ?? '{}') as Record<string, number>);
  return new Map(descriptors.map(([name, descriptor]) => [name, { descriptor, path: undefined, file: undefined }]));
}
