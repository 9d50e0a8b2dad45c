/** Sockets that this process was handed: by systemd (sd_listen_fds(3)) or by its launcher. */
import type { NativeListener } from '../../index.js';
import { native } from '../native/index.js';

/** sd_listen_fds(3): the first descriptor that is handed over. */
const firstDescriptor = 3;

/**
 * The sockets that a service manager, or the launcher, has handed to this very process: name → descriptor. They are looked for
 * once; nothing that this process executes gets them.
 */
export function inheritedSockets(): ReadonlyMap<string, number> {
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
  return wanted.length === 0 ? [] : assignSockets(inheritedSockets(), wanted);
}

export function assignSockets(
  sockets: ReadonlyMap<string, number>,
  wanted: readonly NativeListener[],
): NativeListener[] {
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
export const storedPrefix = 'daemonry.';

/** Tells what the socket is, so that one is not taken for another once the options have changed. */
export function storedName(listener: NativeListener): string {
  return `${storedPrefix}${Buffer.from(JSON.stringify(listener)).toString('base64url')}`;
}

/** The files of the sockets that are to be bound. */
export function socketFiles(listeners: readonly NativeListener[]): string[] {
  return listeners.flatMap(({ path, descriptor }) => (path === undefined || descriptor !== undefined ? [] : [path]));
}
