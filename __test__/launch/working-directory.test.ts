/** The directory of a start: where a program works, what its relative paths mean, and a link that leads elsewhere later. */
import { chmodSync, mkdirSync, readlinkSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { daemonStatus, stopDaemon } from '../../dist/index.js';
import { bench } from '../helpers/bench.js';
import { daemonry, main } from '../helpers/command.js';
import { read } from '../helpers/files.js';
import { named } from '../helpers/named.js';
import { noOtherUser, testOnLinux, testUnless } from '../helpers/privileges.js';
import { run } from '../helpers/run.js';
import { until } from '../helpers/until.js';
import { workspace, type Workspace } from '../helpers/workspace.js';

/** Says where it is, and which release it is, and lives on. */
const service = (_name: string, release: string) => `
  import fs from 'node:fs';
  fs.appendFileSync(process.env.SAID, '${release} ' + process.cwd() + '\\n');
  setInterval(() => {}, 60_000);
`;
/** The same, which makes itself a daemon. */
const daemonized = (name: string, release: string) => `
  import fs from 'node:fs';
  import { daemonize } from '${new URL('../../dist/index.js', import.meta.url).href}';
  daemonize({ name: '${name}' }, () => {
    fs.appendFileSync(process.env.SAID, '${release} ' + process.cwd() + '\\n');
    setInterval(() => {}, 60_000);
  });
`;

/** A place with releases, of which `current` leads to one. */
function releases(t: ExecutionContext, program: (name: string, release: string) => string) {
  const { at, ...space } = workspace(t);
  const name = named(t);
  for (const release of ['one', 'two', 'three']) {
    mkdirSync(at(release));
    writeFileSync(at(release, 'server.mjs'), program(name, release));
  }
  const flip = (release: string) => {
    symlinkSync(release, at('next'));
    renameSync(at('next'), at('current'));
  };
  flip('one');
  const env: NodeJS.ProcessEnv = { ...process.env, SAID: at('said') };
  /** Runs something in `current`, as a shell that has changed to it does. */
  const inCurrent = (line: readonly string[]) =>
    run(line[0]!, line.slice(1), { cwd: at('current'), env: { ...env, PWD: at('current') } });
  const said = async (count: number) => {
    const lines = () => read(at('said')).split('\n').slice(0, -1);
    await until(`${count} have spoken`, () => lines().length === count);
    return lines().at(-1);
  };
  return { ...space, at, name, flip, env, inCurrent, said };
}

for (const [what, startLine, directoryOf] of [
  [
    'daemonry start',
    (name: string) => [process.execPath, main, 'start', '-n', name, 'server.mjs'],
    (at: Workspace['at'], release: string) => at(release),
  ],
  ['a program that calls daemonize', () => [process.execPath, 'server.mjs'], () => '/'],
] as const) {
  test(`a restart after a link was flipped starts the new release, each time: ${what}`, async (t) => {
    const program = what === 'daemonry start' ? service : daemonized;
    const { at, name, flip, env, inCurrent, said } = releases(t, program);
    const { code, stderr } = await inCurrent(startLine(name));
    t.is(code, 0, stderr);
    t.is(await said(1), `one ${directoryOf(at, 'one')}`);
    for (const [release, count] of [
      ['two', 2],
      ['three', 3],
    ] as const) {
      flip(release);
      const restarted = await daemonry(['restart', name], { cwd: '/', env });
      t.is(restarted.code, 0, restarted.stderr);
      t.is(await said(count), `${release} ${directoryOf(at, release)}`);
      t.is((await daemonStatus(name)).record?.cwd, at('current'));
    }
  });
}

test('the same link is the same program after it was flipped', async (t) => {
  const { name, flip, inCurrent } = releases(t, service);
  const line = [process.execPath, main, 'start', '-n', name, 'server.mjs'];
  t.like(await inCurrent(line), { code: 0 });
  flip('two');
  const { code, stdout, stderr } = await inCurrent(line);
  t.is(code, 0, stderr);
  t.regex(stdout, /is already running/);
});

test('PWD counts only if it is the working directory', async (t) => {
  const { at, name, env, said } = releases(t, service);
  const line = ['start', '-n', name, 'server.mjs'];
  t.like(await daemonry(line, { cwd: at('two'), env: { ...env, PWD: at('current') } }), { code: 0 });
  t.is(await said(1), `two ${at('two')}`);
  t.is((await daemonStatus(name)).record?.cwd, at('two'));
});

test('a program works in the directory of the call of spawnDaemon, and in / for connectDaemon', async (t) => {
  const { at, path, call } = bench(t);
  t.teardown(() => stopDaemon({ pidFile: at('spawned.pid') }));
  t.teardown(() => stopDaemon({ pidFile: at('connected.pid') }));
  const server = `
    const { createServer } = await import('node:net');
    createServer((connection) => connection.end(process.cwd())).listen(process.argv[1]);`;
  const { returned } = await call(
    `const spawned = await spawnDaemon('sleep', ['100'], { pidFile: 'spawned.pid' });
    const [path, server] = args;
    const connection = await connectDaemon(process.execPath, ['--input-type=module', '-e', server, path + '/socket'], {
      pidFile: 'connected.pid', socket: 'socket', waitFor: 'exec' });
    let said = '';
    for await (const chunk of connection) said += chunk;
    return { pid: spawned.pid, said };`,
    { args: [path, server], cwd: path },
  );
  t.is(returned.said, '/');
  if (process.platform === 'linux') t.is(readlinkSync(`/proc/${returned.pid}/cwd`), path);
});

test('the directory in which start was called may go if nothing needs it', async (t) => {
  const { at, path } = workspace(t);
  const name = named(t);
  mkdirSync(at('there'));
  const options = ['-C', '/', '-l', at('log')];
  t.like(await daemonry(['start', '-n', name, ...options, 'sleep', '100'], { cwd: at('there') }), { code: 0 });
  rmSync(at('there'), { recursive: true });
  t.like(await daemonry(['restart', name], { cwd: path }), { code: 0, stderr: '' });
  t.like(await daemonStatus(name), { state: 'running' });
});

test('relative options mean the same in every restart, wherever that is called', async (t) => {
  const { at, path } = workspace(t);
  const name = named(t);
  mkdirSync(at('sub'));
  const args = ['-C', 'sub', '-l', 'log', '-p', 'own.pid', '--listen', 'a=./socket'];
  const { code, stderr } = await daemonry(['start', '-n', name, ...args, 'sleep', '100'], { cwd: path });
  t.is(code, 0, stderr);
  t.teardown(() => stopDaemon({ pidFile: at('own.pid') }));
  rmSync(at('log'));
  t.like(await daemonry(['restart', name], { cwd: '/' }), { code: 0, stderr: '' });
  t.like(await daemonStatus({ pidFile: at('own.pid') }), { state: 'running' });
  t.is(read(at('log')), '');
  const record = (await daemonStatus(name)).record!;
  t.is(record.logFile, at('log'));
  t.is(record.cwd, path);
});

const loaders = {
  'hook.mjs': 'globalThis.hooked = "a file";',
  'hook.cjs': 'globalThis.hooked = "a file";',
  'node_modules/hook/package.json': JSON.stringify({ name: 'hook', exports: './hook.mjs' }),
  'node_modules/hook/hook.mjs': 'globalThis.hooked = "a package";',
  'node_modules/old-hook/index.js': 'globalThis.hooked = "a package";',
};

for (const [flags, expected] of [
  [['--import', './hook.mjs'], 'a file'],
  [['--import=./hook.mjs'], 'a file'],
  [['--import', 'hook'], 'a package'],
  [['--require', './hook.cjs'], 'a file'],
  [['-r', 'old-hook'], 'a package'],
] as const) {
  test(`node ${flags.join(' ')} daemonry start finds it in the caller's directory, whatever the working directory`, async (t) => {
    const { at, path } = workspace(t);
    const name = named(t);
    for (const directory of ['node_modules/hook', 'node_modules/old-hook', 'elsewhere']) {
      mkdirSync(at(directory), { recursive: true });
    }
    for (const [file, text] of Object.entries(loaders)) writeFileSync(at(file), text);
    writeFileSync(at('app.mjs'), `console.log(globalThis.hooked, process.cwd()); setInterval(() => {}, 60_000);`);
    for (const [own, directory] of [
      [[], path],
      [['-C', 'elsewhere'], at('elsewhere')],
    ] as const) {
      const args = [...flags, main, 'start', '-n', name, '-l', 'log', ...own, 'app.mjs'];
      const { code, stderr } = await run(process.execPath, args, { cwd: path });
      t.is(code, 0, stderr);
      t.is(read(at('log')), `${expected} ${directory}\n`);
      t.like(await daemonry(['restart', name], { cwd: '/' }), { code: 0, stderr: '' });
      t.is(read(at('log')), `${expected} ${directory}\n`.repeat(2));
      await stopDaemon(name);
      rmSync(at('log'));
    }
  });
}

testUnless(noOtherUser)('a user who cannot enter the directory of the start is told in one sentence', async (t) => {
  const { at, path } = workspace(t);
  const name = named(t);
  mkdirSync(at('closed'), { mode: 0o700 });
  chmodSync(path, 0o755);
  const start = (...args: string[]) =>
    daemonry(['start', '-n', name, '-u', 'nobody', ...args, 'sleep', '100'], { cwd: at('closed') });
  t.deepEqual(await start(), {
    code: 4,
    signal: null,
    stdout: '',
    stderr: `daemonry: ${name} did not start: cannot change the working directory to ${at('closed')}: the daemon's user may not enter it (EACCES): choose another with --cwd\n`,
  });
  t.like(await start('-C', '/'), { code: 0, stderr: '' });
});

testOnLinux('in a directory that is gone, only a start that would work there fails, in one sentence', async (t) => {
  const { at } = workspace(t);
  const name = named(t);
  mkdirSync(at('gone'));
  const start = (after: string, ...args: string[]) =>
    run('sh', [
      '-c',
      `cd "$0" && rmdir "$0" && ${after} exec "$@"`,
      at('gone'),
      process.execPath,
      main,
      'start',
      '-n',
      name,
      ...args,
      'sleep',
      '100',
    ]);
  const { code, stderr } = await start('');
  t.is(code, 1);
  t.regex(
    stderr,
    /^daemonry: .*cannot change the working directory to .*\/gone: No such file or directory \(ENOENT\)\n$/,
  );
  for (const unnamed of ['unset PWD &&', 'mkdir "$0" &&', 'PWD=/']) {
    rmSync(at('gone'), { recursive: true, force: true });
    mkdirSync(at('gone'));
    t.deepEqual(await start(unnamed), {
      code: 1,
      signal: null,
      stdout: '',
      stderr: 'daemonry: cannot resolve the relative path .: the working directory does not exist any more (ENOENT)\n',
    });
    t.is((await daemonStatus(name)).state, 'stopped');
  }
  rmSync(at('gone'), { recursive: true, force: true });
  mkdirSync(at('gone'));
  t.like(await start('unset PWD &&', '-C', '/'), { code: 0, stderr: '' });
});
