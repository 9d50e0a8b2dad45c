/** The tables in docs/reliability.md. */
import type { Counts } from '../../__test__/helpers/counts.js';
import { machine, today, writeParts } from '../docs/generated.mjs';
import type { Result, Suite } from './suite.js';

/** Writes the tables of a whole suite between their marks. */
export async function writeTables<R extends Result>(
  suite: Suite<R>,
  results: readonly R[],
  shards: number,
): Promise<void> {
  const command = `\`npm run test:${suite.name}\`${shards === 1 ? '' : ` in ${shards} shards`}`;
  const stamp = `${today()}, ${machine}; ${command}:`;
  const parts = Object.entries(suite.tables(results)).map(([name, table]) => [name, `${stamp}\n\n${table}`]);
  await writeParts('docs/reliability.md', Object.fromEntries(parts));
  console.log('docs/reliability.md has the tables of this run');
}

export const number = (value: number): string => value.toLocaleString('en-US');

/** Counts in the order of their names. */
export function listed(counts: Counts): string {
  return Object.entries(counts)
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([what, times]) => `${number(times)} ${what.trim()}`)
    .join(', ');
}

/** How many there are of each kind. */
export function tally(kinds: readonly string[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const kind of kinds) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return counts;
}
