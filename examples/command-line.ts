/** What the command lines of the examples have in common. */
import { basename } from 'node:path';
import { DaemonError, daemonPaths, daemonStatus, stopDaemon } from 'daemonry';

/** What the user gave cannot be used; the message says what and where. */
export class BadInput extends Error {}

/** Checks that at most one command was given, and at most `most` arguments with it. Returns the command. */
export function onlyCommand<T extends object>(flags: T, args: readonly string[], most: (command?: keyof T) => number) {
  const [command, another] = Object.keys(flags) as (keyof T & string)[];
  if (another !== undefined) throw new BadInput(`--${command} and --${another} do not go together`);
  const surplus = args[most(command)];
  if (surplus !== undefined) throw new BadInput(`unexpected argument ${JSON.stringify(surplus)}`);
  return command;
}

/** Prints one sentence about an error that the user can do something about, and throws every other. */
export function explain(error: unknown, usage: string): void {
  const { message, code } = error as NodeJS.ErrnoException;
  const program = basename(process.argv[1] ?? '');
  if (code?.startsWith('ERR_PARSE_ARGS_')) {
    console.error(`${program}: ${message.split(/\. |\n/)[0]} (usage: ${usage})`);
  } else if (error instanceof BadInput || error instanceof DaemonError) {
    console.error(`${program}: ${message}`);
  } else {
    throw error;
  }
  process.exitCode = error instanceof DaemonError ? 1 : 2;
}

/** Prints the state of a daemon; the exit code tells it as those of init scripts do. */
export async function showStatus(name: string): Promise<void> {
  const daemon = await daemonStatus(name);
  const pid = 'pid' in daemon ? ` with pid ${daemon.pid}` : '';
  const since = 'since' in daemon ? ` since ${stamp(daemon.since)}` : '';
  console.log(`${name} is ${daemon.state}${pid}${since}`);
  console.log(`pidfile: ${daemon.pidFile}`);
  const { pidFile, logFile } = daemonPaths(name);
  // Another user's daemon of that name has its log elsewhere.
  if (daemon.pidFile === pidFile) console.log(`log: ${logFile}`);
  process.exitCode = { running: 0, stopping: 0, starting: 0, restarting: 0, dead: 1, stopped: 3, unknown: 4 }[
    daemon.state
  ];
}

/** Stops a daemon, and prints how that went. */
export async function kill(name: string): Promise<void> {
  const result = await stopDaemon(name);
  const pid = 'pid' in result ? ` (pid ${result.pid})` : '';
  console.log(`${name}: ${result.outcome}${pid}`);
}

/** Writes a line to the log. */
export function log(text: string): void {
  console.log(`${stamp(new Date())} ${text}`);
}

/** Weekday, date and local time, such as `Sat Nov 21 2026 07:00:00`. */
export function stamp(date: Date): string {
  return date.toString().slice(0, 24);
}
