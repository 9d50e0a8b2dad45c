/** A call that starts a program: `(command, args, options)`, or `(command, options)` for a program without arguments. */
import { invalidOption, show } from '../errors.js';
import { pathOf } from '../files/path-like.js';
import * as check from './check.js';

/** What such a call says. */
interface Call<Options> {
  /** The program's name or path. */
  readonly program: string;
  readonly args: readonly string[];
  /** Not checked yet. */
  readonly options: Options;
}

/** Checks the command and its arguments. */
export function resolveCall<Options extends object>(
  command: unknown,
  second: readonly string[] | Options | undefined = [],
  third?: Options,
): Call<Options> {
  const isShort = third === undefined && check.isRecord(second);
  const [args, options] = isShort ? [[], second] : [second, third === undefined ? {} : third];
  return { program: resolveCommand(command), args: checkArguments(args), options: options as Options };
}

function resolveCommand(command: unknown): string {
  const program = pathOf(command);
  if (program !== undefined) return program;
  const wanted = `a program's name or path${command instanceof URL ? ', or a local file: URL' : ''}`;
  throw invalidOption(`the command must be ${wanted}, not ${show(command)}`);
}

function checkArguments(args: unknown): readonly string[] {
  const isValid = (argument: unknown) => typeof argument === 'string' && !argument.includes('\0');
  // Not by `every`, which passes over holes.
  const wrong = Array.isArray(args) ? args.findIndex((argument) => !isValid(argument)) : undefined;
  if (wrong === -1) return args as readonly string[];
  const shown = show(wrong === undefined ? args : (args as unknown[])[wrong]);
  throw invalidOption(`the arguments must be an array of strings without NUL, not ${shown}`);
}
