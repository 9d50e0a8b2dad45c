/** What long runs have counted: the rows of the tables in docs/reliability.md. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('../../target/reliability', import.meta.url));

/** How often each thing was seen. */
export type Counts = Record<string, number>;

export function count(counts: Counts, what: string, times = 1): void {
  counts[what] = (counts[what] ?? 0) + times;
}

/** Notes the figures of a test that has passed, as a row of the table of that name. */
export function counted(table: string, title: string, figures: object): void {
  const row = { title, place: process.env['DAEMONRY_TEST_PLACE'], at: Date.now(), ...figures };
  const name = [row.place, title].filter(Boolean).join(' ').replaceAll(/\W+/g, '-');
  mkdirSync(join(folder, table), { recursive: true });
  writeFileSync(join(folder, table, `${name}.json`), JSON.stringify(row));
}

/** The same for a race that was run so many times, which its title tells in the end. */
export function countedRace({ title }: { title: string }, rounds: number, counts: Counts): void {
  counted('races', title.replace(/, \d+ times$/, ''), { rounds, counts });
}
