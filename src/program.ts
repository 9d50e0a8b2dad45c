/** The command line by which the daemon becomes a fresh image of the running program. */
import { resolve } from 'node:path';
import { daemonError, type DaemonError } from './errors.js';
import { isEvaluated } from './script.js';

/** An executable and its arguments, `argv[0]` first. */
export interface Program {
  readonly program: string;
  readonly arguments: readonly string[];
  /** The script among them, where it is a file. */
  readonly script?: string;
}

/** How to execute this program again. Throws `ERR_NOT_RESTARTABLE` where that is impossible. */
export function runningProgram(): Program {
  const flags = withoutInspector(process.execArgv);
  const hasFlag = (...names: string[]) => flags.some((flag) => names.includes(flag.split('=', 1)[0] ?? ''));
  if (hasFlag('--watch', '--watch-path') || process.env['WATCH_REPORT_DEPENDENCIES'] !== undefined) {
    throw notRestartable("a program under node's --watch cannot become a daemon: start it without --watch");
  }
  const [, script, ...args] = process.argv;
  const evaluated = isEvaluated();
  if (hasFlag('-i', '--interactive') || (script === undefined && !evaluated)) {
    throw notRestartable('a program on stdin or in the REPL cannot become a daemon: put it into a file');
  }
  if (!evaluated && /^(-|\/dev\/stdin|\/dev\/fd\/\d+|\/proc\/self\/fd\/\d+)$/.test(script ?? '')) {
    throw notRestartable(`a program read from ${script} cannot become a daemon: put it into a file`);
  }
  // Behind code on the command line come arguments, however they look.
  const rest = script === undefined ? [] : [...(evaluated ? ['--'] : []), script, ...args];
  return {
    program: process.execPath,
    arguments: [process.argv0, ...flags, ...rest],
    ...(evaluated || script === undefined ? {} : { script: resolve(script) }),
  };
}

/** `--inspect*` stays with the launcher: its port can be had only once. */
function withoutInspector(flags: readonly string[]): string[] {
  const takesValue = new Set(['--inspect-port', '--debug-port', '--inspect-publish-uid']);
  const isInspector = (flag: string) => /^--(inspect|debug-port)/.test(flag);
  return flags.filter((flag, index) => !isInspector(flag) && !takesValue.has(flags[index - 1] ?? ''));
}

function notRestartable(message: string): DaemonError {
  return daemonError('ERR_NOT_RESTARTABLE', message, {});
}
