/** The native program `daemonry`, the process above supervised daemons: it lies beside the addon. */
import { basename, dirname, join } from 'node:path';
import type { NotExecutable } from '../../index.js';
import { daemonError } from '../errors.js';
import { addonPath, native } from './index.js';

/** Its path. Throws where it cannot be executed, which is found out without starting a process. */
export function commandPath(): string {
  const addon = addonPath();
  const path = join(dirname(addon), 'daemonry');
  const fault = native().checkExecutable(path);
  if (fault === null) return path;
  const message = `daemonry's supervisor ${path} ${fault.message}: ${remedy(fault.reason, path, packageOf(addon))}`;
  throw daemonError('ERR_UNSUPPORTED_PLATFORM', message, {});
}

/** What to do about it. */
function remedy(reason: NotExecutable['reason'], path: string, owner: string): string {
  switch (reason) {
    case 'missing':
      return `reinstall the package ${owner}, or copy the file from it to there`;
    case 'mount':
      return 'install daemonry in another file system, or remount this one with exec';
    case 'permission':
      return `run chmod 755 ${path}, or reinstall the package ${owner}`;
    case 'format':
      return `reinstall the package ${owner} on this machine`;
    case 'interpreter':
      return `install that interpreter, or reinstall the package ${owner} on this machine`;
    case 'system':
      return 'check the path and its disk';
  }
}

/** The package that has an addon: `daemonry-linux-x64-gnu` has `daemonry.linux-x64-gnu.node`. */
function packageOf(addon: string): string {
  return basename(addon, '.node').replace('.', '-');
}
