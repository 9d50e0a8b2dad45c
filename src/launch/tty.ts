/** The controlling terminal. */
import { closeSync, openSync } from 'node:fs';

/** Whether this process has one. */
export function hasTerminal(): boolean {
  try {
    closeSync(openSync('/dev/tty', 'r'));
    return true;
  } catch {
    return false;
  }
}
