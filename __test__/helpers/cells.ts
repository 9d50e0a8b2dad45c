/** What was seen at a place where services run: the cells of the table in docs/supervisors.md. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';

const folder = fileURLToPath(new URL('../../target/supervisors', import.meta.url));

export type Column = 'mode' | 'ready' | 'reload' | 'stop' | 'failure' | 'restart';

/** Notes what a test has just seen to be so. */
export function seen(place: string, column: Column, what: string): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(
    join(folder, `${place.replaceAll(/[^\w=,.-]/g, '_')}.${column}.json`),
    JSON.stringify({ place, column, what }),
  );
}
