/** The user to run as: the options `user`, `group` and `groups`, looked up in the user database. */
import type { NativeAccount } from '../../index.js';
import { native, unwrap } from '../native/index.js';
import * as check from './check.js';

/** The options as they were given. */
export interface UserOptions {
  readonly user: string | number | undefined;
  readonly group: string | number | undefined;
  readonly groups: readonly (string | number)[] | undefined;
}

/** Checks the options; `undefined` where none of them is given. */
export function checkUser({ user, group, groups }: Partial<UserOptions>): UserOptions | undefined {
  if (user === undefined && group === undefined && groups === undefined) return undefined;
  if (user !== undefined) checkAccount('user', user, 'user');
  if (group !== undefined) checkAccount('group', group, 'group');
  if (groups !== undefined) {
    if (!Array.isArray(groups)) throw check.invalid('groups', 'an array of group names and numbers', groups);
    for (const [index, one] of groups.entries()) checkAccount(`groups[${index}]`, one, 'group');
  }
  return { user, group, groups };
}

function checkAccount(option: string, value: unknown, kind: string): void {
  // The highest number means "leave as it is" to the system calls.
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < 2 ** 32 - 1) return;
  if (typeof value === 'string' && /^[^\s:\0]+$/.test(value)) return;
  throw check.invalid(option, `a ${kind}'s name or number`, value);
}

/**
 * Looks the identity up. Throws `ERR_UNKNOWN_USER`, or a {@link SystemCallError} when the database cannot be asked.
 */
export function lookUp({ user, group, groups }: UserOptions): NativeAccount {
  return unwrap(native().lookUpUser(user, group, groups === undefined ? undefined : [...groups]));
}
