/** `daemonry restart`: stop, then start again as the record says. */
import { spawnSync } from 'node:child_process';
import { status, stopFor } from '../control.js';
import { amended, downNow, isDaemonError, systemCallError } from '../errors.js';
import { resolveSpawn, type SpawnDaemonOptions } from '../options.js';
import { say } from '../say.js';
import { rehearse, spawnResolved } from '../spawn.js';
import { locate, noteFailedStart, type FullRecord } from '../store.js';
import { jsonOption, namesOf, type Parsed } from './arguments.js';
import type { Command } from './commands.js';
import { exitCodes, NotConfiguredError } from './exit.js';
import { spin } from './output.js';
import { allOption, chosen, forEach, isUp, type Done } from './several.js';
import { stopOptions, stopOptionsOf } from './stop.js';
import { variablesOf, missingNow } from './variables.js';

export const restart: Command = {
  name: 'restart',
  usage: '[OPTIONS] NAME… | --all',
  summary: 'Stop daemons and start them again as they were started, in the environment of this command.',
  options: { all: allOption, ...stopOptions, json: jsonOption },
  namedOnly: 'only a named daemon has a record of how it was started',
  notes: [
    'A daemon that is not running is only started. Program, arguments, directory, options and the',
    'variables of --env are on record; all other variables, PATH included, are those of this command.',
    'What is known to fail is found before anything is stopped.',
  ],
  run: (parsed) => {
    const names = chosen(parsed, namesOf, isUp);
    // One after the other: no more than one is down at a time.
    return forEach(parsed, names, { inTurn: true, act: (name) => again(name, parsed) });
  },
};

async function again(name: string, parsed: Parsed): Promise<Done> {
  const record = recordOf(name);
  const start = checked(name, () => startAgain(name, record, parsed));
  const running = status(name);
  const variables = 'pid' in running && running.pid !== undefined ? variablesOf(running.pid) : [];
  const { outcome } = await spin(`${name} stops`, stopFor('restart', name, stopOptionsOf(parsed.values)));
  // Another command may have started it meanwhile.
  const isDownNow = () => outcome !== 'not-running' && !isUp(status(name));
  const missing = missingNow(variables, start.variables);
  const code = await start.run().catch((error: unknown) => {
    if (!isDaemonError(error) || !isDownNow()) throw error;
    noteFailedStart(name, error.message);
    throw amended(error, `${error.message}; ${downNow(name)}${missing}`, { isDown: true });
  });
  if (code !== exitCodes.success) {
    const down = isDownNow() ? `${downNow(name)}${missing}` : undefined;
    if (down !== undefined) {
      noteFailedStart(name, `the program exited with code ${code} before it was up`);
      // The program has said why.
      say(`daemonry: ${name} did not start; ${down}\n`);
    }
    const message = `${name} did not start: its program exited with code ${code}`;
    const isDown = down === undefined ? {} : { isDown: true };
    const failure = { code: 'ERR_START_FAILED', message, exitCode: code, stderr: '', ...isDown };
    return { text: '', result: failure, exitCode: code };
  }
  const found = status(name);
  const pid = 'pid' in found ? found.pid : undefined;
  const result = { outcome: 'restarted', pid, pidFile: found.pidFile };
  return { text: `${name} restarted with pid ${pid}\n`, result };
}

function recordOf(name: string): FullRecord {
  const { record } = locate(name);
  if (record === undefined) {
    throw new NotConfiguredError(
      `there is no record of how ${name} is started: no daemon of that name has been started`,
    );
  }
  if (record.method === 'foreground') {
    throw new NotConfiguredError(
      `${name} was started in the foreground: restart it by the supervisor or shell that started it`,
    );
  }
  return record;
}

/** What is known to fail is told before the daemon is stopped. */
function checked<T>(name: string, prepare: () => T): T {
  try {
    return prepare();
  } catch (error) {
    const isRunning = ['running', 'starting'].includes(status(name).state);
    if (!isDaemonError(error)) throw error;
    throw amended(error, `${name} was not restarted${isRunning ? ', and runs on' : ''}: ${error.message}`);
  }
}

/** A start that is not known to fail, with the names of the variables that it will have. */
interface Again {
  readonly variables: readonly string[];
  /** Returns the exit code. */
  run(): Promise<number>;
}

function startAgain(name: string, record: FullRecord, { values }: Parsed): Again {
  const { program, arguments: words, cwd } = record;
  const args = words.slice(1);
  const options = record.method === 'spawnDaemon' ? recordedOptions(record) : placesOf(record);
  const resolved = resolveSpawn(program, options, cwd);
  rehearse(program, args, options, resolved);
  const again = async () => {
    await spin(`${name} starts`, spawnResolved(program, args, options, resolved, true));
    return exitCodes.success;
  };
  return {
    variables: resolved.environment([]).map((variable) => variable.split('=', 1)[0]!),
    run: record.method === 'daemonize' ? async () => runAgain(record, values) : again,
  };
}

function recordedOptions({ options }: FullRecord): SpawnDaemonOptions {
  const { env, ...others } = (options ?? {}) as SpawnDaemonOptions;
  return env === undefined ? others : { ...others, env: withDeleted(env) };
}

/** What is on record of the options of a program that makes itself a daemon. Its log is another user's if it is. */
function placesOf({ name, logFile, uid }: FullRecord): SpawnDaemonOptions {
  return { name, ...(logFile === undefined || uid !== process.geteuid?.() ? {} : { log: logFile }) };
}

/** JSON has null where a variable is to be deleted. */
function withDeleted(env: NonNullable<SpawnDaemonOptions['env']>): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(env).map(([name, value]) => [name, value ?? undefined]));
}

/** A program that makes itself a daemon says itself whether that succeeded. */
function runAgain({ program, arguments: [argv0, ...args], cwd }: FullRecord, values: Parsed['values']): number {
  const { status, error } = spawnSync(program, args, {
    cwd,
    // By this the next record calls the directory as this one does.
    env: { ...process.env, PWD: cwd },
    stdio: ['ignore', values['json'] ? process.stderr : 'inherit', 'inherit'],
    ...(argv0 === undefined ? {} : { argv0 }),
  });
  if (error !== undefined) throw systemCallError('exec', 'execute', program, error);
  return status ?? exitCodes.failure;
}
