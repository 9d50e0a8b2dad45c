/** What a launcher hands over to its daemon, and how that takes it. */
import type { DaemonStart } from '../../index.js';
import { native, unwrap } from '../native/index.js';
import type { ResolvedStart } from '../options/resolve.js';

/** The process that the marker in the environment was about, if it is not this one. */
let another: number | undefined;

/** The start that the marker is about, if it is about this process. The marker is removed in any case. */
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
 * The process whose marker this process has found in its environment: it was started as a daemon, has left the work to this
 * process, and cannot report itself that it is up.
 */
export function startedInstead(): number | undefined {
  return another;
}

/** What a launcher passes to its daemon by the marker. */
export interface Handover {
  readonly method: 'daemonize' | 'spawnDaemon';
  /** The directory to change to at adoption; missing where that was done before exec. */
  readonly cwd?: string;
  readonly logs: ResolvedStart['logs'];
  /** Where a named daemon reports about itself. */
  readonly selfReport?: string;
  /** The pidfile that its supervisor holds. */
  readonly supervisedPidFile?: string;
  /** The name by which it was started. */
  readonly name?: string;
  /** Root has started it, so that its places are the system's. */
  readonly isSystems?: true;
  /** The files that were made for the sockets that it gets. */
  readonly sockets?: readonly string[];
}

/** How the daemon is started; known before its options are. */
export type StartMethod = Pick<Handover, 'method' | 'cwd'>;
