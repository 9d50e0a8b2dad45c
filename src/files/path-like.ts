/** Paths as callers give them: text, or a `file:` URL. */
import { fileURLToPath } from 'node:url';

/** Whether it is given as every path can be; not whether it is a good one. */
export function isPathLike(value: unknown): value is string | URL {
  return typeof value === 'string' || value instanceof URL;
}

/** The path that it means; `undefined` for anything that no path can be. */
export function pathOf(value: unknown): string | undefined {
  try {
    const path = value instanceof URL ? fileURLToPath(value) : value;
    return typeof path === 'string' && path !== '' && !path.includes('\0') ? path : undefined;
  } catch {
    // It has another scheme, a host, or an encoded slash.
    return undefined;
  }
}
