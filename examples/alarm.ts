/**
 * An alarm clock: a daemon that rings the alarms of a JSON file, by running a command or by writing a line to its log.
 * FILE is by default the `alarms.json` beside this program.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { daemonize, daemonPaths, reloadDaemon, type Daemon } from 'daemonry';
import { explain, kill, log, onlyCommand, showStatus, stamp } from './command-line.js';
import { nextRing, readAlarms, Schedule, type Alarm } from './schedule.js';

const usage = 'alarm.ts [--name NAME] [[--list] [FILE] | --status | --reload | --kill]';
const tooLate = 3_600_000;

try {
  const { name, file, command } = commandLine();
  if (command === 'list') for (const alarm of readAlarms(file)) console.log(describe(alarm));
  else if (command === 'status') await showStatus(name);
  else if (command === 'reload') console.log(`${name}: reloaded (pid ${(await reloadDaemon(name)).pid})`);
  else if (command === 'kill') await kill(name);
  else start(name, file);
} catch (error) {
  explain(error, usage);
}

function commandLine() {
  const flag = { type: 'boolean' } as const;
  const options = { name: { type: 'string' }, list: flag, status: flag, reload: flag, kill: flag } as const;
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const { name = 'alarm', ...flags } = values;
  const command = onlyCommand(flags, positionals, (command) => (command === undefined || command === 'list' ? 1 : 0));
  const [file = fileURLToPath(new URL('alarms.json', import.meta.url))] = positionals;
  return { name, file: resolve(file), command };
}

function start(name: string, file: string): void {
  // Above the call, so that a bad file is reported before there is a daemon.
  const alarms = readAlarms(file);
  const onStarted = ({ pid }: { pid: number }) =>
    console.log(`${name} started with pid ${pid}, log ${daemonPaths(name).logFile}`);

  daemonize({ name, onStarted }, (daemon) => {
    log(`${name} started with pid ${daemon.pid}, alarms from ${file}`);
    ringAll(daemon, file, alarms);
  });
}

function ringAll(daemon: Daemon, file: string, alarms: readonly Alarm[]): void {
  const running = new Set<ChildProcess>();
  let schedule: Schedule;
  let timer: NodeJS.Timeout | undefined;
  load(alarms);

  // If it throws, the old alarms stay, and `--reload` says why.
  daemon.onReload(() => load(readAlarms(file)));
  daemon.onStop(() => {
    for (const { pid } of running) if (pid !== undefined) process.kill(-pid);
    log('stopped');
  });

  function load(alarms: readonly Alarm[]): void {
    schedule = new Schedule(alarms, new Date());
    log(`alarms loaded: ${alarms.length}`);
    for (const alarm of alarms) log(describe(alarm));
    look();
  }

  function look(): void {
    const now = new Date();
    for (const { alarm, ring } of schedule.due(now)) {
      // The machine slept, or its clock was set.
      if (now.getTime() - ring.getTime() > tooLate) log(`${JSON.stringify(alarm.label)} missed ${stamp(ring)}`);
      else void sound(alarm);
    }
    clearTimeout(timer);
    timer = setTimeout(look, schedule.wait(now));
  }

  async function sound({ label, command }: Alarm): Promise<void> {
    const title = JSON.stringify(label);
    log(`${title} rings`);
    if (command === undefined) return;
    try {
      // A process group of its own, so that stopping reaches all that the shell has started.
      const child = spawn(command, { shell: true, detached: true, stdio: ['ignore', 'inherit', 'inherit'] });
      running.add(child);
      const [code, signal] = await once(child, 'exit').finally(() => running.delete(child));
      log(`${title}: its command ended with ${code ?? signal}`);
    } catch (error) {
      log(`${title}: its command cannot be run: ${(error as Error).message}`);
    }
  }
}

function describe(alarm: Alarm): string {
  const { label, time, weekdays = ['every day'], command } = alarm;
  const ring = stamp(nextRing(alarm, new Date()));
  const action = command === undefined ? '' : `, runs ${JSON.stringify(command)}`;
  return `${JSON.stringify(label)} at ${time} ${weekdays.join(' ')}${action}, next ring ${ring}`;
}
