/** What the options change of the daemon's process before its program is executed: its user, its limits, its priority. */
import type { NativeAttributes } from '../../index.js';
import { invalidOption } from '../errors.js';
import * as check from './check.js';
import { defaults } from './defaults.js';
import { resolveLimits } from './limits.js';
import type { StartOptions } from './types.js';
import { resolveRunAs } from './user.js';

export function resolveAttributes(options: StartOptions): NativeAttributes {
  const noNewPrivileges = check.boolean('noNewPrivileges', options.noNewPrivileges, false);
  if (process.platform !== 'linux') {
    if (options.oomScoreAdjust !== undefined) throw invalidOption(`${check.named('oomScoreAdjust')} is for Linux only`);
    if (noNewPrivileges) throw invalidOption(`${check.named('noNewPrivileges')} is for Linux only`);
  }
  /** `null` if the option is not given. */
  const integer = (option: keyof StartOptions, least: number, most: number) =>
    options[option] === undefined ? null : check.integer(option, options[option], least, most);
  return {
    umask: check.mode('umask', options.umask, defaults.umask),
    runAs: resolveRunAs(options),
    limits: resolveLimits(options.limits),
    nice: integer('nice', -20, 19),
    oomScoreAdjust: integer('oomScoreAdjust', -1000, 1000),
    noNewPrivileges,
  };
}
