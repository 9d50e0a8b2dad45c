/**
 * Packs what is published into target/packages: a tarball for each platform whose addon and command were built (by build-target, else by
 * build), and the root's, which names them all as optional dependencies and leaves out what only a checkout needs. Prints the sizes.
 * `--all` fails where a platform has not both, or one that is too large; `--stand-ins` packs an empty package for each that has not both.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import ts from 'typescript';
import { platforms, root } from '../addon/platforms.mjs';
import { mostBytes } from '../addon/requirements.mjs';

const to = join(root, 'target/packages');
const { values } = parseArgs({ options: { all: { type: 'boolean' }, 'stand-ins': { type: 'boolean' } } });

const read = (folder) => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
const write = (folder, manifest) =>
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
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
  write(folder, { ...manifest, optionalDependencies });
  return folder;
}

/** The addon and the command of a platform, where both were built. */
function binariesOf({ addon, command }) {
  const here = [addon, command].map((path) => join(root, basename(path)));
  return [[addon, command], here].find((paths) => paths.every((path) => existsSync(path)));
}

/** Fills the folder of a platform's package; `false` where its binaries are missing. */
function stagePlatform(platform, folder) {
  const binaries = binariesOf(platform);
  copyFileSync(join(root, 'LICENSE'), join(folder, 'LICENSE'));
  if (binaries === undefined) return false;
  const files = binaries.map((path) => basename(path));
  // An archive of yarn's holds the package otherwise, and the kernel executes nothing from there.
  write(folder, { ...read(folder), files, preferUnplugged: true });
  for (const [index, path] of binaries.entries()) copyFileSync(path, join(folder, files[index]));
  // What was uploaded and downloaded has lost its mode.
  chmodSync(join(folder, basename(platform.command)), 0o755);
  return true;
}

rmSync(to, { recursive: true, force: true });
mkdirSync(to, { recursive: true });
run('npx', ['--no-install', 'napi', 'create-npm-dirs', '--npm-dir', 'target/packages/npm']);
const problems = [];
const packed = [];
const names = [];
for (const platform of platforms) {
  const folder = join(to, 'npm', platform.name);
  const { name } = read(folder);
  names.push(name);
  const isBuilt = stagePlatform(platform, folder);
  if (values.all && !isBuilt) problems.push(`${name} has no binaries`);
  if (!isBuilt && !values['stand-ins']) continue;
  for (const [kind, most] of isBuilt && values.all ? Object.entries(mostBytes) : []) {
    const { size } = statSync(join(folder, basename(platform[kind])));
    if (size > most) problems.push(`the ${kind} of ${name} has ${size} bytes, which is more than ${most}`);
  }
  packed.push({ ...pack(folder), note: isBuilt ? '' : 'a stand-in, without binaries' });
}
const { version } = read(root);
packed.push({ ...pack(stageRoot(Object.fromEntries(names.sort().map((name) => [name, version])))), note: '' });
for (const folder of ['npm', 'package']) rmSync(join(to, folder), { recursive: true });

const kB = (bytes) => `${(bytes / 1000).toFixed(0)} kB`;
for (const { filename, size, unpackedSize, note } of packed)
  console.log(`${filename}: ${kB(size)}, unpacked ${kB(unpackedSize)}${note === '' ? '' : ` (${note})`}`);
for (const problem of problems) console.error(`pack: ${problem}`);
process.exitCode = problems.length === 0 ? 0 : 1;
