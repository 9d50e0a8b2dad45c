/** Every command. */
import type { ParseArgsConfig } from 'node:util';
import type { Parsed } from './arguments.js';
import { events } from './events.js';
import { forget } from './forget.js';
import { list } from './list.js';
import { logs } from './logs.js';
import { reload } from './reload.js';
import { restart } from './restart.js';
import { signal } from './signal.js';
import { start } from './start.js';
import { status } from './status.js';
import { stop } from './stop.js';
import { unit } from './unit.js';

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

export const commands: readonly Command[] = [
  start,
  stop,
  restart,
  reload,
  signal,
  status,
  logs,
  events,
  list,
  forget,
  unit,
];
