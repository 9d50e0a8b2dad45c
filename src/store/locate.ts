/** Where the daemon of a name or a pidfile is found. */
import { invalidOption } from '../errors.js';
import { pathOf } from '../files/path-like.js';
import { absolute } from '../files/working-directory.js';
import { native, unwrap } from '../native/index.js';
import type { FullRecord } from './record.js';

/** A daemon: the name that it was started with, or its pidfile. */
export type Target = string | { readonly pidFile: string | URL };

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
  if (typeof target === 'string') return JSON.parse(unwrap(native().locate(target))) as Located;
  const pidFile = pathOf((target as { pidFile?: unknown } | null | undefined)?.pidFile);
  if (pidFile === undefined) throw invalidOption("a target must be a daemon's name or { pidFile: path }");
  const path = absolute(pidFile);
  return { pidFile: path, searched: [path] };
}

/** The named daemons of this user and of the system, in the order of their names. */
export function locateAll(): Located[] {
  return unwrap(native().listDaemons()).map((found) => JSON.parse(found) as Located);
}

/** Those that have a journal, also of starts that have all failed. */
export function locateJournals(): Located[] {
  return unwrap(native().listJournals()).map((found) => JSON.parse(found) as Located);
}
