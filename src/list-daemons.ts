/** `listDaemons`: every named daemon that the caller can know of. */
import { statusOf, type DaemonStatus } from './daemon-status.js';
import { isDaemonError } from './errors.js';
import { locateAll, locateJournals, type Located } from './store/locate.js';

/**
 * Resolves with the named daemons of this user, and the system's, running or not, in the order of their names. One whose pidfile
 * cannot be inspected, or is something else, is `unknown`, with the `error`. One that was never up is in the list if its last start
 * failed.
 *
 * @throws a {@link SystemCallError} for directories that cannot be read
 */
export async function listDaemons(): Promise<DaemonStatus[]> {
  const known = locateAll();
  const places = new Set(known.map(({ pidFile }) => pidFile));
  const neverUp = locateJournals().filter(({ pidFile }) => !places.has(pidFile));
  const failed = neverUp.map(inspected).filter((found) => 'failedStart' in found);
  return [...known.map(inspected), ...failed].toSorted((one, other) => (one.name! < other.name! ? -1 : 1));
}

/** The status of a daemon of a list. One that cannot be inspected is `unknown`, and hides none of the others. */
export function inspected(found: Located): DaemonStatus {
  try {
    return statusOf(found);
  } catch (error) {
    if (!isDaemonError(error)) throw error;
    return { name: found.name!, pidFile: found.pidFile, state: 'unknown', error };
  }
}
