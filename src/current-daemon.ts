/** The handle of the daemon that this process is. */
import type { Daemon } from './daemon/daemon.js';
import { handleKey } from './daemon/handle.js';

/** The handle inside a daemon, once `daemonize` was called there; `undefined` elsewhere. Never forks. */
export function currentDaemon(): Daemon | undefined {
  return (globalThis as { [handleKey]?: Daemon })[handleKey];
}
