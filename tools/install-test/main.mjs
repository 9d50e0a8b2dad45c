/**
 * Publishes the packages to a registry of its own, installs them as a user would, with npm, pnpm and yarn from that registry and from the
 * tarballs alone; then starts README's first program, and uses the package in every way that there is to load one.
 * `scripts/test-install` runs it.
 */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { install, managers } from './managers.mjs';
import { serveRegistry } from './registry.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const tarballs = readdirSync(join(root, 'target/packages')).map((file) => join(root, 'target/packages', file));
const packages = tarballs.map((tarball) => ({
  tarball,
  manifest: JSON.parse(tar('-xOzf', tarball, 'package/package.json')),
}));
const { manifest, tarball } = packages.find(({ manifest }) => manifest.name === 'daemonry');
const platforms = Object.keys(manifest.optionalDependencies);
const own = platforms.find((name) => existsSync(join(root, fileOf(name))));

const scratch = realpathSync(mkdtempSync(join(tmpdir(), 'daemonry-install-')));
const tools = join(root, 'node_modules');

/** In the place of the README's, for root's daemons have their places where everybody's are. */
const name = `daemonry-rehearsal-${process.pid}`;

function tar(...args) {
  return execFileSync('tar', args, { encoding: 'utf8' });
}

/** The binary of a platform's package, as the build names it. */
function fileOf(name) {
  return `${name.replace('-', '.')}.node`;
}

/** An empty folder of somebody who has installed nothing yet. */
function emptyFolder(name) {
  const folder = join(scratch, name);
  mkdirSync(join(folder, 'home'), { recursive: true });
  return {
    folder,
    write: (files) => Object.entries(files).forEach(([file, text]) => writeFileSync(join(folder, file), text)),
    /** Not synchronously: this process is the registry. */
    run(command, ...args) {
      // Whoever installs has none of our variables.
      const { PATH } = process.env;
      const env = { PATH, HOME: join(folder, 'home'), npm_config_update_notifier: 'false' };
      return new Promise((resolve) => {
        const ended = (error, stdout, stderr) => resolve({ code: error?.code ?? error?.signal ?? 0, stdout, stderr });
        execFile(command, args, { cwd: folder, env, timeout: 120_000 }, ended).stdin.end();
      });
    },
  };
}

/** Runs what has to succeed; its output. */
async function must(user, command, ...args) {
  const { code, stdout, stderr } = await user.run(command, ...args);
  assert.equal(code, 0, `${command} ${args.join(' ')}: ${stdout}${stderr}`);
  return stdout;
}

/** The declarations among files of the package, wherever it lies. */
function declarationsIn(files) {
  return [...files.matchAll(/(?:^|\/)(?:daemonry|package)\/((?:dist\/(?:[\w-]+\/)*)?[\w-]+\.d\.ts)$/gm)]
    .map(([, file]) => file)
    .sort();
}

async function freePort() {
  const server = createServer();
  await once(server.listen(0), 'listening');
  const { port } = server.address();
  await new Promise((closed) => server.close(closed));
  return port;
}

/** The first program of the README, on a port that is free. */
async function firstProgram() {
  const [, program] = /```js\n(\/\/ app\.mjs\n[\s\S]*?)```/.exec(readFileSync(join(root, 'README.md'), 'utf8'));
  const port = await freePort();
  return { port, program: program.replaceAll('8080', port).replace(`'app'`, `'${name}'`) };
}

/** Starts it, asks it, is refused a second one, and stops it. */
async function startsAndStops(user, { node, npx }) {
  const { port, program } = await firstProgram();
  user.write({ 'app.mjs': program });
  try {
    await must(user, ...node, 'app.mjs');
    assert.equal(await (await fetch(`http://localhost:${port}`)).text(), 'hello\n');
    const again = await user.run(...node, 'app.mjs');
    assert.equal(again.code, 1);
    assert.match(again.stderr, new RegExp(`^app\\.mjs: ${name} is already running with pid \\d+ \\(pidfile .*\\)\n$`));
    assert.match(await must(user, ...npx, 'daemonry', 'status', name), /running/);
    const stopped = await must(user, ...npx, 'daemonry', 'stop', name);
    assert.match(stopped, new RegExp(`^${name} stopped \\(pid \\d+\\)\n$`));
  } finally {
    // Where the above has failed.
    await user.run(process.execPath, join(root, 'dist/cli.js'), 'stop', name);
  }
}

