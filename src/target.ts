/** Which daemon a name or a pidfile means. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { invalidOption } from './errors.js';
import { native, unwrap } from './native.js';
import { allPlaces, ownPlaces } from './places.js';
import { readRecord, type FullRecord } from './record.js';

/** A daemon: the name that it was started with, or its pidfile. */
export type Target = string | { readonly pidFile: string };

/** Where a target was found. */
export interface Located {
  readonly name?: string;
  readonly pidFile: string;
  /** Of a name: what is on record in the place where it was found. */
  readonly record?: FullRecord & { readonly pid: number };
  /** Where its record is, or would be. */
  readonly recordFile?: string;
  /** Every pidfile that it could have been. */
  readonly searched: readonly string[];
}

/**
 * The daemon that a target means. For a name, the first place with a locked pidfile, the user's before the system's; else the
 * first place with a pidfile; else the first with a record; else the caller's own.
 */
export function locate(target: Target): Located {
  if (typeof target !== 'string') {
    const pidFile: unknown = (target as { pidFile?: unknown } | null | undefined)?.pidFile;
    if (typeof pidFile !== 'string' || pidFile === '') {
      throw invalidOption("a target must be a daemon's name or { pidFile: path }");
    }
    return { pidFile: resolve(pidFile), searched: [resolve(pidFile)] };
  }
  const candidates = allPlaces(target).map(({ pidFile, record: recordFile }) => located(target, pidFile, recordFile));
  const searched = [...new Set(candidates.map(({ pidFile }) => pidFile))];
  const present = candidates.filter(({ pidFile }) => existsSync(pidFile));
  const isLocked = ({ pidFile }: Located) =>
    !['dead', 'stopped'].includes(unwrap(native().pidFileStatus(pidFile)).state);
  const preferred = present.length > 1 ? present.find(isLocked) : present[0];
  const own = ownPlaces(target).record;
  const found =
    preferred ??
    present[0] ??
    candidates.find(({ record }) => record !== undefined) ??
    candidates.find(({ recordFile }) => recordFile === own) ??
    candidates[0]!;
  return { ...found, searched };
}

/** A named daemon in one of its places; its pidfile is where the record says, else where it is by convention. */
export function located(name: string, pidFile: string, recordFile: string): Located {
  const record = readRecord(recordFile);
  const actual = record?.pidFile ?? pidFile;
  return { name, pidFile: actual, recordFile, searched: [actual], ...(record === undefined ? {} : { record }) };
}
