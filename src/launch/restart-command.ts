/** The command line by which the daemon becomes a fresh image of the running program. */
import { existsSync } from 'node:fs';
import { daemonError, type DaemonError } from '../errors.js';
import { absolute, calledScript } from '../files/working-directory.js';
import { native } from '../native/index.js';
import { isBunExecutable } from '../native/load.js';
import { isEvaluated } from '../options/script.js';

/** An executable and its arguments, `argv[0]` first. */
export interface Program {
  readonly program: string;
  readonly arguments: readonly string[];
  /** The script among them, where it is a file. */
  readonly script?: string;
}

/** How to execute this program again. Throws `ERR_NOT_RESTARTABLE` where that is impossible. */
export function runningProgram(): Program {
  const problem = problemWithArguments();
  if (problem !== undefined) throw notRestartable(problem);
  if (process.env['WATCH_REPORT_DEPENDENCIES'] !== undefined) throw watched();
  if (isSingleExecutable()) return singleExecutable();
  return 'deno' in process.versions ? denoProgram() : nodeProgram();
}

/** Node.js, and Bun, which lists its flags as Node does. */
function nodeProgram(): Program {
  const flags = withoutInspector(process.execArgv);
  if (hasFlag(flags, '--watch', '--watch-path', '--hot')) throw watched();
  const [script, ...args] = ownArguments();
  const evaluated = isEvaluated();
  if (hasFlag(flags, '-i', '--interactive') || (script === undefined && !evaluated)) throw nameless();
  if (!evaluated && /^(-|\/dev\/stdin|\/dev\/fd\/\d+|\/proc\/self\/fd\/\d+)$/.test(script ?? '')) {
    throw notRestartable(`a program read from ${script} cannot become a daemon: put it into a file`);
  }
  // Behind code on the command line come arguments, however they look.
  const rest = script === undefined ? [] : [...(evaluated ? ['--'] : []), script, ...args];
  return {
    program: process.execPath,
    arguments: [process.argv0, ...flags, ...rest],
    ...(evaluated || script === undefined ? {} : { script: absolute(script) }),
  };
}

/** The arguments of this process, from the script on. */
export function ownArguments(): string[] {
  const [, script, ...args] = process.argv;
  if (script === undefined) return [];
  return [isEvaluated() ? script : calledScript(script), ...args];
}

/** Deno does not list its flags; the kernel knows the whole command line. */
function denoProgram(): Program {
  const [, script, ...args] = process.argv;
  const [argv0, ...line] = native().commandLine();
  const place = line.length - args.length - 1;
  if (argv0 === undefined || script === undefined || !existsSync(script) || absolute(line[place] ?? '') !== script) {
    throw nameless();
  }
  const flags = withoutInspector(line.slice(0, place));
  if (hasFlag(flags, '--watch', '--watch-hmr')) throw watched();
  return { program: process.execPath, arguments: [argv0, ...flags, ...line.slice(place)], script };
}

/** The program is in the executable, flags included, which has its own path, or one that exists only in it, as its script. */
function singleExecutable(): Program {
  return { program: process.execPath, arguments: [process.argv0, ...process.argv.slice(2)] };
}

/** Why the arguments cannot be passed on: JavaScript replaces what is not UTF-8. */
export function problemWithArguments(): string | undefined {
  if (!process.argv.some((argument) => argument.includes('\uFFFD'))) return undefined;
  const argument = native().foreignArgument();
  return argument === null ? undefined : `the argument ${argument} is not UTF-8, and Node.js cannot pass it on`;
}

function isSingleExecutable(): boolean {
  if (isBunExecutable()) return true;
  // Not every runtime has it; importing it would fail there.
  const sea = process.getBuiltinModule?.('node:sea') as { isSea(): boolean } | undefined;
  return sea?.isSea() ?? false;
}

function hasFlag(flags: readonly string[], ...names: string[]): boolean {
  return flags.some((flag) => names.includes(flag.split('=', 1)[0] ?? ''));
}

/** `--inspect*` stays with the launcher: its port can be had only once. */
function withoutInspector(flags: readonly string[]): string[] {
  const takesValue = new Set(['--inspect-port', '--debug-port', '--inspect-publish-uid']);
  const isInspector = (flag: string) => /^--(inspect|debug-port)/.test(flag);
  return flags.filter((flag, index) => !isInspector(flag) && !takesValue.has(flags[index - 1] ?? ''));
}

function watched(): DaemonError {
  return notRestartable('a program under --watch cannot become a daemon: start it without --watch');
}

function nameless(): DaemonError {
  return notRestartable('a program on stdin or in the REPL cannot become a daemon: put it into a file');
}

function notRestartable(message: string): DaemonError {
  return daemonError('ERR_NOT_RESTARTABLE', message, {});
}
