import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import ts from 'typescript';
import { binding } from './helpers/binding.js';
import { steps } from '../src/errors.js';
import { fixture, run } from './helpers/run.js';
import { workspace } from './helpers/workspace.js';

const root = fileURLToPath(new URL('..', import.meta.url));

test('TypeScript knows exactly the steps of the core, in their order', (t) => {
  t.deepEqual([...steps], binding.steps() as never);
});

test('the types allow and refuse what they should, and compile without skipLibCheck', async (t) => {
  const { at } = workspace(t);
  const compilerOptions = {
    strict: true,
    exactOptionalPropertyTypes: true,
    noEmit: true,
    target: 'es2022',
    lib: ['es2022'],
    module: 'node20',
    types: ['node'],
    typeRoots: [`${root}/node_modules/@types`],
  };
  writeFileSync(at('tsconfig.json'), JSON.stringify({ compilerOptions, files: [fixture('types.ts')] }));
  const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');
  const { code, stdout } = await run(process.execPath, [tsc, '-p', at('tsconfig.json')]);
  t.is(stdout, '');
  t.is(code, 0);
});

test('nothing is exported that no test of the types has looked at', (t) => {
  const exported = /\bexport \{([^]*?)\}/g;
  const index = readFileSync(`${root}/dist/index.d.ts`, 'utf8');
  const names = [...index.matchAll(exported)].flatMap(([, list]) => list!.match(/\b(?!type\b)\w+/g)!);
  t.true(names.includes('daemonize') && names.includes('Daemon'), names.join());
  const seen = new Set(readFileSync(fixture('types.ts'), 'utf8').match(/\w+/g));
  t.deepEqual(
    names.filter((name) => !seen.has(name)),
    [],
  );
});

test('every type that a public type mentions can be imported', (t) => {
  const entry = `${root}/dist/index.d.ts`;
  const program = ts.createProgram([entry], { module: ts.ModuleKind.Node20, types: ['node'], skipLibCheck: true });
  const checker = program.getTypeChecker();
  const resolve = (symbol: ts.Symbol) =>
    symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
  const exported = checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(entry)!)!).map(resolve);
  const seen = new Set<ts.Symbol>();
  const hidden = new Set<string>();
  const visit = (node: ts.Node): void => {
    const modifiers = ts.canHaveModifiers(node) ? ts.getModifiers(node) : undefined;
    if (modifiers?.some(({ kind }) => kind === ts.SyntaxKind.PrivateKeyword)) return;
    if (ts.isTypeReferenceNode(node)) check(resolve(checker.getSymbolAtLocation(node.typeName)!));
    ts.forEachChild(node, visit);
  };
  const check = (symbol: ts.Symbol): void => {
    const own = symbol.declarations?.filter(
      (node) => node.getSourceFile().fileName.startsWith(root) && !/node_modules/.test(node.getSourceFile().fileName),
    );
    if (seen.has(symbol) || !own?.length || symbol.flags & ts.SymbolFlags.TypeParameter) return;
    seen.add(symbol);
    if (!exported.includes(symbol)) hidden.add(symbol.name);
    own.forEach(visit);
  };
  exported.forEach(check);
  t.true(seen.size > 20, 'the types were found');
  // Parts of exported types, with no meaning of their own.
  for (const name of ['StatusBase', 'EventBase', 'EndBase']) hidden.delete(name);
  t.deepEqual([...hidden], []);
});
