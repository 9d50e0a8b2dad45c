/** Who a daemon is to be: the options `user`, `group` and `groups`, and what the user database makes of them. */
import type { NativeAccount } from '../index.js';
import * as check from './check.js';
import { native, unwrap } from './native.js';

/** The options as they were given. */
export interface Identity {
  readonly user: string | number | undefined;
  readonly group: string | number | undefined;
  readonly groups: readonly (string | number)[] | undefined;
}

/** Checks the options; `undefined` where none of them is given. */
export function checkIdentity({ user, group, groups }: Partial<Identity>): Identity | undefined {
  if (user === undefined && group === undefined && groups === undefined) return undefined;
  if (user !== undefined) checkWho('user', user, 'user');
  if (group !== undefined) checkWho('group', group, 'group');
  if (groups !== undefined) {
    if (!Array.isArray(groups)) throw check.invalid('groups', 'an array of group names and numbers', groups);
    for (const [index, one] of groups.entries()) checkWho(`groups[${index}]`, one, 'group');
  }
  return { user, group, groups };
}

function checkWho(option: string, value: unknown, kind: string): void {
  // The highest number means "leave as it is" to the system calls.
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < 2 ** 32 - 1) return;
  if (typeof value === 'string' && /^[^\s:\0]+$/.test(value)) return;
  throw check.invalid(option, `a ${kind}'s name or number`, value);
}

/**
 * Looks the identity up. Throws `ERR_UNKNOWN_USER`, or a {@link SystemCallError} when the database cannot be asked.
 */
export function lookUp({ user, group, groups }: Identity): NativeAccount {
  return unwrap(native().lookUpUser(user, group, groups === undefined ? undefined : [...groups]));
}
