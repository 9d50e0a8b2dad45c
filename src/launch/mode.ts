/** Whether this program becomes a daemon or stays in the foreground. */
import { invalidOption } from '../errors.js';
import { isSameFile } from '../files/same-file.js';
import { modes } from '../options/defaults.js';
import { daemonVariable, modeVariable } from '../options/env.js';
import type { ResolvedOptions } from '../options/resolve.js';
import { findSupervisor } from './supervisor.js';

/** The variable decides, then the option, then who has started this program. */
export function chooseMode({ mode: option, pidFile }: ResolvedOptions): 'daemon' | 'foreground' {
  const variable = process.env[modeVariable] ?? '';
  if (variable !== '' && !modes.some((mode) => mode === variable)) {
    throw invalidOption(
      `the variable ${modeVariable} must be auto, daemon or foreground, not ${JSON.stringify(variable)}`,
    );
  }
  const mode = variable === '' ? option : (variable as typeof option);
  if (mode !== 'auto') return mode;
  // What a service starts besides is no service of its supervisor's.
  if (isDaemonsChild()) return 'daemon';
  const supervisor = findSupervisor();
  if (supervisor === undefined) return 'daemon';
  const ofUnit = process.env['PIDFILE'];
  if (supervisor !== 'systemd' || ofUnit === undefined || ofUnit === '') return 'foreground';
  // The unit waits for a daemon: Type=forking.
  checkPidFile(ofUnit, pidFile);
  return 'daemon';
}

/** systemd would wait for the other file until it gives up. */
function checkPidFile(ofUnit: string, own: string | undefined): void {
  if (own !== undefined && isSameFile(own, ofUnit)) return;
  const program = own === undefined ? 'has no pidfile' : `has the pidfile ${own}`;
  throw invalidOption(
    `the unit of this service says PIDFile=${ofUnit}, but the program ${program}: make them the same`,
  );
}

/** Whether the program that has started this process is a daemon, or a service in the foreground, by daemonry. */
export function isDaemonsChild(): boolean {
  return process.env[daemonVariable]?.startsWith(`${process.ppid}:`) ?? false;
}
