/** `daemonry restart`: stop, then start again as the record says. */
import { spawnSync } from 'node:child_process';
import { status, stop } from '../control.js';
import { systemCallError } from '../errors.js';
import { resolveSpawn, type SpawnDaemonOptions } from '../options.js';
import type { FullRecord } from '../record.js';
import { spawnResolved } from '../spawn.js';
import { locate } from '../target.js';
import { jsonOption, nameOnly, type Parsed } from './arguments.js';
import type { Command } from './commands.js';
import { exitCodes, NotConfiguredError } from './exit.js';
import { printJson, spin } from './output.js';
import { stopOptions, stopOptionsOf } from './stop.js';

export const restart: Command = {
  name: 'restart',
  usage: '[OPTIONS] NAME',
  summary: 'Stop a daemon and start it again as it was started, in the environment of this command.',
  options: { ...stopOptions, json: jsonOption },
  notes: ['One that is not running is only started. Program, arguments, directory and options are on record.'],
  run,
};

async function run(parsed: Parsed): Promise<number> {
  const name = nameOnly(parsed);
  const record = recordOf(name);
  try {
    // Where its relative paths lead.
    process.chdir(record.cwd);
  } catch (error) {
    throw systemCallError('chdir', 'change the working directory to', record.cwd, error);
  }
  await spin(`${name} stops`, stop(name, stopOptionsOf(parsed.values)));
  const code = record.startedBy === 'spawnDaemon' ? await spawnAgain(name, record) : runAgain(record, parsed);
  if (code !== exitCodes.success) return code;
  const found = status(name);
  const pid = 'pid' in found ? found.pid : undefined;
  if (parsed.values['json']) printJson({ name, outcome: 'restarted', pid, pidFile: found.pidFile });
  else process.stdout.write(`${name} restarted with pid ${pid}\n`);
  return exitCodes.success;
}

function recordOf(name: string): FullRecord {
  const { record } = locate(name);
  if (record === undefined) {
    throw new NotConfiguredError(`there is no record of how ${name} is started: it was never started by that name`);
  }
  if (record.startedBy === 'supervisor') {
    throw new NotConfiguredError(`${name} was started in the foreground: whoever did that has to restart it`);
  }
  return record;
}

async function spawnAgain(label: string, { program, arguments: args, options }: FullRecord): Promise<number> {
  const { env, ...others } = (options ?? {}) as SpawnDaemonOptions;
  const again: SpawnDaemonOptions = env === undefined ? others : { ...others, env: withDeleted(env) };
  const resolved = resolveSpawn(program, again);
  await spin(`${label} starts`, spawnResolved(program, args.slice(1), again, resolved, true));
  return exitCodes.success;
}

/** JSON has null where a variable is to be deleted. */
function withDeleted(env: NonNullable<SpawnDaemonOptions['env']>): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(env).map(([name, value]) => [name, value ?? undefined]));
}

/** A program that makes itself a daemon says itself whether that succeeded. */
function runAgain({ program, arguments: [argv0, ...args] }: FullRecord, { values }: Parsed): number {
  const { status, error } = spawnSync(program, args, {
    stdio: ['ignore', values['json'] ? process.stderr : 'inherit', 'inherit'],
    ...(argv0 === undefined ? {} : { argv0 }),
  });
  if (error !== undefined) throw systemCallError('exec', 'execute', program, error);
  return status ?? exitCodes.failure;
}
