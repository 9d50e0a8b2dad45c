/** What `status` reports in some states only. */
import { status, type DaemonEnd } from '../../dist/index.js';

type Target = Parameters<typeof status>[0];

export function pidOf(daemon: Target): number | undefined {
  const found = status(daemon);
  return 'pid' in found ? found.pid : undefined;
}

/** How the last daemon ended. */
export function endOf(daemon: Target): DaemonEnd | undefined {
  const found = status(daemon);
  return 'ended' in found ? found.ended : undefined;
}
