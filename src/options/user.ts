/** The user to run as: the options `user`, `group` and `groups`. The core looks them up when the daemon is launched. */
import type { NativeRunAs } from '../../index.js';
import * as check from './check.js';
import type { StartOptions } from './types.js';

/** Checks the options; `null` if none of them is given. */
export function resolveRunAs({ user, group, groups }: StartOptions): NativeRunAs | null {
  if (user === undefined && group === undefined && groups === undefined) return null;
  if (user !== undefined) checkAccount('user', user, 'user');
  if (group !== undefined) checkAccount('group', group, 'group');
  if (groups !== undefined) {
    if (!Array.isArray(groups)) throw check.invalid('groups', 'an array of group names and numbers', groups);
    for (const [index, one] of groups.entries()) checkAccount(`groups[${index}]`, one, 'group');
  }
  return { user: user ?? null, group: group ?? null, groups: groups === undefined ? null : [...groups] };
}

function checkAccount(option: string, value: unknown, kind: string): void {
  // The highest number means "leave as it is" to the system calls.
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < 2 ** 32 - 1) return;
  if (typeof value === 'string' && /^[^\s:\0]+$/.test(value)) return;
  throw check.invalid(option, `a ${kind}'s name or number`, value);
}
