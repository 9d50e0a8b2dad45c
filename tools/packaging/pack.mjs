/**
 * Packs what is published into target/packages: a tarball for each platform whose binary was built (by build-target, else by build), and the
 * root's, which names them all as optional dependencies and leaves out what only a checkout needs. Prints the sizes.
 * `--all` fails where a platform has no binary, or one that is too large; `--stand-ins` packs an empty package for each that has none.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import ts from 'typescript';

const root = fileURLToPath(new URL('../..', import.meta.url));
const to = join(root, 'target/packages');
const { values } = parseArgs({ options: { all: { type: 'boolean' }, 'stand-ins': { type: 'boolean' } } });

/** What an unpacked platform package may have, in bytes. */
const most = 500_000;

const read = (folder) => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
const run = (command, args, cwd = root) =>
  execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });

function pack(folder) {
  const printed = JSON.parse(run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', to], folder));
  const { name, filename, size, unpackedSize } = Object.values(printed)[0];
  return { name, filename, size, unpackedSize };
}

/** The root as a folder of its own: of the files that npm would pack, those that somebody can get at. */
function stageRoot(optionalDependencies) {
  const { filename } = pack(root);
  run('tar', ['-xzf', filename], to);
  const folder = join(to, 'package');
  const declarations = ts.createProgram([join(folder, 'dist/index.d.ts')], { module: ts.ModuleKind.Node20 });
  for (const file of readdirSync(join(folder, 'dist'), { recursive: true }).filter((file) => file.endsWith('.d.ts')))
    if (declarations.getSourceFile(join(folder, 'dist', file)) === undefined) rmSync(join(folder, 'dist', file));
  const { devDependencies: _tools, scripts: _commands, ava: _tests, napi: _build, ...manifest } = read(folder);
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify({ ...manifest, optionalDependencies }, null, 2)}\n`);
  return folder;
}

rmSync(to, { recursive: true, force: true });
mkdirSync(to, { recursive: true });
run('npx', ['--no-install', 'napi', 'create-npm-dirs', '--npm-dir', 'target/packages/npm']);
const problems = [];
const packed = [];
const platforms = readdirSync(join(to, 'npm')).map((folder) => join(to, 'npm', folder));
for (const folder of platforms) {
  const { name, main } = read(folder);
  const binary = [join(root, 'target/addons', main), join(root, main)].find(existsSync);
  if (binary !== undefined) copyFileSync(binary, join(folder, main));
  else if (values.all) problems.push(`${name} has no binary`);
  if (binary === undefined && !values['stand-ins']) continue;
  copyFileSync(join(root, 'LICENSE'), join(folder, 'LICENSE'));
  const { unpackedSize, ...rest } = pack(folder);
  if (values.all && unpackedSize > most) problems.push(`${name} has ${unpackedSize} bytes, which is more than ${most}`);
  packed.push({ ...rest, unpackedSize, note: binary === undefined ? 'a stand-in, without a binary' : '' });
}
const { version } = read(root);
packed.push({
  ...pack(stageRoot(Object.fromEntries(platforms.map((folder) => [read(folder).name, version])))),
  note: '',
});
for (const folder of ['npm', 'package']) rmSync(join(to, folder), { recursive: true });

const kB = (bytes) => `${(bytes / 1000).toFixed(0)} kB`;
for (const { filename, size, unpackedSize, note } of packed)
  console.log(`${filename}: ${kB(size)}, unpacked ${kB(unpackedSize)}${note === '' ? '' : ` (${note})`}`);
for (const problem of problems) console.error(`pack: ${problem}`);
process.exitCode = problems.length === 0 ? 0 : 1;
