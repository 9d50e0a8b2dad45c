/** What the documentation lists is what there is. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import ts from 'typescript';
import { steps } from '../../src/errors.js';

const read = (file: string) => readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8');
const all = (text: string, pattern: RegExp) => [...text.matchAll(pattern)].map(([, found]) => found!);
const sorted = (names: Iterable<string>) => [...new Set(names)].sort();

/** The kinds of errors by their types: their codes, and the fields beside what every error has. Failed system calls are under `EACCES`. */
function kindsOfErrors(): { codes: string[]; fields: string[] }[] {
  const file = fileURLToPath(new URL('../../src/errors.ts', import.meta.url));
  const program = ts.createProgram([file], { module: ts.ModuleKind.Node20, types: ['node'], skipLibCheck: true });
  const checker = program.getTypeChecker();
  const exported = checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(file)!)!);
  const errors = checker.getDeclaredTypeOfSymbol(exported.find(({ name }) => name === 'DaemonError')!) as ts.UnionType;
  return errors.types.map((error) => {
    const fields = error.getProperties().map(({ name }) => name);
    const code = checker.getTypeOfSymbol(error.getProperty('code')!);
    const codes = (code.isUnion() ? code.types : [code]).map((literal) => (literal as ts.StringLiteralType).value);
    return {
      codes: codes.filter((value) => value.startsWith('ERR_') || value === 'EACCES'),
      fields: fields.filter((name) => !['code', 'name', 'message', 'stack', 'cause', 'isDown'].includes(name)),
    };
  });
}

test('docs/errors.md has every code, and no other, with the fields that its type has', (t) => {
  const kinds = kindsOfErrors();
  const rows = [...read('docs/errors.md').matchAll(/^\| `(E\w+)`.*?\|(.*?)\|/gm)];
  const said = new Map(rows.map(([, code, fields]) => [code!, all(fields!, /`(\w+)`/g)]));
  t.deepEqual(sorted(said.keys()), sorted(kinds.flatMap(({ codes }) => codes)));
  for (const { codes, fields } of kinds) {
    const told = codes.flatMap((code) => said.get(code)!).filter((field) => field !== 'cause');
    t.deepEqual(sorted(told), sorted(fields), codes.join());
  }
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
  const pages = readdirSync(new URL('../../docs', import.meta.url)).filter((file) => file.endsWith('.md'));
  for (const page of pages) {
    t.true(read('llms.txt').includes(`(docs/${page})`), page);
    t.true(read('typedoc.json').includes(`"docs/${page}"`), page);
    t.true(read('README.md').includes(`(docs/${page}`), page);
  }
});
