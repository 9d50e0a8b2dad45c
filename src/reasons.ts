/** Why a start failed, in words: the core's sentence with what only this side knows. */
import { inspect } from 'node:util';
import type { Failure } from '../index.js';
import { downNow } from './errors.js';
import type { ResolvedStart } from './options.js';
import { withoutSequences } from './printable.js';

/** The sentence about a failed start. */
export function describeFailure(failure: Failure, options: ResolvedStart, hasMain: boolean): string {
  const sentence = describe(failure, options, hasMain);
  return failure.isDown === true ? `${sentence}; ${downNow(options.label)}` : sentence;
}

function describe(failure: Failure, options: ResolvedStart, hasMain: boolean): string {
  const { aliveFor, label, logPath, stderr, waitFor } = options;
  const { errorCode, message, path, address, exitCode, advice, stderr: said = '' } = failure;
  const missed = hasMain ? 'main had neither settled nor called ready()' : missing[waitFor];
  const unfinished = aliveFor > 0 ? `it was not up for ${aliveFor} ms` : missed;
  const log = stderr.kind === 'file' && said !== '' ? ` (see ${stderr.path})` : '';
  switch (errorCode) {
    case 'ERR_ALREADY_RUNNING':
    case 'ERR_OTHER_PROGRAM':
      return `${label} is ${message}`;
    case 'ERR_START_FAILED': {
      // The daemon's own reason stands in the message already, behind a colon.
      const words = lastWords(said);
      const known = exitCode === 0 ? [advice ?? words ?? unfinished] : [words, advice];
      const reason = message.includes(': ') ? '' : known.filter((part) => part !== undefined).join('; ');
      return `${label} did not start: ${message}${reason === '' ? '' : `: ${reason}`}${log}`;
    }
    case 'ERR_START_TIMEOUT': {
      const words = lastWords(said);
      // Another caller's start, or a host name that was not resolved: the message says all that is known here.
      if (path !== undefined || address !== undefined) return `${label} did not start: ${message}`;
      return `${label} did not start: ${message}: ${missed}${words === undefined ? '' : `, ${words}`}${log}`;
    }
    default: {
      if (failure.step === 'chdir' && errorCode === 'EACCES') {
        return `${label} did not start: ${message}: choose another directory (cwd)`;
      }
      const isLog = path !== undefined && path === logPath;
      return `${label} did not start: ${isLog ? message.replace(/standard (output|error)/, 'the log') : message}`;
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

/** The line of a stack trace that tells most, else the last line that was written. */
function lastWords(said: string): string | undefined {
  const lines = withoutSequences(said)
    .split('\n')
    .map((line) => line.trim());
  const thrown = lines.findLast((line) => /^(Uncaught )?([A-Z]\w*)?(Error|Exception)( \[\w+\])?: /.test(line));
  if (thrown !== undefined) return thrown;
  const last = lines.findLast((line) => line !== '' && !/^(Node\.js v|at |[}^])/.test(line));
  return last === undefined ? undefined : `its last words were ${JSON.stringify(last)}`;
}
