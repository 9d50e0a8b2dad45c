/** What long runs have counted: the rows of the tables in docs/reliability.md. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** How often each thing was seen. */
export type Counts = Record<string, number>;

/** A row of a table: the figures of one test. */
export interface Row {
  readonly table: string;
  readonly title: string;
  readonly place?: string;
  /** When it was written, in milliseconds. */
  readonly at: number;
  readonly [figure: string]: unknown;
}

export function count(counts: Counts, what: string, times = 1): void {
  counts[what] = (counts[what] ?? 0) + times;
}

/** Notes the figures of a test that has passed, as a row of the table of that name, for a suite that collects them. */
export function counted(table: string, title: string, figures: object): void {
  const folder = process.env['DAEMONRY_TEST_COUNTS'];
  if (folder === undefined) return;
  const row = { table, title, place: process.env['DAEMONRY_TEST_PLACE'], at: Date.now(), ...figures };
  const name = [table, row.place, title].filter(Boolean).join(' ').replaceAll(/\W+/g, '-');
  writeFileSync(join(folder, `${name}.json`), JSON.stringify(row));
}

/** The same for a race that was run so many times, which its title tells in the end. */
export function countedRace({ title }: { title: string }, rounds: number, counts: Counts): void {
  counted('races', title.replace(/, \d+ times$/, ''), { rounds, counts });
}
