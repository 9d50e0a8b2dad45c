/** The sentence for a failed start: the core's, with what only TypeScript knows. */
import { inspect } from 'node:util';
import type { Failure } from '../../index.js';
import { downNow } from '../errors.js';
import { named } from '../options/check.js';
import type { ResolvedStart } from '../options/resolve.js';

/** The sentence about a failed start. */
export function failureMessage(failure: Failure, options: ResolvedStart, hasMain: boolean): string {
  const sentence = describe(failure, options, hasMain);
  return failure.isDown === true ? `${sentence}; ${downNow(options.label)}` : sentence;
}

function describe(failure: Failure, options: ResolvedStart, hasMain: boolean): string {
  const { label, request } = options;
  const { aliveFor, stderr, waitFor } = request;
  const { errorCode, message, step, path, address, exitCode, lastWords, advice, stderr: said = '' } = failure;
  // Before the start itself.
  if (errorCode === 'ERR_UNKNOWN_USER' || step === 'make-directory') return message;
  const missed = hasMain ? 'main had neither settled nor called ready()' : missing[waitFor];
  const unfinished = aliveFor > 0 ? `it was not up for ${aliveFor} ms` : missed;
  const log = stderr.kind === 'file' && said !== '' ? ` (see ${stderr.path})` : '';
  switch (errorCode) {
    case 'ERR_ALREADY_RUNNING':
    case 'ERR_OTHER_PROGRAM':
      return `${label} is ${message}`;
    case 'ERR_START_FAILED': {
      // The daemon's own reason stands in the message already, behind a colon.
      const known = exitCode === 0 ? [advice ?? lastWords ?? unfinished] : [lastWords, advice];
      const reason = message.includes(': ') ? '' : known.filter((part) => part !== undefined).join('; ');
      return `${label} did not start: ${message}${reason === '' ? '' : `: ${reason}`}${log}`;
    }
    case 'ERR_START_TIMEOUT': {
      // Another caller's start, or a host name that was not resolved: the message says all that is known here.
      if (path !== undefined || address !== undefined) return `${label} did not start: ${message}`;
      return `${label} did not start: ${message}: ${missed}${lastWords === undefined ? '' : `; ${lastWords}`}${log}`;
    }
    default: {
      const advice = step === 'chdir' && errorCode === 'EACCES' ? `: choose another with ${named('cwd')}` : '';
      return `${label} did not start: ${message}${advice}`;
    }
  }
}

const missing = {
  exec: 'it was not executed',
  start: 'daemonize() had not returned in it',
  ready: 'it had not called ready()',
};

/** Whatever was thrown, in one line. */
export function reasonOf(error: unknown): string {
  const text = error instanceof Error ? `${error.name}: ${error.message}` : inspect(error);
  return text.split('\n', 1)[0] ?? text;
}
