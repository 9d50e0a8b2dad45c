/** `daemonry unit`: what a supervisor wants to read, for a daemon that is on record or for any program. */
import { userInfo } from 'node:os';
import { resolve } from 'node:path';
import { absolute } from '../../files/working-directory.js';
import { native } from '../../native/index.js';
import * as check from '../../options/check.js';
import type { SpawnDaemonOptions } from '../../options/types.js';
import { locate } from '../../store/locate.js';
import { checkName } from '../../store/paths.js';
import type { Command, Parsed } from '../command.js';
import { exitCodes, NotConfiguredError } from '../exit-codes.js';
import { pairs, text, UsageError } from '../parse.js';
import { isOnPath, isScript, locateCommand, programOf } from '../program.js';
import { nameOnly } from '../targets.js';
import { units } from '../units/index.js';
import { labelOf, type Service } from '../units/service.js';
import { lastingPath } from '../version-managers.js';

const kinds = Object.keys(units);

export const unit: Command = {
  name: 'unit',
  usage: '[OPTIONS] NAME [[--] PROGRAM [ARGUMENT…]]',
  summary: "Print a supervisor's unit, script or manifest for a daemon that is on record, or for a program.",
  programAfter: 1,
  options: {
    for: { type: 'string', value: 'WHAT', help: `${kinds.join(', ')}` },
    user: { type: 'string', short: 'u', value: 'USER', help: 'the user to run as (in containers, default: 1000)' },
    cwd: {
      type: 'string',
      short: 'C',
      value: 'DIR',
      help: "its working directory (default: the record's, or this one)",
    },
    env: { type: 'string', short: 'e', value: 'NAME=VALUE', multiple: true, help: 'set a variable; may be repeated' },
    image: { type: 'string', short: 'i', value: 'IMAGE', help: 'the image of its containers (default: NAME:latest)' },
    plain: { type: 'boolean', help: 'the program does not call daemonize(), so it cannot say when it is up' },
  },
  namedOnly: 'only a named daemon has a record of how it was started',
  notes: [
    'NAME is what the program calls itself: daemonize({ name: NAME }).',
    'Without --for it is for systemd; on macOS for launchd. Nothing is installed: the first line says where it goes.',
    'Containers need an image with the project in /app, daemonry in its node_modules, and Node.js.',
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
  const cwd = absolute(text(values, 'cwd') ?? known.cwd);
  const service: Service = {
    ...known,
    name,
    cwd,
    env,
    user,
    containerUser: text(values, 'user') ?? '1000',
    home: user === undefined ? undefined : homeOf(user),
    daemonizes: known.daemonizes && values['plain'] !== true,
    program: lastingPath(known.program, cwd),
    daemonry: [process.execPath, lastingPath(absolute(process.argv[1]!), cwd)],
    isOnPath: isOnPath(known.program),
    image: text(values, 'image') ?? `${labelOf(name)}:latest`,
  };
  checkCharacters(service);
  process.stdout.write(units[kind]!(service));
  return exitCodes.success;
}

/**
 * No language of a supervisor has them all, and they come from a record or from the names of files: a line that stands in one of
 * these words must not become a line of the unit.
 */
function checkCharacters({ program, args, cwd, env, user, image }: Service): void {
  const words = [program, ...args, ...Object.values(env)];
  const single = [cwd, image, ...(user === undefined ? [] : [user])];
  const unfit = words.find((word) => /(?![\n\t])\p{Cc}/u.test(word)) ?? single.find((word) => /\p{Cc}/u.test(word));
  if (unfit !== undefined) {
    throw new UsageError(`a unit cannot contain ${JSON.stringify(unfit)}, which has a control character`);
  }
}

type Known = Pick<Service, 'program' | 'args' | 'cwd' | 'env' | 'user' | 'daemonizes' | 'stopTimeout' | 'killMode'>;

function byCommand(given: string, words: readonly string[]): Known {
  const { command, args } = programOf(given, words);
  const daemonizes = [given, ...words].some(isScript);
  return {
    program: locateCommand(command),
    args,
    cwd: '.',
    env: {},
    user: undefined,
    daemonizes,
    stopTimeout: undefined,
    killMode: 'session',
  };
}

function onRecord(name: string): Known {
  const { record } = locate(name);
  if (record === undefined) {
    throw new NotConfiguredError(
      `there is no record of how ${name} is started: start it once by that name, or give its program`,
    );
  }
  const { program, cwd, arguments: words } = record;
  const options = (record.options ?? {}) as SpawnDaemonOptions;
  const { env = {}, user, waitFor, killMode = 'session' } = options;
  return {
    program: locateCommand(program.includes('/') ? resolve(cwd, program) : program),
    args: words.slice(1),
    // What `spawnDaemon` has started runs in the directory of its option; everything else where it was started.
    cwd: resolve(cwd, check.path('cwd', options.cwd ?? '.')),
    env: Object.fromEntries(
      Object.entries(env).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
    ),
    user: user === undefined ? undefined : String(user),
    daemonizes: record.method !== 'spawnDaemon' || (waitFor ?? 'exec') !== 'exec',
    stopTimeout: record.stopTimeout,
    killMode,
  };
}

/** Root's services may run as any user; a user's run as that user, by number if the database has no name. */
function ownUser(): string | undefined {
  const uid = process.geteuid!();
  if (uid === 0) return undefined;
  try {
    return userInfo().username;
  } catch {
    return String(uid);
  }
}

/** Where a user's places are; unknown for one of another machine, or of a number without a name. */
function homeOf(user: string): string | undefined {
  return native().homeDirectory(user) ?? undefined;
}
