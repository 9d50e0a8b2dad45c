/** What the documentation lists is what there is. */
import { readdirSync, readFileSync } from 'node:fs';
import test from 'ava';
import { steps } from '../src/steps.js';

const read = (file: string) => readFileSync(new URL(`../${file}`, import.meta.url), 'utf8');
const all = (text: string, pattern: RegExp) => [...text.matchAll(pattern)].map(([, found]) => found!);
const sorted = (names: Iterable<string>) => [...new Set(names)].sort();

test('docs/errors.md and the README have every code, and no other', (t) => {
  const codes = sorted(all(read('src/errors.ts'), /'(ERR_\w+)'/g));
  t.deepEqual(sorted(all(read('docs/errors.md'), /^\| `(ERR_\w+)`/gm)), codes);
  t.deepEqual(sorted(all(read('README.md'), /^\| `(ERR_\w+)`/gm)), codes);
});

test('docs/errors.md has every step, and no other', (t) => {
  t.deepEqual(sorted(all(read('docs/errors.md'), /^\| `([a-z-]+)` /gm)), sorted(steps));
});

test('llms.txt has a title, a summary, and a sentence about each page that it names', (t) => {
  const [title, , summary, ...rest] = read('llms.txt').trim().split('\n');
  t.regex(title!, /^# \w/);
  t.regex(summary!, /^> \w/);
  const sections = rest.slice(rest.findIndex((line) => line.startsWith('## ')));
  for (const line of sections) t.regex(line, /^$|^## \w|^- \[[^\]]+\]\([^)]+\.md\): \w/);
});

test('llms.txt, the site and the README lead to every page', (t) => {
  const pages = readdirSync(new URL('../docs', import.meta.url)).filter((file) => file.endsWith('.md'));
  for (const page of pages) {
    t.true(read('llms.txt').includes(`(docs/${page})`), page);
    t.true(read('typedoc.json').includes(`"docs/${page}"`), page);
    t.true(read('README.md').includes(`(docs/${page}`), page);
  }
});
