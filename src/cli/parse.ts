/** The arguments of a command. */
import { parseArgs } from 'node:util';
import { note } from '../launch/stderr.js';
import type { Command, Option, Parsed } from './command.js';
import { durationOf } from './quantity.js';
import { optionMeant } from './suggestions.js';

/** The command line itself is wrong; the message is one sentence. */
export class UsageError extends Error {
  readonly code = 'ERR_INVALID_OPTION';
}

/** What every command that prints has. */
export const jsonOption: Option = { type: 'boolean', help: 'print JSON' };

/** Parses strictly. For a command that takes a program, everything from that program on belongs to it. */
export function parse(command: Command, args: readonly string[]): Parsed {
  const options = { ...command.options, help: { type: 'boolean', short: 'h' } as const };
  const [own, program] = splitAtProgram(command, options, args);
  if (program.length > 0 && args[own.length] !== '--') noteMisplaced(command, program);
  try {
    const { values, positionals } = parseArgs({ args: [...own], options, allowPositionals: true });
    return { command, values, positionals, program };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (!code?.startsWith('ERR_PARSE_ARGS_')) throw error;
    throw new UsageError(inOurWords(command, code, message));
  }
}

/** What is wrong with the options, by the sentence of Node.js, and what to type instead. */
function inOurWords(command: Command, code: string, message: string): string {
  const [sentence = message] = message.split(/\. |\n/);
  const [, short = '', long = ''] = /'(?:-(\w))?(?:, )?(?:--([\w-]+))?/.exec(sentence) ?? [];
  const help = `see daemonry ${command.name} --help`;
  if (code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION') {
    if (command.namedOnly !== undefined && (short === 'p' || long === 'pid-file')) {
      return `daemonry ${command.name} takes a name, not a pidfile: ${command.namedOnly}`;
    }
    const meant = optionMeant(long, Object.keys(command.options));
    const given = long === '' ? `-${short}` : `--${long}`;
    return `unknown option ${given}: ${meant === undefined ? help : `did you mean --${meant}?`}`;
  }
  const value = command.options[long]?.value;
  if (value !== undefined && sentence.endsWith('missing')) return `--${long} needs a value: --${long} ${value}`;
  return `${sentence.charAt(0).toLowerCase()}${sentence.slice(1)}: ${help}`;
}

/** Whether to print JSON, also if the rest of the command line is wrong. */
export function wantsJson(command: Command, args: readonly string[]): boolean {
  const [own] = splitAtProgram(command, command.options, args);
  return 'json' in command.options && own.includes('--json');
}

/** What is the command's own, and the program: after `--`, or the first positional that the command itself does not take. */
function splitAtProgram(
  { programAfter }: Command,
  options: Record<string, Omit<Option, 'help'>>,
  args: readonly string[],
): [own: readonly string[], program: readonly string[]] {
  if (programAfter === undefined) return [args, []];
  const { tokens } = parseArgs({ args: [...args], options, allowPositionals: true, strict: false, tokens: true });
  const positionals = tokens.filter(({ kind }) => kind === 'positional');
  const [first, end] = [positionals[programAfter], tokens.find(({ kind }) => kind === 'option-terminator')];
  if (end !== undefined && end.index < (first?.index ?? Infinity)) {
    return [args.slice(0, end.index), args.slice(end.index + 1)];
  }
  return first === undefined ? [args, []] : [args.slice(0, first.index), args.slice(first.index)];
}

/** Other tools take their own options behind the program, too. Here they are the program's, which may be what was meant. */
function noteMisplaced({ name, options }: Command, [program = '', ...words]: readonly string[]): void {
  const end = words.indexOf('--');
  const place = (end < 0 ? words : words.slice(0, end)).findIndex((word) => {
    const [, option] = /^--([^=]+)/.exec(word) ?? [];
    return option !== undefined && Object.hasOwn(options, option);
  });
  if (place < 0) return;
  const given = words[place]!;
  const [option] = given.split('=', 1) as [string];
  const isWhole = given !== option || options[option.slice(2)]!.type === 'boolean';
  const right = [given, ...(isWhole ? [] : words.slice(place + 1, place + 2)), program].join(' ');
  note(`${option} is passed to ${program}; an option for daemonry goes before the program: daemonry ${name} ${right}`);
}

/** Something that a command cannot do without; the message says what to type. */
export function missing(what: 'daemon' | 'program' | 'signal', { name, usage }: Command): UsageError {
  return new UsageError(`no ${what} is given: daemonry ${name} ${usage}`);
}

export function text(values: Parsed['values'], option: string): string | undefined {
  return values[option] as string | undefined;
}

/** A whole number that is not negative. */
export function number(values: Parsed['values'], option: string): number | undefined {
  const given = text(values, option);
  if (given === undefined) return undefined;
  if (/^\d+$/.test(given)) return Number(given);
  throw new UsageError(`--${option} must be a whole number, not ${JSON.stringify(given)}`);
}

/** A duration, in milliseconds. */
export function duration(values: Parsed['values'], option: string): number | undefined {
  const given = text(values, option);
  if (given === undefined) return undefined;
  const milliseconds = durationOf(given);
  if (milliseconds !== undefined) return milliseconds;
  throw new UsageError(
    `--${option} must be a duration such as 500ms, 10s, 1.5m or 2h, or a whole number of milliseconds, not ${JSON.stringify(given)}`,
  );
}

/** What was given as `NAME=VALUE`. */
export function pairs(values: Parsed['values'], option: string): (readonly [name: string, value: string])[] {
  return ((values[option] as string[] | undefined) ?? []).map((setting) => {
    const at = setting.indexOf('=');
    if (at < 1) throw new UsageError(`--${option} must be NAME=VALUE, not ${JSON.stringify(setting)}`);
    return [setting.slice(0, at), setting.slice(at + 1)];
  });
}
