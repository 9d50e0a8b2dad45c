/** What `status` reports in some states only. */
import { daemonStatus, type DaemonEnd } from '../../dist/index.js';

type Target = Parameters<typeof daemonStatus>[0];

export async function pidOf(daemon: Target): Promise<number | undefined> {
  const found = await daemonStatus(daemon);
  return 'pid' in found ? found.pid : undefined;
}

/** How the last daemon ended. */
export async function endOf(daemon: Target): Promise<DaemonEnd | undefined> {
  const found = await daemonStatus(daemon);
  return 'ended' in found ? found.ended : undefined;
}