const passed = [];
async function check(name, work) {
  const begun = performance.now();
  try {
    await work();
  } catch (error) {
    console.error(`FAIL  ${name}: ${error.message}`);
    process.exitCode = 1;
    return;
  }
  passed.push(name);
  console.log(`ok    ${name} (${((performance.now() - begun) / 1000).toFixed(1)} s)`);
}

const registry = await serveRegistry();

await check('publishing: the root last, without a warning, and once', async () => {
  const maintainer = emptyFolder('publishes');
  maintainer.write({ 'home/.npmrc': registry.npmrc });
  const publish = () => maintainer.run(join(root, 'tools/packaging/publish'), '--access=public');
  const { code, stderr } = await publish();
  assert.equal(code, 0, stderr);
  assert.doesNotMatch(stderr, /npm warn/);
  assert.deepEqual(registry.published, [...platforms, 'daemonry']);
  // As after a release that broke off.
  assert.equal((await publish()).code, 0);
  assert.equal(registry.published.length, packages.length);
});

for (const manager of managers) {
  const title = `${manager.name} ${manager.version}: installs this machine's binaries alone, and both and the README's program run`;
  await check(title, async () => {
    const user = emptyFolder(manager.name.replaceAll(/\W/g, '-'));
    await install(user, manager, registry.address);
    const both = platforms.filter((name) => name.startsWith(own.replace(/-(gnu|musl)$/, '')));
    const folders = manager.platforms(user);
    assert.deepEqual([...folders.keys()], manager.ignoresLibc ? both : [own]);
    assert.equal(await must(user, join(folders.get(own), 'daemonry'), '--version'), `${manifest.version}\n`);
    await startsAndStops(user, manager);
  });
}

await check('two commands from the tarballs alone: npm install, node app.mjs', async () => {
  const user = emptyFolder('tarballs');
  const binary = packages.find(({ manifest }) => manifest.name === own).tarball;
  // Nobody publishes these packages yet; a registry that has none is what there is.
  await must(user, 'npm', 'install', '--no-audit', '--no-fund', tarball, binary);
  await startsAndStops(user, managers[0]);
});

const user = emptyFolder('loads');
await install(user, managers[0], registry.address);
const prints = `console.log(typeof daemonize, supported, daemonPaths('a').pidFile.endsWith('a.pid'));`;
const printed = 'function true true\n';

await check('ESM and CommonJS', async () => {
  user.write({
    'esm.mjs': `import { daemonize, daemonPaths, supported } from 'daemonry'; ${prints}`,
    'common.cjs': `const { daemonize, daemonPaths, supported } = require('daemonry'); ${prints}`,
  });
  for (const program of ['esm.mjs', 'common.cjs'])
    assert.equal(await must(user, process.execPath, '--no-warnings', program), printed);
});

for (const [module, moduleResolution] of [
  ['node16', 'node16'],
  // The oldest in which a CommonJS module may import this one.
  ['node20', 'node16'],
  ['nodenext', 'nodenext'],
  ['esnext', 'bundler'],
]) {
  await check(`TypeScript, strict, module ${module}, moduleResolution ${moduleResolution}`, async () => {
    const program = `
      import { DaemonError, daemonize, daemonStatus, type Daemon, type DaemonStatus } from 'daemonry';
      const isRunning = ({ state }: DaemonStatus): boolean => state === 'running';
      const seen: Promise<boolean> = daemonStatus('app').then(isRunning);
      const main = async (daemon: Daemon<'http'>): Promise<void> => void daemon.listeners.http;
      try { daemonize({ name: 'app', listen: { http: { port: 80 } } }, main); }
      catch (error) { if (error instanceof DaemonError && error.code === 'ERR_ALREADY_RUNNING') console.log(error.pid, seen); }
      // @ts-expect-error: were the types not found, this would not be wrong
      daemonize({ name: 1 });`;
    const options = {
      strict: true,
      exactOptionalPropertyTypes: true,
      noEmit: true,
      target: 'es2022',
      module,
      moduleResolution,
      types: ['node'],
      typeRoots: [join(tools, '@types')],
    };
    const files = module === 'node16' ? ['typed.mts'] : ['typed.mts', 'typed.cts'];
    const configuration = JSON.stringify({ compilerOptions: options, files });
    user.write({ 'typed.mts': program, 'typed.cts': program, 'tsconfig.json': configuration });
    const read = await must(user, process.execPath, join(tools, 'typescript/bin/tsc'), '-p', '.', '--listFiles');
    assert.deepEqual(
      declarationsIn(read),
      declarationsIn(tar('-tzf', tarball)),
      'some of the declarations are read by nobody',
    );
  });
}

