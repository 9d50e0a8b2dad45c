/** `daemonry unit`: what a supervisor wants to read, for a daemon that is on record or for any program. */
import { userInfo } from 'node:os';
import { resolve } from 'node:path';
import * as check from '../check.js';
import { isFailure, native } from '../native.js';
import type { SpawnDaemonOptions } from '../options.js';
import { checkName, systemPlaces } from '../places.js';
import type { FullRecord } from '../record.js';
import { locate } from '../target.js';
import { nameOnly, pairs, text, UsageError, type Parsed } from './arguments.js';
import type { Command } from './commands.js';
import { exitCodes, NotConfiguredError } from './exit.js';
import { isOnPath, isScript, locateCommand, programOf } from './programs.js';
import { units, type Service } from './units/index.js';
import { labelOf } from './units/service.js';

const kinds = Object.keys(units);

export const unit: Command = {
  name: 'unit',
  usage: '[OPTIONS] NAME [[--] PROGRAM [ARGUMENT…]]',
  summary: "Print a supervisor's unit, script or manifest for a daemon that is on record, or for a program.",
  programAfter: 1,
  options: {
    for: { type: 'string', value: 'WHAT', help: `${kinds.join(', ')}` },
    user: { type: 'string', short: 'u', value: 'USER', help: 'who it is to be; in containers 1000' },
    cwd: {
      type: 'string',
      short: 'C',
      value: 'DIR',
      help: "its working directory (default: the record's, or this one)",
    },
    env: { type: 'string', short: 'e', value: 'NAME=VALUE', multiple: true, help: 'set a variable; may be repeated' },
    image: { type: 'string', short: 'i', value: 'IMAGE', help: 'of its containers (default: NAME:latest)' },
    plain: { type: 'boolean', help: 'the program does not call daemonize(), so it cannot say when it is up' },
  },
  notes: [
    'NAME is what the program calls itself: daemonize({ name: NAME }).',
    'Without --for it is for systemd; on macOS for launchd. Nothing is installed: the first line says where it goes.',
    'Containers need an image with the project in its working directory, daemonry in node_modules, and Node.js.',
  ],
  run,
};

function run(parsed: Parsed): number {
  const { values, program } = parsed;
  const name = nameOnly(parsed);
  checkName(name);
  const [given, ...args] = program;
  const kind = check.oneOf('for', text(values, 'for'), process.platform === 'darwin' ? 'launchd' : 'systemd', kinds);
  const known = given === undefined ? onRecord(name) : byCommand(given, args);
  const user = text(values, 'user') ?? known.user ?? ownUser();
  const env = { ...known.env, ...Object.fromEntries(pairs(values, 'env')) };
  const unfit = Object.keys(env).find((variable) => !/^[A-Za-z_][A-Za-z0-9_]*$/.test(variable));
  if (unfit !== undefined) {
    throw new UsageError(`a unit cannot set the variable ${JSON.stringify(unfit)}: it must be letters, digits and _`);
  }
  const service: Service = {
    ...known,
    name,
    cwd: resolve(text(values, 'cwd') ?? known.cwd),
    env,
    user,
    containerUser: text(values, 'user') ?? '1000',
    home: user === undefined ? undefined : homeOf(user),
    daemonizes: known.daemonizes && values['plain'] !== true,
    pidFile: systemPlaces(name).pidFile,
    daemonry: [process.execPath, resolve(process.argv[1]!)],
    isOnPath: isOnPath(known.program),
    image: text(values, 'image') ?? `${labelOf(name)}:latest`,
  };
  process.stdout.write(units[kind]!(service));
  return exitCodes.success;
}

type Known = Pick<Service, 'program' | 'args' | 'cwd' | 'env' | 'user' | 'daemonizes'>;

function byCommand(given: string, words: readonly string[]): Known {
  const { command, args } = programOf(given, words);
  const daemonizes = [given, ...words].some(isScript);
  return { program: locateCommand(command), args, cwd: process.cwd(), env: {}, user: undefined, daemonizes };
}

function onRecord(name: string): Known {
  const { record } = locate(name);
  if (record === undefined) {
    throw new NotConfiguredError(
      `there is no record of how ${name} is started: start it once by that name, or give its program`,
    );
  }
  const { program, cwd, arguments: words } = record;
  const { env = {}, user, waitFor } = (record.options ?? {}) as SpawnDaemonOptions;
  return {
    program: locateCommand(program),
    args: words.slice(1),
    cwd: cwdOf(record, cwd),
    env: Object.fromEntries(
      Object.entries(env).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
    ),
    user: user === undefined ? undefined : String(user),
    daemonizes: record.startedBy !== 'spawnDaemon' || (waitFor ?? 'exec') !== 'exec',
  };
}

/** What `spawnDaemon` has started runs in the directory of its option; everything else where it was started. */
function cwdOf({ startedBy, options }: FullRecord, cwd: string): string {
  const { cwd: option } = (options ?? {}) as SpawnDaemonOptions;
  return startedBy === 'spawnDaemon' ? resolve(cwd, option ?? '/') : cwd;
}

/** Root's services may be anybody's; those of a user are his. */
function ownUser(): string | undefined {
  return process.geteuid?.() === 0 ? undefined : userInfo().username;
}

/** Where a user's places are; unknown for one of another machine, or of a number without a name. */
function homeOf(user: string): string | undefined {
  const account = native().lookUpUser(/^\d+$/.test(user) ? Number(user) : user, undefined, undefined);
  return isFailure(account) ? undefined : account.home;
}
