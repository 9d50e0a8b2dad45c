/** What a command is. */
import type { ParseArgsConfig } from 'node:util';

/** One command of the command line. */
export interface Command {
  readonly name: string;
  /** What follows the name on the usage line. */
  readonly usage: string;
  /** One sentence. */
  readonly summary: string;
  readonly options: Readonly<Record<string, Option>>;
  /** More lines of help. */
  readonly notes: readonly string[];
  /** For a command that takes a daemon's name and no pidfile: why. */
  readonly namedOnly?: string;
  /** For a command that takes a program: how many positionals stand before it. */
  readonly programAfter?: number;
  /** Does it; returns the exit code. */
  run(parsed: Parsed): number | Promise<number>;
  /** The exit code of an error, where it is not the usual one. */
  exitCodeOf?(error: unknown): number;
}

/** An option as `parseArgs` takes it, with its help. */
export type Option = NonNullable<ParseArgsConfig['options']>[string] & {
  /** How the value is called. */
  readonly value?: string;
  readonly help: string;
};

export interface Parsed {
  readonly command: Command;
  readonly values: Readonly<Record<string, string | boolean | (string | boolean)[] | undefined>>;
  readonly positionals: readonly string[];
  /** The program and its arguments, for a command that takes one. */
  readonly program: readonly string[];
}