await check("a bundler's output with daemonry external, and with it bundled but the binary", async () => {
  const esbuild = join(tools, '.bin/esbuild');
  const common = ['esm.mjs', '--bundle', '--platform=node', '--format=esm', '--log-level=error'];
  await must(user, esbuild, ...common, '--external:daemonry', '--outfile=external.mjs');
  // The binary is looked for from where the bundle lies.
  await must(user, esbuild, ...common, '--outfile=bundled.mjs');
  for (const program of ['external.mjs', 'bundled.mjs'])
    assert.equal(await must(user, process.execPath, program), printed);
});

await check('a worker thread imports it, and is told that it cannot become a daemon', async () => {
  user.write({
    'worker.mjs': `
      import { isMainThread, Worker } from 'node:worker_threads';
      import { daemonize, daemonStatus } from 'daemonry';
      if (isMainThread) new Worker(new URL(import.meta.url));
      else {
        console.log((await daemonStatus('nothing')).state);
        try { daemonize({ name: 'nothing' }); } catch (error) { console.log(error.code); }
      }`,
  });
  assert.equal(await must(user, process.execPath, 'worker.mjs'), 'stopped\nERR_WORKER_THREAD\n');
});

await check('without optional dependencies it can be imported, and says what is missing', async () => {
  const user = emptyFolder('omitted');
  await install(user, managers[0], registry.address, '--omit=optional');
  user.write({
    'app.mjs': `import { daemonize, supported } from 'daemonry'; console.log(supported); daemonize({ name: 'app' });`,
  });
  const { code, stdout, stderr } = await user.run(process.execPath, 'app.mjs');
  assert.deepEqual([code, stdout], [1, 'false\n']);
  const { platform, arch } = process;
  const sentence = `daemonry's binary for ${platform} ${arch} was not found: its package ${own}, an optional dependency of daemonry, must be in a node_modules directory above `;
  assert.ok(stderr.includes(sentence), stderr);
});

await check('elsewhere it can be imported, and says where it runs', async () => {
  user.write({
    'elsewhere.mjs': `
      Object.defineProperty(process, 'platform', { value: 'sunos' });
      const { daemonize, supported } = await import('daemonry');
      console.log(supported);
      daemonize({ name: 'app' });`,
  });
  const { code, stdout, stderr } = await user.run(process.execPath, 'elsewhere.mjs');
  assert.deepEqual([code, stdout], [1, 'false\n']);
  assert.match(
    stderr,
    /daemonry has no binary for sunos \w+: it runs on Linux \(x64, arm64; glibc, musl\) and macOS \(x64, arm64\)/,
  );
});

await check('the tarball has what is needed and nothing else', async () => {
  const allowed =
    /^package\/(package\.json|README\.md|LICENSE|CHANGELOG\.md|index\.d\.ts|llms\.txt|dist\/\w+\.js|dist\/(?!cli\/)([\w-]+\/)*[\w-]+\.d\.ts|docs\/[\w-]+\.(md|svg))$/;
  const files = tar('-tzf', tarball).trim().split('\n');
  assert.deepEqual(
    files.filter((file) => !allowed.test(file)),
    [],
  );
  for (const { manifest } of packages)
    assert.deepEqual([manifest.scripts, manifest.dependencies], [undefined, undefined], manifest.name);
});

await check("a platform's tarball has the addon and the command, which everybody may execute", async () => {
  const both = packages.filter(({ manifest }) => manifest.preferUnplugged);
  assert.ok(both.some(({ manifest }) => manifest.name === own));
  for (const { manifest, tarball } of both) {
    const listed = tar('-tvzf', tarball).trim().split('\n');
    const modes = new Map(listed.map((line) => [line.split('/').slice(-1)[0], line.split(' ', 1)[0]]));
    const files = ['LICENSE', 'README.md', 'daemonry', fileOf(manifest.name), 'package.json'];
    assert.deepEqual([...modes.keys()].sort(), files, manifest.name);
    assert.equal(modes.get('daemonry'), '-rwxr-xr-x', manifest.name);
  }
});

await check('publint and attw have no objection', async () => {
  await must(user, process.execPath, join(tools, 'publint/src/cli.js'), 'run', '--strict', tarball);
  await must(
    user,
    process.execPath,
    join(tools, '@arethetypeswrong/cli/dist/index.js'),
    tarball,
    '--profile',
    'esm-only',
  );
});

registry.close();
for (const place of ['/run', '/var/log']) rmSync(join(place, name), { recursive: true, force: true });
for (const end of ['json', 'jsonl']) rmSync(`/var/lib/daemonry/${name}.${end}`, { force: true });
rmSync(scratch, { recursive: true });
console.log(`${passed.length} passed`);
