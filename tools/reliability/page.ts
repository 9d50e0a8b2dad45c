/** The tables in docs/reliability.md. */
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import { format } from 'prettier';
import type { Counts } from '../../__test__/helpers/counts.js';
import { root, type Result, type Suite } from './suite.js';

const page = join(root, 'docs', 'reliability.md');

/** Writes the tables of a whole suite between their marks. */
export async function writeTables<R extends Result>(
  suite: Suite<R>,
  results: readonly R[],
  shards: number,
): Promise<void> {
  const machine = `Node.js ${process.version}, Linux ${release().split('-')[0]}, ${cpus().length} × ${cpus()[0]!.model}`;
  const command = `\`npm run test:${suite.name}\`${shards === 1 ? '' : ` in ${shards} shards`}`;
  const stamp = `${new Date().toISOString().slice(0, 10)}, ${machine}; ${command}:`;
  let text = readFileSync(page, 'utf8');
  for (const [name, lines] of Object.entries(suite.tables(results))) {
    const marks = new RegExp(`(<!-- generated: ${name} -->\n)[^]*?(?=<!-- end -->)`);
    if (!marks.test(text)) throw new Error(`${page} has no mark for the table "${name}"`);
    text = text.replace(marks, (_, mark: string) => `${mark}\n${[stamp, '', ...lines].join('\n')}\n\n`);
  }
  writeFileSync(page, await format(text, { parser: 'markdown', printWidth: 120, singleQuote: true }));
  console.log('docs/reliability.md has the tables of this run');
}

/** Lines of a table. A column whose heading ends with a colon is aligned to the right. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const plain = headings.map((heading) => heading.replace(/:$/, ''));
  return [plain, headings.map((heading) => (heading.endsWith(':') ? '---:' : '---')), ...rows].map(line);
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
