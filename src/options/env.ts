/** The environment of a daemon: what it inherits, the option `env`, and the variables of daemonry. */
import type { LaunchRequest } from '../../index.js';
import { invalidOption, show } from '../errors.js';
import * as check from './check.js';

/** Left in a daemon's environment: it names the daemon and its script, for {@link isDaemonsWorker}. */
export const daemonVariable = 'DAEMONRY_DAEMON';

/** Left there, too: the descriptors of the daemon's sockets by their names, as JSON, for the workers of a cluster. */
export const socketsVariable = 'DAEMONRY_SOCKETS';

/**
 * Says to a program that makes itself a daemon that this start is the second half of a restart: how many stops had been requested
 * before, and the pidfile.
 */
const restartVariable = 'DAEMONRY_RESTART';

/** Decides the mode before everything else: for tests, debuggers and units. */
export const modeVariable = 'DAEMONRY_MODE';

/** The descriptor to which a program in the foreground writes a newline when it is up. */
export const readinessVariable = 'DAEMONRY_NOTIFY_FD';

/** What a supervisor says to the one process that it starts. */
const supervisorVariables = [
  'NOTIFY_SOCKET',
  'WATCHDOG_PID',
  'WATCHDOG_USEC',
  'SYSTEMD_EXEC_PID',
  'MAINPID',
  'PIDFILE',
  'MANAGERPID',
  'MANAGERPIDFDID',
  'FDSTORE',
  'XPC_SERVICE_NAME',
  modeVariable,
  readinessVariable,
];

/** Variables that mean one process and would mislead another: IPC, supervisors, test runners. */
const singleProcessVariables = new Set([
  ...supervisorVariables,
  'NODE_CHANNEL_FD',
  'NODE_CHANNEL_SERIALIZATION_MODE',
  'NODE_UNIQUE_ID',
  'LISTEN_PID',
  'LISTEN_FDS',
  'LISTEN_FDNAMES',
  'LISTEN_PIDFDID',
  // A daemon is no part of the service any more, nor is its output in the journal.
  'INVOCATION_ID',
  'JOURNAL_STREAM',
  // Of the shell that the launcher was started in.
  '_',
  'OLDPWD',
  'PWD',
  daemonVariable,
  socketsVariable,
  restartVariable,
]);

/** `copy` makes launchers fork as fork(2) does instead of into their own memory: for tests, measurements and doubts. */
export const forkVariable = 'DAEMONRY_FORK';

/** What a daemon inherits of its launcher's environment, as `NAME=value`: everything but what belongs to the launcher alone. */
export function inheritedEnv(): string[] {
  const variables: string[] = [];
  // Every look at process.env asks the C library, so each variable is looked at once.
  for (const [name, value] of Object.entries(process.env)) {
    if (singleProcessVariables.has(name)) continue;
    variables.push(`${name}=${name === 'NODE_OPTIONS' ? withoutInspector(value ?? '') : value}`);
  }
  return variables;
}

/** The names of the variables of a daemon that runs as its launcher's user. */
export function variableNames({ inheritedEnv, env }: Pick<LaunchRequest, 'inheritedEnv' | 'env'>): string[] {
  const names = new Set(inheritedEnv.map(nameOf));
  for (const change of env) {
    if (change.includes('=')) names.add(nameOf(change));
    else names.delete(change);
  }
  return [...names];
}

function nameOf(variable: string): string {
  return variable.slice(0, variable.indexOf('='));
}

/** The second half of a restart: one more stop than these cancels it. */
export interface Restart {
  readonly stopsBefore: number;
  readonly pidFile: string;
}

/** The environment of the program that is to do the second half of a restart. */
export function restarting({ stopsBefore, pidFile }: Restart): NodeJS.ProcessEnv {
  return { ...process.env, [restartVariable]: `${stopsBefore} ${pidFile}` };
}

/** What the restart that has started this process says, until {@link takeRestart}. */
export function pendingRestart(): Restart | undefined {
  const [, stopsBefore, pidFile] = /^(\d+) (.+)$/s.exec(process.env[restartVariable] ?? '') ?? [];
  return pidFile === undefined ? undefined : { stopsBefore: Number(stopsBefore), pidFile };
}

/** The same, once: it is for no other process. */
export function takeRestart(): Restart | undefined {
  const restart = pendingRestart();
  delete process.env[restartVariable];
  return restart;
}

/** Hides from what this process starts what its supervisor has said to it alone. */
export function forgetSupervisor(): void {
  for (const name of supervisorVariables) delete process.env[name];
}

/** An inspector stays with the launcher: its port can be had only once. */
function withoutInspector(options: string): string {
  return options.replaceAll(/(^|\s)--inspect(-brk|-wait|-port|-publish-uid)?(=\S*)?(?=\s|$)/g, '');
}

/** Remembers in the environment which daemon this is. */
export function markDaemon(): void {
  process.env[daemonVariable] = `${process.pid}:${process.argv[1] ?? ''}`;
}

/** The option `env`: `NAME=value` sets a variable, `NAME` removes one. */
export function resolveEnv(value: unknown): string[] {
  if (value === undefined) return [];
  if (!check.isRecord(value)) throw check.invalid('env', 'an object of strings', value);
  return Object.entries(value).map(([name, text]) => {
    if (name === '' || /[=\0]/.test(name))
      throw invalidOption(`${check.named('env')} has an impossible name: ${show(name)}`);
    if (text === undefined) return name;
    if (typeof text === 'string' && !text.includes('\0')) return `${name}=${text}`;
    throw check.invalid(`env.${name}`, 'a string without NUL, or undefined', text);
  });
}
