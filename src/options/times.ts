/** How long a start and a stop may take: the options `startTimeout`, `aliveFor` and `stopTimeout`. */
import { invalidOption } from '../errors.js';
import * as check from './check.js';
import { defaults } from './defaults.js';
import type { StartOptions } from './types.js';

export function resolveTimes(options: StartOptions) {
  const startTimeout = check.milliseconds('startTimeout', options.startTimeout, defaults.startTimeout);
  if (startTimeout === 0) throw check.invalid('startTimeout', 'more than 0 milliseconds', startTimeout);
  const aliveFor = check.milliseconds('aliveFor', options.aliveFor, defaults.aliveFor);
  if (aliveFor > 0 && aliveFor >= startTimeout) {
    throw invalidOption(
      `${check.named('aliveFor')} (${aliveFor}) must be less than ${check.named('startTimeout')} (${startTimeout})`,
    );
  }
  const stopTimeout = check.milliseconds('stopTimeout', options.stopTimeout, defaults.stopTimeout);
  return { startTimeout, aliveFor, stopTimeout };
}
