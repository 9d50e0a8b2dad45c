/** `restartDaemon`: stops a named daemon, and starts it again as its record says. */
import { daemonStatus, isUp, statusOf } from './daemon-status.js';
import { amended, daemonError, downAfter, invalidOption, isDaemonError, systemCallError } from './errors.js';
import { missingNow, variablesOf } from './launch/former-environment.js';
import { reportUnrecorded } from './launch/stderr.js';
import { native, unwrap } from './native/index.js';
import { pendingRestart, restarting, variableNames, type Restart } from './options/env.js';
import { resolveSpawn, withRequest } from './options/resolve.js';
import type { SpawnDaemonOptions } from './options/types.js';
import { rehearse, spawnResolved } from './spawn-daemon.js';
import { stopFor, type StopOptions } from './stop-daemon.js';
import { locate, type Located, type NamedTarget } from './store/locate.js';
import type { FullRecord } from './store/record.js';

/** A daemon that was restarted, or only started because none was running. */
export type RestartResult =
  | {
      readonly outcome: 'restarted';
      /** The daemon that runs now. */
      readonly pid: number;
      /** The pid of the daemon that ran before. */
      readonly formerPid: number;
      /** The pidfile. */
      readonly pidFile: string;
    }
  | {
      readonly outcome: 'started';
      /** The daemon that runs now. */
      readonly pid: number;
      /** The pidfile. */
      readonly pidFile: string;
    };

/**
 * Stops a named daemon and starts it again as it was started; a daemon that is not running is only started. Program, arguments,
 * directory, options and the variables of the option `env` are on record; all other variables are those of this process.
 *
 * What is known to fail is found before the daemon is stopped. If the start fails after that, the error has `isDown: true`. A stop
 * that another caller requests meanwhile cancels the restart. Of several restarts at once all succeed with the same daemon.
 *
 * A program that calls `daemonize` itself is executed again, as it was from the shell. What it prints until it is up goes to the
 * stderr of this process, with the reason of a start that fails. A daemon cannot restart itself, because stopping it ends the
 * process that would start it again.
 *
 * @param options how the running daemon is stopped
 * @example
 * const { pid } = await restartDaemon('api');
 *
 * @throws `ERR_NOT_RESTARTABLE` if there is no record of the daemon, it was started in the foreground, or it is this process;
 * `ERR_START_CANCELLED`; what {@link stopDaemon} and {@link spawnDaemon} throw
 */
export async function restartDaemon(target: NamedTarget, options: StopOptions = {}): Promise<RestartResult> {
  return restartFor({ exitsAfterwards: false, stdout: 2, show: (_what, work) => work }, target, options);
}

/** The process that restarts a daemon. */
interface Restarter {
  /** Whether it exits after that, and may be the parent of the daemon until then. */
  readonly exitsAfterwards: boolean;
  /** The descriptor for what a program prints that makes itself a daemon. */
  readonly stdout: number;
  /** Shows what is under way until it is done. */
  show<T>(what: string, work: Promise<T>): Promise<T>;
}

/** The same, also for the command. */
export async function restartFor(
  restarter: Restarter,
  target: NamedTarget,
  options: StopOptions,
): Promise<RestartResult> {
  const found = restartable(target);
  const { name, pidFile, journal } = found;
  // One more stop than these cancels this restart.
  const stopsBefore = unwrap(native().stopsRequested(pidFile));
  const next = checked(found, () => nextStart(found, { stopsBefore, pidFile }, restarter));
  const running = statusOf(found);
  const runningPid = 'pid' in running ? running.pid : undefined;
  const variables = runningPid === undefined ? [] : variablesOf(runningPid);
  const missing = missingNow(variables, next.variables);
  const isDownNow = async () => !isUp(await daemonStatus(name));

  const stopping = restarter.show(`${name} stops`, stopFor('restart', name, options));
  const stopped = await stopping.catch(async (error: unknown) => {
    // The main process can have ended although others of its session did not.
    const isDown = isUp(running) && isDaemonError(error) && (await isDownNow());
    throw isDown ? downAfter(error, name, missing) : error;
  });
  const hasStopped = stopped.outcome !== 'not-running';
  // Of several restarts at once another one can have stopped it.
  const formerPid = hasStopped ? stopped.pid : runningPid;
  try {
    const started = await next.run();
    const now = await daemonStatus(name);
    const pid = started ?? ('pid' in now ? now.pid : undefined);
    const isCancelled = !isUp(now) && unwrap(native().stopsRequested(pidFile)) !== stopsBefore;
    if (pid === undefined || isCancelled) throw notUp(name);
    const daemon = { pid, pidFile: now.pidFile };
    if (formerPid === undefined) return { outcome: 'started', ...daemon };
    return { outcome: 'restarted', formerPid, ...daemon };
  } catch (error) {
    if (!isDaemonError(error)) throw error;
    const isCancelled = unwrap(native().stopsRequested(pidFile)) !== stopsBefore;
    const shown = error.code === 'ERR_START_FAILED' && isCancelled ? cancelled(name) : error;
    if (!hasStopped || !(await isDownNow())) throw shown;
    if (shown.code !== 'ERR_START_CANCELLED') noteFailedStart(journal, shown.message.replace(failedPrefix(name), ''));
    throw downAfter(shown, name, missing);
  }
}

/** A named daemon with what is on record about it. */
type Restartable = Located & { readonly name: string; readonly record: FullRecord };

