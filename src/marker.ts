/** The variable that tells a process that it is a daemon whose start it can take over. */
import type { DaemonStart } from '../index.js';
import { native, unwrap } from './native.js';

/** The process that the marker in the environment was about, where that is not this one. */
let another: number | undefined;

/** The start that the marker is about, if it is about this process. Whatever it is about, it goes. */
export function takeStart(): DaemonStart | undefined {
  const variable = native().startVariable();
  const marker = process.env[variable];
  if (marker === undefined) return undefined;
  delete process.env[variable];
  const start = native().adopt(marker);
  if (start !== null) return unwrap(start);
  another = Number.parseInt(marker, 10);
  return undefined;
}

/**
 * Whether this process does the work of the daemon `pid`: that one was started with a marker, has left it in the environment,
 * and so cannot say itself that it is up.
 */
export function worksFor(pid: number | undefined): boolean {
  return pid !== undefined && pid === another;
}
