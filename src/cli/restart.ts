/** `daemonry restart`: stop, then start again as the record says. */
import { spawnSync } from 'node:child_process';
import { status, stop } from '../control.js';
import { systemCallError } from '../errors.js';
import { resolveSpawn, type SpawnDaemonOptions } from '../options.js';
import type { FullRecord } from '../record.js';
import { spawnResolved } from '../spawn.js';
import { locate, type Target } from '../target.js';
import { jsonOption, labelOf, targetOf, targetOption, type Parsed } from './arguments.js';
import type { Command } from './commands.js';
import { exitCodes, NotConfiguredError } from './exit.js';
import { printJson, spin } from './output.js';
import { stopOptions, stopOptionsOf } from './stop.js';

export const restart: Command = {
  name: 'restart',
  usage: '[OPTIONS] NAME',
  summary: 'Stop a daemon and start it again as it was started, in the environment of this command.',
  options: { 'pid-file': targetOption, ...stopOptions, json: jsonOption },
  notes: ['One that is not running is only started. Program, arguments, directory and options are on record.'],
  run,
};

async function run(parsed: Parsed): Promise<number> {
  const target = targetOf(parsed);
  const label = labelOf(target);
  const record = recordOf(target);
  try {
    // Where its relative paths lead.
    process.chdir(record.cwd);
  } catch (error) {
    throw systemCallError('chdir', 'change the working directory to', record.cwd, error);
  }
  await spin(`${label} stops`, stop(target, stopOptionsOf(parsed.values)));
  const code = record.startedBy === 'spawnDaemon' ? await spawnAgain(label, record) : runAgain(record, parsed);
  if (code !== exitCodes.success) return code;
  const found = status(target);
  const pid = 'pid' in found ? found.pid : undefined;
  if (parsed.values['json']) printJson({ name: found.name, outcome: 'restarted', pid, pidFile: found.pidFile });
  else process.stdout.write(`${label} restarted with pid ${pid}\n`);
  return exitCodes.success;
}

function recordOf(target: Target): FullRecord {
  const { record, name } = locate(target);
  if (record === undefined) {
    const reason = name === undefined ? 'only named daemons have one' : 'it was never started by that name';
    throw new NotConfiguredError(`there is no record of how ${labelOf(target)} is started: ${reason}`);
  }
  if (record.startedBy === 'supervisor') {
    throw new NotConfiguredError(`${labelOf(target)} runs in the foreground of a supervisor, which has to restart it`);
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
