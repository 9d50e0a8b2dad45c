/** The native program `daemonry`, the process above supervised daemons: it lies beside the addon. */
import { dirname, join } from 'node:path';
import { addonPath } from './index.js';

/** Its path. */
export function commandPath(): string {
  return join(dirname(addonPath()), 'daemonry');
}
