/** What to do if the daemon is already running: the options `ifRunning` and `version`. */
import { invalidOption } from '../errors.js';
import * as check from './check.js';
import type { StartOptions } from './types.js';

export function resolveIfRunning({ ifRunning: value, version, name }: StartOptions, pidFile: string | undefined) {
  const ifRunning = check.oneOf('ifRunning', value, 'error', ['error', 'reuse', 'replace']);
  if (ifRunning !== 'error' && pidFile === undefined) {
    throw invalidOption(`option "ifRunning" can be '${ifRunning}' only with "name" or "pidFile"`);
  }
  if (version !== undefined) {
    // Half of a pair (Cs) could not be written, so it would never be the same version again.
    if (typeof version !== 'string' || !/^[^"\\\p{Cc}\p{Cs}]+$/u.test(version)) {
      throw check.invalid('version', 'a text without quotes, backslashes and control characters', version);
    }
    if (name === undefined) throw invalidOption('option "version" needs "name", whose record keeps it');
    if (ifRunning === 'replace') {
      throw invalidOption(`option "version" goes with ifRunning: 'reuse'; 'replace' replaces every version`);
    }
  }
  return { ifRunning, version };
}
