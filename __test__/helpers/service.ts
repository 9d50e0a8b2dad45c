/** Starting `fixtures/service.mjs`, the daemon that most tests use. */
import type { ExecutionContext } from 'ava';
import { stop } from '../../dist/index.js';
import { runFixture, type RunOptions } from './run.js';
import type { Behaviour } from '../fixtures/service.mjs';

/** Runs the service's launcher to its end. Options are those of `daemonize`, as far as JSON can carry them. */
export function launchService(options: object, behaviour: Behaviour = 'classic', run?: RunOptions) {
  return runFixture('service.mjs', [JSON.stringify(options), behaviour], run);
}

/** The same, for a test that needs it running: fails the test if it does not start, and stops it in the end. Returns its pid. */
export async function startService(
  t: ExecutionContext,
  options: { readonly pidFile: string; readonly [more: string]: unknown },
  behaviour: Behaviour = 'classic',
  run?: RunOptions,
): Promise<number> {
  const outcome = await launchService(options, behaviour, run);
  t.is(outcome.code, 0, outcome.stderr);
  t.teardown(() => stop({ pidFile: options.pidFile }));
  return Number(outcome.stdout.match(/^started (\d+)$/m)?.[1]);
}
