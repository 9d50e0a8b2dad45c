/** Why a start failed, in words: the core's sentence with what only this side knows. */
import { inspect } from 'node:util';
import type { Failure } from '../index.js';
import type { ResolvedStart } from './options.js';

/** The sentence about a failed start. */
export function describeFailure(failure: Failure, options: ResolvedStart, hasMain: boolean): string {
  const { aliveFor, label, logPath, stderr, waitFor } = options;
  const { errorCode, message, path, stderr: said = '' } = failure;
  const missed = hasMain ? 'main had neither settled nor called ready()' : missing[waitFor];
  const unfinished = aliveFor > 0 ? `it was not up for ${aliveFor} ms` : missed;
  const log = stderr.kind === 'file' && said !== '' ? ` (see ${stderr.path})` : '';
  switch (errorCode) {
    case 'ERR_ALREADY_RUNNING':
      return `${label} is ${message}`;
    case 'ERR_START_FAILED': {
      // The daemon's own reason stands in the message already, behind a colon.
      const reason = message.includes(': ')
        ? undefined
        : (lastWords(said) ?? (failure.exitCode === 0 ? unfinished : undefined));
      return `${label} did not start: ${message}${reason === undefined ? '' : `: ${reason}`}${log}`;
    }
    case 'ERR_START_TIMEOUT': {
      const words = lastWords(said);
      // Somebody else's start, which says all that is known of it here.
      if (path !== undefined) return `${label} did not start: ${message}`;
      return `${label} did not start: ${message}: ${missed}${words === undefined ? '' : `, ${words}`}${log}`;
    }
    default: {
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
  const lines = said.split('\n').map((line) => line.trim());
  const thrown = lines.findLast((line) => /^(Uncaught )?([A-Z]\w*)?(Error|Exception)( \[\w+\])?: /.test(line));
  if (thrown !== undefined) return thrown;
  const last = lines.findLast((line) => line !== '' && !/^(Node\.js v|at |[}^])/.test(line));
  return last === undefined ? undefined : `its last words were ${JSON.stringify(last)}`;
}
