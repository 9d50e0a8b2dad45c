/** Runtimes other than this node: `tools/machine/fetch-runtimes` puts them there. */
import { existsSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('../../target/runtimes', import.meta.url));

/** The path of a runtime; `undefined` where it was not fetched. */
export function runtime(name: 'bun' | 'deno'): string | undefined {
  const version = existsSync(folder)
    ? readdirSync(folder).findLast((entry) => entry.startsWith(`${name}-`))
    : undefined;
  const path = `${folder}/${version}/${name}`;
  return version !== undefined && existsSync(path) ? path : undefined;
}

/** Why its tests cannot run. */
export function missing(name: 'bun' | 'deno'): string | undefined {
  return runtime(name) === undefined ? `${name} is not there: see tools/machine/fetch-runtimes` : undefined;
}
