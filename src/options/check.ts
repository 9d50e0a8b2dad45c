/** Checks of single options: the value, the fallback where there is none, or `ERR_INVALID_OPTION` naming the option. */
import { constants } from 'node:os';
import { types } from 'node:util';
import { invalidOption, show } from '../errors.js';
import { pathOf } from '../files/path-like.js';

/** How messages spell an option: as this library does, unless a program that spells them otherwise has said so. */
let spelling = (option: string) => `option "${option}"`;

/** For the command, which has options of its own. */
export function spellOptions(as: (option: string) => string): void {
  spelling = as;
}

/** An option in a message, such as `option "listen.http"`. */
export function named(option: string): string {
  return spelling(option);
}

/** Node's timers end at once when they are given more. */
export const longestTimer = 2 ** 31 - 1;

/** Whether it is an object for its properties, as an array, a `Map`, a `Date` or a boxed value is not. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return Object.prototype.toString.call(value) === '[object Object]';
}

/** A path, as text. */
export function path(option: string, value: unknown): string {
  const found = pathOf(value);
  if (found !== undefined) return found;
  throw invalid(option, value instanceof URL ? 'a path or a local file: URL' : 'a path', value);
}

export function milliseconds(option: string, value: unknown, fallback: number): number {
  if (value === undefined) return fallback;
  if (typeof value !== 'number' || !(value >= 0)) throw invalid(option, 'a number of milliseconds', value);
  if (value > longestTimer) throw invalid(option, `at most ${longestTimer} milliseconds (24 days)`, value);
  return value;
}

export function mode(option: string, value: unknown, fallback: number): number {
  if (value === undefined) return fallback;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 0o777) return value;
  throw invalid(option, 'an integer from 0 to 0o777', value);
}

export function integer(option: string, value: unknown, least: number, most: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) return value;
  throw invalid(option, `an integer from ${least} to ${most}`, value);
}

export function boolean(option: string, value: unknown, fallback: boolean): boolean {
  if (value === undefined) return fallback;
  if (typeof value === 'boolean') return value;
  throw invalid(option, 'true or false', value);
}

export function oneOf<T extends string>(option: string, value: unknown, fallback: T, choices: readonly T[]): T {
  if (value === undefined) return fallback;
  if (choices.includes(value as T)) return value as T;
  const quoted = choices.map((choice) => `'${choice}'`);
  throw invalid(option, `${quoted.slice(0, -1).join(', ')} or ${quoted.at(-1)}`, value);
}

/** The number of the signal that an option names. */
export function signalNumber(option: string, value: unknown): number {
  // Where the table has a prototype, `constructor` is in it, too.
  if (typeof value === 'string' && Object.hasOwn(constants.signals, value)) {
    return constants.signals[value as NodeJS.Signals];
  }
  throw invalid(option, 'the name of a signal', value);
}

export function callback<T>(option: string, value: T): T {
  // An async function would be cut off: the launcher exits when it has returned.
  const isAsync = types.isAsyncFunction(value);
  if (value === undefined || (typeof value === 'function' && !isAsync)) return value;
  const given = isAsync ? 'an async one' : show(value);
  throw invalidOption(`${named(option)} must be a synchronous function, not ${given}`);
}

export function abortSignal(option: string, value: unknown): void {
  if (value === undefined) return;
  try {
    // What only inherits from one, or stands in front of one, cannot be asked.
    if (value instanceof AbortSignal && typeof value.aborted === 'boolean') return;
  } catch {}
  throw invalid(option, 'an AbortSignal', value);
}

/**
 * Throws for a Unix socket whose path the kernel cannot take: `sun_path` has room for 107 bytes on Linux and 103 on macOS
 * (unix(7), unix(4)).
 */
export function socketPath(socket: string): string {
  const most = process.platform === 'darwin' ? 103 : 107;
  const length = Buffer.byteLength(socket);
  if (length > most) {
    throw invalidOption(`the socket's path ${socket} is too long: it has ${length} bytes, and ${most} are possible`);
  }
  return socket;
}

/** Throws for options that are no object, and for one that is not `known`. */
export function only(options: object, ...known: string[]): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw invalidOption(`the options must be an object, not ${show(options)}`);
  }
  for (const option of Object.keys(options)) if (!known.includes(option)) throw unknownOption(option, known);
}

export function unknownOption(option: string, known: readonly string[]) {
  const plain = option
    .toLowerCase()
    .replaceAll(/[-_]/g, '')
    .replace(/^logfile$/, 'log');
  const meant = known.find((name) => name.toLowerCase() === plain);
  return invalidOption(`unknown option "${option}"${meant === undefined ? '' : `: did you mean "${meant}"?`}`);
}

export function invalid(option: string, wanted: string, value: unknown) {
  return invalidOption(`${named(option)} must be ${wanted}, not ${show(value)}`);
}
