/** The daemons that a command is about: one or several, each tried, whatever becomes of the others. */
import { daemonStatus, type DaemonStatus } from '../daemon-status.js';
import { isDaemonError } from '../errors.js';
import { absolute } from '../files/working-directory.js';
import { inspected } from '../list-daemons.js';
import * as check from '../options/check.js';
import { printableLine } from '../printable.js';
import { locate, locateAll, type Located } from '../store/locate.js';
import { pathsByOwner } from '../store/paths.js';
import type { Option, Parsed } from './command.js';
import { exitCodeOf, exitCodes, explain, failureJson } from './exit-codes.js';
import { printJson, spin } from './output.js';
import { missing, text, UsageError } from './parse.js';

/** A daemon as the command line names it. */
export type GivenTarget = string | { readonly pidFile: string };

/** What a command has done with one daemon. */
export interface Done {
  /** For a person: whole lines. */
  readonly text: string;
  /** For `--json`, where the daemon's name or pidfile is added. */
  readonly result: object;
  /** If it is not 0. */
  readonly exitCode?: number;
}

/** For a daemon that was only meant by `--all` and turned out to need nothing. */
export const nothingDone = Symbol('nothing was done');

/** What a command does. */
export interface Work<T extends GivenTarget> {
  act(target: T): Done | typeof nothingDone | Promise<Done | typeof nothingDone>;
  /** What the daemon does meanwhile, to follow its name. */
  readonly doing?: string;
  /** The daemons are to come one after the other, instead of all at once. */
  readonly inTurn?: boolean;
  readonly exitCodeOf?: (error: unknown) => number;
}

/** What a command has that all daemons can be meant by. */
export const allOption: Option = { type: 'boolean', help: 'all your named daemons that are running' };

/** The daemons that a command is about: those `given`, or with `--all` the caller's own that are meant. */
export async function chosen<T extends GivenTarget>(
  parsed: Parsed,
  given: (parsed: Parsed) => T[],
  isMeant: (daemon: DaemonStatus) => boolean,
): Promise<(T | string)[]> {
  const { command, values, positionals } = parsed;
  if (values['all'] !== true) {
    const targets = given(parsed);
    if (targets.some((target) => target === 'all') && !(await isKnown('all'))) {
      throw new UsageError(
        `no daemon is named all: to ${command.name} all daemons, type daemonry ${command.name} --all`,
      );
    }
    return targets;
  }
  if (positionals.length > 0) throw new UsageError('give names or --all, not both');
  if (values['pid-file'] !== undefined) throw new UsageError('give --pid-file or --all, not both');
  // What cannot be inspected is meant, and fails with the reason.
  return locateAll()
    .filter((daemon) => isOwn(daemon) && isMeant(inspected(daemon)))
    .map(({ name }) => name!);
}

async function isKnown(name: string): Promise<boolean> {
  return locate(name).record !== undefined || (await daemonStatus(name)).state !== 'stopped';
}

/** Every user sees the system's daemons, which only root manages; and root sees those of the user whose home directory it has. */
function isOwn({ name, owner }: Located): boolean {
  return owner === pathsByOwner(name).own;
}

/**
 * Does it for each daemon, and prints what became of it in the order in which they were given, as soon as that is known. Returns
 * the exit code of the first that failed.
 */
export async function forEach<T extends GivenTarget>(
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
    if (outcome === nothingDone) continue;
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
  else if (results.length === 0) process.stdout.write('none of your named daemons is running\n');
  return codes.find((code) => code !== exitCodes.success) ?? exitCodes.success;
}

/** Never rejects: it may be waited for later. */
async function attempt<T extends GivenTarget>(
  act: Work<T>['act'],
  target: T,
): Promise<Done | typeof nothingDone | { readonly error: unknown }> {
  try {
    return await act(target);
  } catch (error) {
    return { error };
  }
}

function idOf(target: GivenTarget): object {
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

/** What every command that is about one daemon has. */
export const targetOption: Option = { type: 'string', short: 'p', value: 'FILE', help: 'the daemon of this pidfile' };

/** The daemons that a command is about, each once: names, behind `others` other positionals, or a pidfile. */
export function targetsOf({ command, values, positionals }: Parsed, others = 0): GivenTarget[] {
  const pidFile = text(values, 'pid-file');
  const names = [...new Set(positionals.slice(others))];
  if (pidFile !== undefined && names.length > 0) throw new UsageError('give a name or --pid-file, not both');
  if (pidFile !== undefined) return [{ pidFile: check.path('pidFile', pidFile) }];
  if (names.length === 0) throw missing('daemon', command);
  return names;
}

/** The daemons that a command is about which needs their records: only named daemons have one. */
export function namesOf({ command, positionals }: Parsed): string[] {
  if (positionals.length === 0) throw missing('daemon', command);
  return [...new Set(positionals)];
}

/** The same for a command that is about one. */
export function nameOnly(parsed: Parsed): string {
  const [name, ...surplus] = namesOf(parsed);
  if (surplus[0] !== undefined) throw new UsageError(`unexpected argument ${JSON.stringify(surplus[0])}`);
  return name!;
}

/** How messages call a target. */
export function labelOf(target: GivenTarget): string {
  return printableLine(typeof target === 'string' ? target : target.pidFile);
}
