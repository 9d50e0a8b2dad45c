/** The process above the daemon: the options `restart`, `restartLimit`, `supervise` and `killSignal`. */
import { constants } from 'node:os';
import type { NativeSupervision } from '../../index.js';
import { invalidOption } from '../errors.js';
import * as check from './check.js';
import type { StartOptions } from './types.js';

/** What is known of it before the launch, which finds the command. */
export type Supervision = Omit<NativeSupervision, 'command'>;

/** Checks the options; `null` if the daemon is to have no supervisor. */
export function resolveSupervision(options: StartOptions, pidFile: string | undefined): Supervision | null {
  const restart = check.oneOf('restart', options.restart, 'no', ['no', 'on-failure', 'always']);
  const restarts = restart !== 'no';
  const isSupervised = check.boolean('supervise', options.supervise, restarts);
  if (restarts && !isSupervised) {
    throw invalidOption(`${check.named('restart')} needs a supervisor: leave out ${check.named('supervise')}`);
  }
  if (options.restartLimit !== undefined && !restarts) {
    throw invalidOption(`${check.named('restartLimit')} goes with ${check.named('restart')}`);
  }
  if (options.killSignal !== undefined && !isSupervised) {
    throw invalidOption(
      `${check.named('killSignal')} goes with ${check.named('supervise')} or ${check.named('restart')}`,
    );
  }
  const limit = resolveLimit(options.restartLimit);
  const killSignal = check.signalNumber('killSignal', options.killSignal ?? 'SIGTERM');
  if (killSignal === constants.signals.SIGKILL || killSignal === constants.signals.SIGSTOP) {
    throw check.invalid('killSignal', 'a signal that a program can handle', options.killSignal);
  }
  if (!isSupervised) return null;
  if (pidFile === undefined) {
    const option = check.named(restarts ? 'restart' : 'supervise');
    throw invalidOption(
      `${option} needs ${check.named('name')} or ${check.named('pidFile')}, by which the daemon is stopped`,
    );
  }
  return { restart, limit, killSignal };
}

function resolveLimit(limit: unknown): Supervision['limit'] {
  if (limit === undefined) return null;
  if (!check.isRecord(limit))
    throw check.invalid('restartLimit', 'an object such as { times: 5, within: 60_000 }', limit);
  check.only(limit, 'times', 'within');
  const times = check.integer('restartLimit.times', limit['times'], 0, 1_000_000);
  const within = check.milliseconds('restartLimit.within', limit['within'], 0);
  if (within === 0) throw check.invalid('restartLimit.within', 'more than 0 milliseconds', limit['within']);
  return { times, within };
}
