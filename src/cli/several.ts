/** One command for several daemons: each is tried, whatever becomes of the others. */
import { list, type DaemonStatus } from '../control.js';
import { absolute } from '../directory.js';
import { isDaemonError } from '../errors.js';
import { allPlaces, type Target } from '../store.js';
import { labelOf, UsageError, type Parsed } from './arguments.js';
import type { Option } from './commands.js';
import { exitCodeOf, exitCodes, explain, failureJson } from './exit.js';
import { printJson, spin } from './output.js';

/** What a command has done with one daemon. */
export interface Done {
  /** For a person: whole lines. */
  readonly text: string;
  /** For `--json`, where the daemon's name or pidfile is added. */
  readonly result: object;
  /** If it is not 0. */
  readonly exitCode?: number;
}

/** What a command does. */
export interface Work<T extends Target> {
  act(target: T): Done | Promise<Done>;
  /** What the daemon does meanwhile, to follow its name. */
  readonly doing?: string;
  /** The daemons are to come one after the other, instead of all at once. */
  readonly inTurn?: boolean;
  readonly exitCodeOf?: (error: unknown) => number;
}

/** What a command has that all daemons can be meant by. */
export const allOption: Option = { type: 'boolean', help: 'all of your named daemons that run' };

/** The daemons that a command is about: those `given`, or with `--all` the caller's own that are meant. */
export function chosen<T extends Target>(
  parsed: Parsed,
  given: (parsed: Parsed) => T[],
  isMeant: (daemon: DaemonStatus) => boolean,
): (T | string)[] {
  const { values, positionals } = parsed;
  if (values['all'] !== true) return given(parsed);
  if (positionals.length > 0) throw new UsageError('give names or --all, not both');
  if (values['pid-file'] !== undefined) throw new UsageError('give --pid-file or --all, not both');
  const names = list().filter((daemon) => isMeant(daemon) && isOwn(daemon));
  return [...new Set(names.map(({ name }) => name!))];
}

/** Every user sees the system's daemons, which only root manages. */
function isOwn({ name, pidFile }: DaemonStatus): boolean {
  return process.geteuid!() === 0 || pidFile !== allPlaces(name).system.pidFile;
}

export function isUp({ state }: DaemonStatus): boolean {
  return state !== 'stopped' && state !== 'dead';
}

/**
 * Does it for each daemon, and prints what became of it in the order in which they were given, as soon as that is known. Returns
 * the exit code of the first that failed.
 */
export async function forEach<T extends Target>(
  parsed: Parsed,
  targets: readonly T[],
  { act, doing, inTurn = false, exitCodeOf: codeOf = exitCodeOf }: Work<T>,
): Promise<number> {
  const wantsJson = parsed.values['json'] === true;
  const isOne = targets.length === 1 && parsed.values['all'] !== true;
  const begun = inTurn ? [] : targets.map((target) => attempt(act, target));
  const results: object[] = [];
  const codes: number[] = [];
  for (const [index, target] of targets.entries()) {
    const label = labelOf(target);
    const ended = begun[index] ?? attempt(act, target);
    const outcome = await (doing === undefined ? ended : spin(`${label} ${doing}`, ended));
    if ('error' in outcome) {
      const { error } = outcome;
      // That was meant for the command.
      if (isDaemonError(error) && error.code === 'ERR_START_INTERRUPTED') throw error;
      explain(error, isOne ? '' : `${label}: `);
    } else if (!wantsJson) process.stdout.write(outcome.text);
    results.push({ ...idOf(target), ...('error' in outcome ? failureJson(outcome.error) : outcome.result) });
    codes.push('error' in outcome ? codeOf(outcome.error) : (outcome.exitCode ?? exitCodes.success));
  }
  if (wantsJson) printJson(isOne ? results[0] : results);
  else if (targets.length === 0) process.stdout.write('none of your named daemons runs\n');
  return codes.find((code) => code !== exitCodes.success) ?? exitCodes.success;
}

/** Never rejects: it may be waited for later. */
async function attempt<T extends Target>(act: Work<T>['act'], target: T): Promise<Done | { readonly error: unknown }> {
  try {
    return await act(target);
  } catch (error) {
    return { error };
  }
}

function idOf(target: Target): object {
  return typeof target === 'string' ? { name: target } : { pidFile: absoluteIfPossible(target.pidFile) };
}

/** In a working directory that was removed a relative path leads nowhere, which is the daemon's failure already. */
function absoluteIfPossible(path: string): string {
  try {
    return absolute(path);
  } catch (error) {
    if (isDaemonError(error)) return path;
    throw error;
  }
}
