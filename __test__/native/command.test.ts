/** The native command: found beside the addon, and checked before anything executes it. */
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { buildSync } from 'esbuild';
import { commandPath } from '../../src/native/command.js';
import { noOwnMounts, ownMounts, testOnLinux, testUnless } from '../helpers/privileges.js';
import { run } from '../helpers/run.js';
import { missing, runtime } from '../helpers/runtimes.js';
import { workspace } from '../helpers/workspace.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const addon = readdirSync(root).find((name) => name.endsWith('.node'))!;
/** The package that has the addon when it is installed, and the command. */
const owner = addon.replace('.node', '').replace('.', '-');

/** A program that prints where the command is, or why it cannot be used. */
const program = buildSync({
  stdin: {
    contents: `
      import { commandPath } from './src/native/command.js';
      try {
        console.log(commandPath());
      } catch ({ code, message }) {
        console.log(code + ': ' + message);
      }`,
    resolveDir: root,
  },
  bundle: true,
  write: false,
  format: 'esm',
  platform: 'node',
}).outputFiles[0]!.text;

/** daemonry as a package manager installs it; `place` is where the program is put. */
function installed(t: ExecutionContext, place = 'node_modules/daemonry/dist') {
  const { path, at } = workspace(t);
  const folder = at('node_modules', owner);
  for (const directory of [folder, at(place)]) mkdirSync(directory, { recursive: true });
  writeFileSync(at(place, 'program.mjs'), program);
  copyFileSync(join(root, addon), join(folder, addon));
  copyFileSync(join(root, 'daemonry'), join(folder, 'daemonry'));
  return {
    path,
    folder,
    command: join(folder, 'daemonry'),
    async printed(via: readonly string[] = []) {
      const [shell, ...args] = [...via, process.execPath, at(place, 'program.mjs')];
      const { stdout, stderr } = await run(shell!, args, { cwd: path });
      return stdout.trimEnd() || stderr;
    },
  };
}

const refused = 'ERR_UNSUPPORTED_PLATFORM: ';

test('in a checkout the command lies beside the addon and has the version of the package', (t) => {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  t.is(execFileSync(commandPath(), ['--version'], { encoding: 'utf8' }), `${version}\n`);
});

test('a call by hand prints one sentence, and exits with 2', async (t) => {
  for (const args of [[], ['start', 'app.mjs']]) {
    const { code, stdout, stderr } = await run(commandPath(), args);
    t.deepEqual([code, stdout], [2, '']);
    t.regex(stderr, /^daemonry: this program supervises daemons .*\n$/);
  }
});

test("an installed command is in the platform's package, beside daemonry", async (t) => {
  const { command, printed } = installed(t);
  t.is(await printed(), command);
});

test("it is found in the platform's package wherever require finds that, as from a bundle and under plug'n'play", async (t) => {
  const { command, printed } = installed(t, 'out/of/bundler');
  t.is(await printed(), command);
});

test('a command that is missing is refused', async (t) => {
  const { command, printed } = installed(t);
  rmSync(command);
  const sentence = `daemonry's supervisor ${command} does not exist: reinstall the package ${owner}, or copy the file from it to there`;
  t.is(await printed(), `${refused}${sentence}`);
});

testUnless(missing('bun'))('so it is in a program that Bun has compiled, with the addon beside it alone', async (t) => {
  const { path, command } = installed(t, 'app');
  rmSync(command);
  const built = await run(runtime('bun')!, ['build', 'app/program.mjs', '--compile', '--outfile', 'program'], {
    cwd: path,
  });
  t.is(built.code, 0, built.stderr);
  const { stdout, stderr } = await run(join(path, 'program'), [], { cwd: '/' });
  t.true(stdout.startsWith(`${refused}daemonry's supervisor ${command} does not exist: `), stdout || stderr);
});

test('a command without permission to execute it is refused', async (t) => {
  const { command, printed } = installed(t);
  chmodSync(command, 0o644);
  const sentence = `daemonry's supervisor ${command} is not executable: run chmod 755 ${command}, or reinstall the package ${owner}`;
  t.is(await printed(), `${refused}${sentence}`);
});

test('a directory in its place is refused', async (t) => {
  const { command, printed } = installed(t);
  rmSync(command);
  mkdirSync(command);
  t.regex(await printed(), /daemonry's supervisor \S+ is not executable: /);
});

testUnless(noOwnMounts)('a command in a file system that is mounted with noexec is refused', async (t) => {
  const { folder, command, printed } = installed(t);
  mkdirSync(join(folder, 'store'));
  // The command alone: the kernel does not load the addon from there either.
  const script =
    'cd "$1" && mount -t tmpfs -o noexec tmpfs store && mv daemonry store && ln -s store/daemonry . && shift && exec "$@"';
  const sentence = `daemonry's supervisor ${command} is in a file system that is mounted with noexec: install daemonry in another file system, or remount this one with exec`;
  t.is(await printed([...ownMounts, 'sh', '-c', script, 'sh', folder]), `${refused}${sentence}`);
});

testUnless(noOwnMounts)('a whole package in such a file system is refused, and noexec named', async (t) => {
  const { path, folder, printed } = installed(t);
  const script =
    'cd "$1" && cp -R node_modules copy && mount -t tmpfs -o noexec tmpfs node_modules && cp -R copy/. node_modules && shift && exec "$@"';
  const pattern = `daemonry's binary for \\S+ \\w+ cannot be loaded: .*${folder}/${addon}.*: its file system may be mounted with noexec$`;
  t.regex(await printed([...ownMounts, 'sh', '-c', script, 'sh', path]), new RegExp(pattern));
});

const foreign = `is not a program for this system and processor: reinstall the package ${owner} on this machine`;

test('a command for another processor, an empty file and a text are refused', async (t) => {
  const { command, printed } = installed(t);
  const content = readFileSync(command);
  // The processor is named there by ELF files, by Mach-O files from 4 on.
  content.writeUInt16LE(243, process.platform === 'linux' ? 18 : 4);
  for (const wrong of [content, '', '#!/bin/sh\n']) {
    writeFileSync(command, wrong);
    t.is(await printed(), `${refused}daemonry's supervisor ${command} ${foreign}`);
  }
});

testOnLinux('a command for another C library is refused, and its loader named', async (t) => {
  const { command, printed } = installed(t);
  const content = readFileSync(command);
  const at = content.indexOf('/ld-');
  content.write('/xx-', at);
  writeFileSync(command, content);
  const loader = /\S+\/xx-[\w.-]+/.exec(content.toString('latin1', at - 8, at + 40))![0].replace(/^.*\0/, '');
  const sentence = `daemonry's supervisor ${command} cannot be executed: its interpreter ${loader} does not exist: install that interpreter, or reinstall the package ${owner} on this machine`;
  t.is(await printed(), `${refused}${sentence}`);
});
