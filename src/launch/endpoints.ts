/** Where the sockets of a daemon listen, as the core reports it after a start. */
import type { NativeEndpoint, Started } from '../../index.js';
import type { Endpoint } from '../options/listen.js';

/** The sockets that a start reports; nothing if there are none. */
export function boundListeners({ listeners }: Started): { readonly listeners?: Readonly<Record<string, Endpoint>> } {
  if (listeners.length === 0) return {};
  return { listeners: Object.fromEntries(listeners.map((endpoint) => [endpoint.name, endpointOf(endpoint)])) };
}

function endpointOf({ address, port, path }: NativeEndpoint): Endpoint {
  if (address !== undefined && port !== undefined) return { address, port };
  return path === undefined ? {} : { path };
}
