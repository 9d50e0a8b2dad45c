/** `daemonry restart`: stop, then start again as the record says. */
import { spawnSync } from 'node:child_process';
import { status, stopFor } from '../../control.js';
import {
  amended,
  daemonError,
  downAfter,
  downNow,
  isDaemonError,
  systemCallError,
  type DaemonError,
} from '../../errors.js';
import { reportUnrecorded, writeStderr } from '../../launch/stderr.js';
import { native, unwrap } from '../../native/index.js';
import { restarting, variableNames, type Restart } from '../../options/env.js';
import { resolveSpawn, withRequest } from '../../options/resolve.js';
import type { SpawnDaemonOptions } from '../../options/types.js';
import { rehearse, spawnResolved } from '../../spawn-daemon.js';
import { locate, type Located } from '../../store/locate.js';
import type { FullRecord } from '../../store/record.js';
import type { Command, Parsed } from '../command.js';
import { missingNow, variablesOf } from '../environment.js';
import { exitCodes, NotConfiguredError } from '../exit-codes.js';
import { spin } from '../output.js';
import { jsonOption } from '../parse.js';
import { allOption, chosen, forEach, isUp, namesOf, type Done } from '../targets.js';
import { stopOptions, stopOptionsOf } from './stop.js';

export const restart: Command = {
  name: 'restart',
  usage: '[OPTIONS] NAME… | --all',
  summary: 'Stop daemons and start them again as they were started, in the environment of this command.',
  options: { all: allOption, ...stopOptions, json: jsonOption },
  namedOnly: 'only a named daemon has a record of how it was started',
  notes: [
    'A daemon that is not running is only started. Program, arguments, directory, options and the',
    'variables of --env are on record; all other variables, PATH included, are those of this command.',
    'What is known to fail is found before anything is stopped. A stop that is requested meanwhile',
    'cancels the restart.',
  ],
  run: (parsed) => {
    const names = chosen(parsed, namesOf, isUp);
    // One after the other: no more than one is down at a time.
    return forEach(parsed, names, { inTurn: true, act: (name) => again(name, parsed) });
  },
};

async function again(name: string, parsed: Parsed): Promise<Done> {
  const { record, pidFile, journal } = recordOf(name);
  // One more stop than these cancels this restart.
  const stopsBefore = unwrap(native().stopsRequested(pidFile));
  const start = checked(name, () => startAgain(name, record, { stopsBefore, pidFile }, parsed));
  const running = status(name);
  const variables = 'pid' in running && running.pid !== undefined ? variablesOf(running.pid) : [];
  const missing = missingNow(variables, start.variables);
  /** The error, with what has become of a daemon that this command has stopped. */
  const explained = (error: unknown, hasStopped: boolean) =>
    hasStopped && isDaemonError(error) && !isUp(status(name)) ? downAfter(error, name, missing) : error;

  const stopping = stopFor('restart', name, stopOptionsOf(parsed.values));
  const { outcome } = await spin(`${name} stops`, stopping).catch((error: unknown) => {
    // The main process can have ended although others of its session did not.
    throw explained(error, isUp(running));
  });
  const hasStopped = outcome !== 'not-running';
  const code = await start.run().catch((error: unknown) => {
    const shown = explained(error, hasStopped);
    if (isDaemonError(error) && error.code !== 'ERR_START_CANCELLED' && shown !== error)
      noteFailedStart(journal, error.message);
    throw shown;
  });
  const found = status(name);
  if (code !== exitCodes.success || !isUp(found)) {
    if (unwrap(native().stopsRequested(pidFile)) !== stopsBefore) throw explained(cancelled(name), hasStopped);
  }
  if (code !== exitCodes.success) {
    const isDown = hasStopped && !isUp(found);
    if (isDown) {
      noteFailedStart(journal, `the program exited with code ${code} before it was up`);
      // The program has said why.
      writeStderr(`daemonry: ${name} did not start; ${downNow(name)}${missing}\n`);
    }
    const message = `${name} did not start: its program exited with code ${code}`;
    const failure = { code: 'ERR_START_FAILED', message, exitCode: code, stderr: '', ...(isDown ? { isDown } : {}) };
    return { text: '', result: failure, exitCode: code };
  }
  const pid = 'pid' in found ? found.pid : undefined;
  const result = { outcome: 'restarted', pid, pidFile: found.pidFile };
  return { text: `${name} restarted with pid ${pid}\n`, result };
}

function cancelled(name: string): DaemonError {
  const message = `${name} did not start: a stop was requested meanwhile, which cancelled the start`;
  return daemonError('ERR_START_CANCELLED', message, { stderr: '' });
}

/** Writes into the journal that a restart has failed, unless the start itself has done so. */
function noteFailedStart(journal: string | undefined, reason: string): void {
  if (journal !== undefined) reportUnrecorded(native().noteFailedStart(journal, reason)?.message);
}

function recordOf(name: string): Located & { readonly record: FullRecord } {
  const found = locate(name);
  const { record } = found;
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
  return { ...found, record };
}

/** Reports what is known to fail before the daemon is stopped. */
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

function startAgain(name: string, record: FullRecord, restart: Restart, { values }: Parsed): Again {
  const { program, arguments: words, cwd } = record;
  const args = words.slice(1);
  const options = record.method === 'spawnDaemon' ? recordedOptions(record) : placesOf(record);
  const { stopsBefore } = restart;
  // Of several restarts at once all get the daemon that comes up.
  const resolved = withRequest(resolveSpawn(program, options, cwd), { ifRunning: 'reuse', stopsBefore });
  rehearse(program, args, options, resolved);
  const again = async () => {
    await spin(`${name} starts`, spawnResolved(program, args, options, resolved, true));
    return exitCodes.success;
  };
  return {
    variables: variableNames(resolved.request),
    run: record.method === 'daemonize' ? async () => runAgain(record, restart, values) : again,
  };
}

function recordedOptions({ options }: FullRecord): SpawnDaemonOptions {
  const { env, ...others } = (options ?? {}) as SpawnDaemonOptions;
  return env === undefined ? others : { ...others, env: withDeleted(env) };
}

/** What is on record of the options of a program that makes itself a daemon. Its log is another user's if it is. */
function placesOf({ name, pidFile, logFile, uid }: FullRecord): SpawnDaemonOptions {
  return { name, pidFile, ...(logFile === undefined || uid !== process.geteuid?.() ? {} : { log: logFile }) };
}

/** JSON has null where a variable is to be deleted. */
function withDeleted(env: NonNullable<SpawnDaemonOptions['env']>): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(env).map(([name, value]) => [name, value ?? undefined]));
}

/** A program that makes itself a daemon says itself whether that succeeded. */
function runAgain(
  { program, arguments: [argv0, ...args], cwd }: FullRecord,
  restart: Restart,
  values: Parsed['values'],
): number {
  const { status, error } = spawnSync(program, args, {
    cwd,
    // By this the next record calls the directory as this one does.
    env: { ...restarting(restart), PWD: cwd },
    stdio: ['ignore', values['json'] ? process.stderr : 'inherit', 'inherit'],
    ...(argv0 === undefined ? {} : { argv0 }),
  });
  if (error !== undefined) throw systemCallError('exec', 'execute', program, error);
  return status ?? exitCodes.failure;
}
