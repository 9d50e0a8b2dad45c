/** The environment of a daemon: the options `env` and `extendEnv`, and the variables of daemonry. */
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
]);

/** `copy` makes launchers fork as fork(2) does instead of into their own memory: for tests, measurements and doubts. */
export const forkVariable = 'DAEMONRY_FORK';

/** Variables to set; `undefined` deletes. */
export type Variables = Readonly<Record<string, string | undefined>>;

/**
 * The daemon's environment as `NAME=value`: the launcher's (unless `extendEnv` is false) without what belongs to the launcher
 * alone, then what changes for another user (`NAME=value` sets a variable, `NAME` removes it), then `env`.
 */
export function daemonEnvironment(
  env: Variables,
  extendEnv: boolean,
  ofUser: readonly string[],
  own: Variables = process.env,
): string[] {
  // A map: in an object, `constructor` and `toString` would seem to be set.
  const set = new Map<string, string | undefined>(ofUser.map(splitVariable));
  for (const [name, value] of Object.entries(env)) set.set(name, value);
  const variables: string[] = [];
  // Every look at process.env asks the C library, so each variable is looked at once.
  for (const [name, value] of extendEnv ? Object.entries(own) : []) {
    if (singleProcessVariables.has(name) || set.has(name)) continue;
    variables.push(`${name}=${name === 'NODE_OPTIONS' ? withoutInspector(value ?? '') : value}`);
  }
  for (const [name, value] of set) if (value !== undefined) variables.push(`${name}=${value}`);
  return variables;
}

/** The name of a variable, and its value unless it is to be removed. */
function splitVariable(variable: string): [name: string, value: string | undefined] {
  const at = variable.indexOf('=');
  return at < 0 ? [variable, undefined] : [variable.slice(0, at), variable.slice(at + 1)];
}

/** The second half of a restart: one more stop than these cancels it. */
export interface Restart {
  readonly stopsBefore: number;
  readonly pidFile: string;
}

/** The environment of the program that is to do the second half of a restart. */
export function restarting({ stopsBefore, pidFile }: Restart): Variables {
  return { ...process.env, [restartVariable]: `${stopsBefore} ${pidFile}` };
}

/** What the restart that has started this process says, once: it is for no other process. */
export function takeRestart(): Restart | undefined {
  const [, stopsBefore, pidFile] = /^(\d+) (.+)$/s.exec(process.env[restartVariable] ?? '') ?? [];
  delete process.env[restartVariable];
  return pidFile === undefined ? undefined : { stopsBefore: Number(stopsBefore), pidFile };
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

export function resolveEnv(value: unknown): Record<string, string | undefined> {
  if (value === undefined) return {};
  if (!check.isRecord(value)) throw check.invalid('env', 'an object of strings', value);
  for (const [name, text] of Object.entries(value)) {
    if (name === '' || /[=\0]/.test(name))
      throw invalidOption(`${check.named('env')} has an impossible name: ${show(name)}`);
    if (text !== undefined && (typeof text !== 'string' || text.includes('\0'))) {
      throw check.invalid(`env.${name}`, 'a string without NUL, or undefined', text);
    }
  }
  // A copy: what the caller changes later is no part of this start.
  return { ...value } as Record<string, string | undefined>;
}
