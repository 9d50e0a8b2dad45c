/** Resource limits: the option `limits`. */
import type { NativeLimit } from '../../index.js';
import { invalidOption } from '../errors.js';
import { native } from '../native/index.js';
import * as check from './check.js';

/** How much of a resource a process may use, in the resource's own unit (bytes, seconds or a number). */
export type LimitValue = number | 'unlimited';

/** A limit: one value for both ends, or each by itself; an end that is not given stays as it is. */
export type Limit =
  | LimitValue
  | {
      /** What the kernel enforces. */
      readonly soft?: LimitValue;
      /** What the process may raise the soft limit to. Only root can raise it. */
      readonly hard?: LimitValue;
    };

/** The resources of setrlimit(2), as it calls them without `RLIMIT_`. Not every platform has all of them. */
export type Resource =
  | 'as'
  | 'core'
  | 'cpu'
  | 'data'
  | 'fsize'
  | 'locks'
  | 'memlock'
  | 'msgqueue'
  | 'nice'
  | 'nofile'
  | 'nproc'
  | 'rss'
  | 'rtprio'
  | 'rttime'
  | 'sigpending'
  | 'stack';

/** Checks the option and puts it in the form of the core. */
export function resolveLimits(limits: unknown): NativeLimit[] {
  if (limits === undefined) return [];
  if (!check.isRecord(limits)) {
    throw check.invalid('limits', 'an object such as { nofile: 65536 }', limits);
  }
  const resources = native().resources();
  return Object.entries(limits).flatMap(([resource, limit]) => {
    if (!resources.includes(resource)) {
      throw invalidOption(
        `${check.named(`limits.${resource}`)} is not a resource of this platform, which has ${resources.join(', ')}`,
      );
    }
    return limit === undefined ? [] : [resolveLimit(resource, limit)];
  });
}

function resolveLimit(resource: string, limit: unknown): NativeLimit {
  const option = `limits.${resource}`;
  if (!check.isRecord(limit)) {
    const both = value(option, limit);
    return { resource, soft: both, hard: both };
  }
  for (const key of Object.keys(limit)) {
    if (key !== 'soft' && key !== 'hard') throw check.unknownOption(`${option}.${key}`, []);
  }
  const { soft, hard } = limit as { soft?: unknown; hard?: unknown };
  const resolved = {
    resource,
    ...(soft === undefined ? {} : { soft: value(`${option}.soft`, soft) }),
    ...(hard === undefined ? {} : { hard: value(`${option}.hard`, hard) }),
  };
  const most = (end: number) => (end < 0 ? Infinity : end);
  if (resolved.soft !== undefined && resolved.hard !== undefined && most(resolved.soft) > most(resolved.hard)) {
    throw invalidOption(`${check.named(option)} has a soft limit above its hard one`);
  }
  return resolved;
}

/** The core's numbers: negative ones mean none. */
function value(option: string, limit: unknown): number {
  if (limit === 'unlimited') return -1;
  if (typeof limit === 'number' && Number.isSafeInteger(limit) && limit >= 0) return limit;
  throw check.invalid(option, "a whole number, 'unlimited' or { soft, hard }", limit);
}
