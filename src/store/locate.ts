/** Where the daemon of a name or a pidfile is found. */
import { daemonError, invalidOption } from '../errors.js';
import { pathOf } from '../files/path-like.js';
import { absolute } from '../files/working-directory.js';
import { isFailure, native, unwrap } from '../native/index.js';
import type { FullRecord } from './record.js';

/** A daemon by the name that it was started with. */
export type NamedTarget = string | { readonly name: string; readonly pidFile?: never };

/** A daemon by its name or its pidfile. */
export type Target = NamedTarget | { readonly pidFile: string | URL; readonly name?: never };

/** Where a target was found. */
export interface Located {
  readonly name?: string;
  /** Of a name: whose daemon it is. */
  readonly owner?: 'user' | 'system';
  readonly pidFile: string;
  /** Of a name: what is on record in the place where it was found. */
  readonly record?: FullRecord;
  /** Of a name: where its journal is, or would be. */
  readonly journal?: string;
  /** Every pidfile that it could have been. */
  readonly searched: readonly string[];
}

/** The daemon that a target means. */
export function locate(target: Target): Located {
  const { name, pidFile } = parseTarget(target);
  if (pidFile !== undefined) return { pidFile, searched: [pidFile] };
  return JSON.parse(unwrap(native().locate(name))) as Located;
}

/** The name of a target, or the absolute path of its pidfile. */
export function parseTarget(target: Target): ParsedTarget {
  if (typeof target === 'string') return { name: target };
  // Own properties only: a function and an error have a name, too.
  const { name, pidFile, ...others }: { name?: unknown; pidFile?: unknown } = { ...target };
  const isOne = (name === undefined) !== (pidFile === undefined) && Object.keys(others).length === 0;
  if (isOne && typeof name === 'string') return { name };
  const path = pathOf(pidFile);
  if (isOne && path !== undefined) return { pidFile: absolute(path) };
  throw invalidOption("a target must be a daemon's name, { name } or { pidFile: path }");
}

type ParsedTarget =
  { readonly name: string; readonly pidFile?: undefined } | { readonly pidFile: string; readonly name?: undefined };

/** The value of a native call about a daemon; for a name that was not found, the error lists the places that were searched. */
export function unwrapAbout<T>({ name, pidFile, searched }: Located, outcome: T) {
  if (name !== undefined && isFailure(outcome) && outcome.errorCode === 'ERR_NOT_RUNNING') {
    const message = `no daemon named ${name} is running (looked at ${searched.join(' and ')})`;
    throw daemonError('ERR_NOT_RUNNING', message, { path: pidFile });
  }
  return unwrap(outcome);
}

/** The named daemons of this user and of the system, in the order of their names. */
export function locateAll(): Located[] {
  return unwrap(native().listDaemons()).map((found) => JSON.parse(found) as Located);
}

/** Those that have a journal, also of starts that have all failed. */
export function locateJournals(): Located[] {
  return unwrap(native().listJournals()).map((found) => JSON.parse(found) as Located);
}
