/** The script that this process runs, if it runs one. */
import { basename } from 'node:path';

/** Whether the program is code from the command line: `process.argv` then holds no script. */
export function isEvaluated(): boolean {
  return process.execArgv.some((flag) => /^(-e|-p|-pe|--eval|--print)(=|$)/.test(flag));
}

/** How messages call the script; `undefined` for a program without a file of its own. */
export function scriptName(): string | undefined {
  const script = process.argv[1];
  return script === undefined || script === '-' || isEvaluated() ? undefined : basename(script);
}
