// Builds the addon and the command for every platform, checks each file for what it is, runs tests with those that can be loaded here,
// and prints a table of it. Needs root and Debian; takes about 30 minutes. --docs writes the table into docs/platforms.md, and arguments name
// platforms if not all are wanted: linux-arm64-gnu.
import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { table, today, writeParts } from '../docs/generated.mjs';
import { faults } from './requirements.mjs';
import { isNewer, read } from './binary.mjs';
import { platforms, root } from './platforms.mjs';

const { values, positionals } = parseArgs({ options: { docs: { type: 'boolean' } }, allowPositionals: true });

/** The tests that launch, lock, undo and end, and that run the command, where nothing is asked of the machine that another platform cannot give. */
const tests = [
  'native/command',
  'daemon/handle',
  'launch/system-calls',
  'pidfile/pidfile',
  'spawn/spawn-daemon',
  'daemonize/start',
  'launch/stdio',
  'launch/rollback',
];

/** Their files. Emulated, strace sees the emulator's calls, and no launcher is the parent who could tell of SIGABRT. */
const chosen = (arch) => [
  ...tests.filter((name) => arch === 'x64' || name !== 'launch/system-calls').map((name) => `__test__/${name}.test.ts`),
  ...(arch === 'x64' ? [] : ['--match', '!*fails by "abort"*']),
];

function run(command, args, options) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: root, encoding: 'utf8', ...options });
  if (error !== undefined) throw error;
  return { code: status, output: `${stdout ?? ''}${stderr ?? ''}` };
}

const lastLine = (output) => output.trim().split('\n').at(-1) ?? '';

/** What came of the tests, in words. */
function tested({ name, arch, libc }) {
  const { code, output } = run('tools/machine/test-foreign', [name, ...chosen(arch)]);
  const [runtime] = output.split('\n', 1);
  const counts = [...output.matchAll(/^ +(\d+ tests? (?:passed|failed|skipped))$|^ +(\d+ uncaught exceptions?)$/gm)];
  if (code !== 0) process.stderr.write(output);
  const how = [
    runtime.replace(/ for .*/, ''),
    ...(libc === 'musl' ? ['with musl'] : []),
    ...(arch === 'x64' ? [] : ['under qemu']),
  ];
  return {
    failed: code !== 0,
    words: `${how.join(' ')}: ${counts.map(([, one, other]) => one ?? other).join(', ') || lastLine(output)}`,
  };
}

function built(platform) {
  const { target, name, addon, command, os } = platform;
  const { code, output } = run('tools/addon/build-target', [target, name]);
  if (code !== 0) {
    process.stderr.write(output);
    return { failed: true, cells: ['', '', '', `not built: ${lastLine(output)}`] };
  }
  const binaries = { addon: read(addon), command: read(command) };
  const wrong = Object.entries(binaries).flatMap(([kind, binary]) => faults(platform, kind, binary));
  const [glibc] = Object.values(binaries)
    .flatMap(({ versions }) => versions.GLIBC ?? [])
    .sort((one, other) => (isNewer(one, other) ? -1 : 1));
  const { minimum } = binaries.addon;
  const oldest = glibc === undefined ? (minimum === undefined ? '' : `macOS ${minimum}`) : `glibc ${glibc}`;
  const sizes = Object.values(binaries).map(({ size }) => `${(size / 1000).toFixed(0)} kB`);
  const cells = [...sizes, oldest];
  if (wrong.length > 0) return { failed: true, cells: [...cells, `refused: ${wrong.join('; ')}`] };
  if (os === 'darwin') return { failed: false, cells: [...cells, 'only linked: there is no Mac here'] };
  const { failed, words } = tested(platform);
  return { failed, cells: [...cells, words] };
}

const wanted = platforms.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
for (const command of ['scripts/setup', 'tools/machine/fetch-foreign']) {
  const { code, output } = run(command, []);
  if (code !== 0) {
    process.stderr.write(output);
    process.exit(code);
  }
}

let failures = 0;
const rows = wanted.map((platform) => {
  console.log(`${platform.name} ...`);
  const { failed, cells } = built(platform);
  if (failed) failures++;
  return [`\`${platform.name}\``, ...cells];
});
const results = table(['Package', 'Addon', 'Command', 'Needs at least', 'What ran here'], rows);
console.log(`\n${results}`);
if (values.docs) await writeParts('docs/platforms.md', { platforms: `${today()}, on Linux x64:\n\n${results}` });
process.exit(failures === 0 ? 0 : 1);