/** The daemon to restart. */
function restartable(target: NamedTarget): Restartable {
  const found = locate(target);
  const { name, record, pidFile } = found;
  if (name === undefined) {
    throw invalidOption(
      'only a named daemon can be restarted: there is no record of how the daemon of a pidfile is started',
    );
  }
  if (record === undefined) {
    throw notRestartable(`there is no record of how ${name} is started: no daemon of that name has been started`);
  }
  if (record.method === 'foreground') {
    throw notRestartable(
      `${name} was started in the foreground: restart it by the supervisor or shell that started it`,
    );
  }
  const running = statusOf(found);
  if ('pid' in running && running.pid === process.pid) {
    throw notRestartable(`${name} cannot restart itself: restart it from another process`);
  }
  if (pendingRestart()?.pidFile === pidFile) {
    throw notRestartable(`${name} is being restarted already: this process was started for that`);
  }
  return { ...found, name, record };
}

function notRestartable(message: string) {
  return daemonError('ERR_NOT_RESTARTABLE', message, {});
}

/** Reports what is known to fail before the daemon is stopped. */
function checked<T>(found: Restartable, prepare: () => T): T {
  try {
    return prepare();
  } catch (error) {
    if (!isDaemonError(error)) throw error;
    const isRunning = ['running', 'starting', 'restarting'].includes(statusOf(found).state);
    throw amended(error, `${found.name} was not restarted${isRunning ? ', and runs on' : ''}: ${error.message}`);
  }
}

/** A start that is not known to fail. */
interface NextStart {
  /** The names of the variables that the daemon will have. */
  readonly variables: readonly string[];
  /** Resolves with the daemon's pid, unless only its status has that. */
  run(): Promise<number | undefined>;
}

function nextStart({ name, record }: Restartable, restart: Restart, restarter: Restarter): NextStart {
  const { program, arguments: words, cwd } = record;
  const args = words.slice(1);
  const makesItself = record.method === 'daemonize';
  const options = makesItself ? ownOptions(record) : recordedOptions(record);
  const { stopsBefore } = restart;
  // Of several restarts at once all get the daemon that comes up.
  const resolved = withRequest(resolveSpawn(program, options, cwd), { ifRunning: 'reuse', stopsBefore });
  rehearse(program, args, options, resolved);
  return {
    variables: variableNames(resolved.request),
    run: async () => {
      if (makesItself) return void (await runProgram(name, record, restart, restarter));
      const starting = spawnResolved(program, args, options, resolved, restarter.exitsAfterwards);
      return (await restarter.show(`${name} starts`, starting)).pid;
    },
  };
}

function recordedOptions({ options }: FullRecord): SpawnDaemonOptions {
  const { env, ...others } = (options ?? {}) as SpawnDaemonOptions;
  return env === undefined ? others : { ...others, env: withDeleted(env) };
}

/** JSON has null where a variable is to be deleted. */
function withDeleted(env: NonNullable<SpawnDaemonOptions['env']>): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(env).map(([name, value]) => [name, value ?? undefined]));
}

/** What is on record of the options of a program that makes itself a daemon. Its log is another user's if it is. */
function ownOptions({ name, pidFile, logFile, uid }: FullRecord): SpawnDaemonOptions {
  return { name, pidFile, ...(logFile === undefined || uid !== process.geteuid?.() ? {} : { log: logFile }) };
}

/** Executes a program that makes itself a daemon, and itself prints why it cannot. */
async function runProgram(
  name: string,
  { program, arguments: [argv0, ...args], cwd }: FullRecord,
  restart: Restart,
  { stdout }: Restarter,
): Promise<void> {
  // Loaded only here: it takes longer than all of daemonry.
  const { spawn } = process.getBuiltinModule('node:child_process');
  const { once } = process.getBuiltinModule('node:events');
  let exit: unknown[];
  try {
    const child = spawn(program, args, {
      cwd,
      // By this the next record calls the directory as this one does.
      env: { ...restarting(restart), PWD: cwd },
      stdio: ['ignore', stdout, 2],
      ...(argv0 === undefined ? {} : { argv0 }),
    });
    exit = await once(child, 'exit');
  } catch (error) {
    throw systemCallError('exec', 'execute', program, error);
  }
  const [exitCode, signal] = exit as [number, null] | [null, NodeJS.Signals];
  if (signal !== null) throw startFailed(name, `the program was ended by ${signal} before it was up`, { signal });
  if (exitCode !== 0) {
    throw startFailed(name, `the program exited with code ${exitCode} before it was up`, { exitCode });
  }
}

function startFailed(name: string, reason: string, exit: { exitCode?: number; signal?: NodeJS.Signals }) {
  return daemonError('ERR_START_FAILED', `${failedPrefix(name)}${reason}`, { stderr: '', ...exit });
}

/** For a program that makes itself a daemon, and has ended before that or right after it. */
function notUp(name: string) {
  return startFailed(name, 'the program exited with code 0, but no daemon is running', { exitCode: 0 });
}

function cancelled(name: string) {
  const message = `${failedPrefix(name)}a stop was requested meanwhile, which cancelled the start`;
  return daemonError('ERR_START_CANCELLED', message, { stderr: '' });
}

/** What the sentence about a failed start begins with, and a reason in the journal does not. */
function failedPrefix(name: string): string {
  return `${name} did not start: `;
}

/** Writes into the journal that a restart has failed, unless the start itself has done so. */
function noteFailedStart(journal: string | undefined, reason: string): void {
  if (journal !== undefined) reportUnrecorded(native().noteFailedStart(journal, reason)?.message);
}
