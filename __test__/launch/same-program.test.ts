/** One name, two programs: the second is refused with both commands, and a daemon of the same program is found however it is called. */
import { linkSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import {
  connectDaemon,
  daemonStatus,
  isDaemonError,
  spawnDaemon,
  stopDaemon,
  type DaemonError,
} from '../../dist/index.js';
import { bench } from '../helpers/bench.js';
import { daemonry } from '../helpers/command.js';
import { named } from '../helpers/named.js';
import { run } from '../helpers/run.js';
import { privateFiles } from '../helpers/state.js';
import { pidOf } from '../helpers/status.js';
import { workspace } from '../helpers/workspace.js';

const service = 'setInterval(() => {}, 60_000);\n';

/** A folder with two others, each with a server of the same name. */
function twoServers(t: ExecutionContext) {
  const space = workspace(t);
  for (const folder of ['a', 'b']) {
    mkdirSync(space.at(folder));
    writeFileSync(space.at(folder, 'server.mjs'), service);
  }
  const name = named(t);
  const start = (folder: string, ...args: string[]) =>
    daemonry(['start', '-n', name, ...args], { cwd: space.at(folder) });
  return { ...space, name, start };
}

test('start refuses a name under which another script runs, and shows both commands', async (t) => {
  const { at, name, start } = twoServers(t);
  t.like(await start('a', 'server.mjs'), { code: 0, stderr: '' });
  const pid = await pidOf(name);
  const { code, stdout, stderr } = await start('b', 'server.mjs');
  t.is(code, 1);
  t.is(stdout, '');
  const shown = (folder: string) => `${process.execPath} ${at(folder, 'server.mjs')} in ${at(folder)}`;
  t.is(
    stderr,
    `daemonry: ${name} is already running, but as another program: process ${pid} runs ${shown('a')}, and this start asks for ${shown('b')}: choose another name, or replace the daemon that runs\n`,
  );
  t.is(await pidOf(name), pid);
  t.like(await start('a', 'server.mjs'), { code: 0, stderr: '' });
  // The record is still that of the one that runs.
  t.like(await daemonry(['restart', name]), { code: 0 });
  t.like(await start('a', 'server.mjs'), {
    code: 0,
    stdout: `${name} is already running with pid ${await pidOf(name)} (log ${await logOf(name)})\n`,
  });
});

async function logOf(name: string): Promise<string | undefined> {
  return (await daemonStatus(name)).record?.logFile;
}

for (const [what, first, second] of [
  ['the arguments are others', ['server.mjs', '--port', '80'], ['server.mjs', '--port', '81']],
  ['the directory is another that was asked for', ['-C', '/', 'server.mjs'], ['-C', '/tmp', 'server.mjs']],
  ['the program is another', ['sleep', '100'], ['tail', '-f', '/dev/null']],
  ['the script of another interpreter is another', ['sh', './one'], ['sh', './two']],
] as const) {
  test(`start refuses a name if ${what}`, async (t) => {
    const { at, name, start } = twoServers(t);
    for (const script of ['one', 'two']) writeFileSync(at('a', script), 'exec sleep 100\n');
    t.like(await start('a', ...first), { code: 0, stderr: '' });
    const pid = await pidOf(name);
    const { code, stderr } = await start('a', ...second);
    t.is(code, 1);
    t.regex(stderr, /^daemonry: .* is already running, but as another program: /);
    t.true(stderr.includes(first.at(-1)!) && stderr.includes(second.at(-1)!), stderr);
    t.is(await pidOf(name), pid);
    // Replacing is asked for in so many words, and starting a name that does not run takes nothing down.
    t.like(await start('a', '--replace', ...second), { code: 0, stderr: '' });
    await stopDaemon(name);
    t.like(await start('a', ...first), { code: 0, stderr: '' });
  });
}

test('a command that is a mere name is another program in another directory', async (t) => {
  const { name, start } = twoServers(t);
  t.like(await start('a', 'sleep', '100'), { code: 0, stderr: '' });
  const { code, stderr } = await start('b', 'sleep', '100');
  t.is(code, 1);
  t.regex(stderr, /another program: process \d+ runs sleep 100 in .*\/a, and this start asks for sleep 100 in .*\/b: /);
  t.like(await daemonStatus(name), { state: 'running' });
});

test('start finds a daemon of the same script, however the script, its directory and Node.js are called', async (t) => {
  const { at, name, start } = twoServers(t);
  symlinkSync(at('a'), at('link'));
  linkSync(at('a', 'server.mjs'), at('b', 'hard.mjs'));
  mkdirSync(at('bin'));
  symlinkSync(process.execPath, at('bin', 'node'));
  t.like(await start('a', 'server.mjs'), { code: 0, stderr: '' });
  const pid = await pidOf(name);
  for (const [folder, ...args] of [
    ['b', '../a/server.mjs'],
    ['b', at('link', 'server.mjs')],
    ['b', 'hard.mjs'],
    ['link', './server.mjs'],
    ['a', process.execPath, '--no-warnings', 'server.mjs'],
    ['a', at('bin', 'node'), 'server.mjs'],
  ] as const) {
    const told = await start(folder, ...args);
    t.like(told, { code: 0, stderr: '' }, `${folder} ${args.join(' ')}: ${told.stderr}`);
    t.regex(told.stdout, new RegExp(`is already running with pid ${pid} `));
  }
});

test('spawnDaemon refuses to reuse another program with a typed error, and with version it asks for nothing else', async (t) => {
  const { path: cwd, write } = bench(t);
  const name = named(t);
  const [one, two] = [write(service, 'one.mjs'), write(service, 'two.mjs')];
  const options = { name, cwd, ifRunning: 'reuse' } as const;
  const { pid } = await spawnDaemon(process.execPath, [one], { ...options, version: '1' });
  const error = await t.throwsAsync<DaemonError>(spawnDaemon(process.execPath, [two], options));
  t.true(isDaemonError(error));
  t.like(error, {
    code: 'ERR_OTHER_PROGRAM',
    pid,
    path: (await daemonStatus(name)).pidFile,
    runningCommand: `${process.execPath} ${one} in ${cwd}`,
    command: `${process.execPath} ${two} in ${cwd}`,
  });
  t.like(await spawnDaemon(process.execPath, [one], options), { outcome: 'reused', pid });
  t.like(await spawnDaemon(process.execPath, [two], { ...options, version: '1' }), { outcome: 'reused', pid });
});

test('start refuses a pidfile under which another program runs, and finds the same one', async (t) => {
  const { at, path } = workspace(t);
  for (const script of ['one.mjs', 'two.mjs']) writeFileSync(at(script), service);
  const pidFile = at('x.pid');
  const start = (...args: string[]) => daemonry(['start', '-p', pidFile, ...args], { cwd: path });
  t.teardown(() => stopDaemon({ pidFile }));
  const pid = () => pidOf({ pidFile });
  t.like(await start('one.mjs', '--port', '80'), { code: 0, stderr: '' });
  const first = await pid();
  const one = `${process.execPath} ${at('one.mjs')} --port 80 in ${path}`;
  const { code, stdout, stderr } = await start('two.mjs', '--port', '80');
  t.is(code, 1);
  t.is(stdout, '');
  t.is(
    stderr,
    `daemonry: two.mjs is already running, but as another program: process ${first} runs ${one}, and this start asks for ${process.execPath} ${at('two.mjs')} --port 80 in ${path}: choose another pidfile, or replace the daemon that runs\n`,
  );
  t.is((await start('one.mjs', '--port', '81')).code, 1);
  t.like(await start('./one.mjs', '--port', '80'), { code: 0, stderr: '' });
  t.is(await pid(), first);
  const options = { pidFile, cwd: path, ifRunning: 'reuse' } as const;
  await t.throwsAsync(spawnDaemon(process.execPath, [at('two.mjs'), '--port', '80'], options), {
    code: 'ERR_OTHER_PROGRAM',
  });
  t.like(await spawnDaemon(process.execPath, [at('one.mjs'), '--port', '80'], options), { outcome: 'reused' });
  t.like(await start('--replace', 'two.mjs'), { code: 0, stderr: '' });
  t.like(await start('two.mjs'), { code: 0, stderr: '' });
  t.is((await start('one.mjs', '--port', '80')).code, 1);
});

test('a pidfile whose program is not known is that of the program to start', async (t) => {
  const { at, path } = workspace(t);
  for (const script of ['one.mjs', 'two.mjs']) writeFileSync(at(script), service);
  const pidFile = at('x.pid');
  const start = (script: string) => daemonry(['start', '-p', pidFile, script], { cwd: path });
  t.teardown(() => stopDaemon({ pidFile }));
  t.like(await start('one.mjs'), { code: 0, stderr: '' });
  const file = privateFiles(pidFile).find((found) => found.endsWith('.program'))!;
  t.is(statSync(file).mode & 0o777, 0o600);
  // As another start has left it.
  writeFileSync(file, readFileSync(file, 'utf8').replace(/^[^\n]*/, '0'.repeat(32)));
  t.like(await start('two.mjs'), { code: 0, stderr: '' });
  rmSync(file);
  t.like(await start('two.mjs'), { code: 0, stderr: '' });
});

for (const mode of ['daemon', 'foreground'] as const) {
  test(`a program that holds a pidfile by itself is told from others: ${mode}`, async (t) => {
    const tools = bench(t);
    const { at, path, pidFile } = tools;
    const program = `daemonize({ ...options, mode: '${mode}' }, () => { note('up'); forever(); });`;
    if (mode === 'daemon') await tools.daemon(program);
    else await tools.foreground(program);
    t.teardown(() => stopDaemon({ pidFile }));
    await tools.noted('up');
    const start = (script: string) => daemonry(['start', '-p', pidFile, script], { cwd: path });
    tools.write(service, 'other.mjs');
    const { code, stderr } = await start('other.mjs');
    t.is(code, 1);
    t.regex(stderr, /another program: process \d+ runs .*program\.mjs in .*, and this start asks for .*other\.mjs in /);
    t.like(await start(at('program.mjs')), { code: 0, stderr: '' });
  });
}

test('daemonize refuses to reuse another script, but not the same one with other arguments', async (t) => {
  const { launch, write } = bench(t);
  const name = named(t);
  const program = `
    daemonize({ name: '${name}', ifRunning: 'reuse', onStarted: ({ outcome }) => console.log(outcome) }, forever);`;
  t.like(await launch(program), { code: 0, stdout: 'started\n' });
  t.like(await launch(`process.argv.push('--verbose'); ${program}`), { code: 0, stdout: 'reused\n' });
  const told = await run(process.execPath, [write(program, 'elsewhere.mjs')]);
  t.is(told.code, 1);
  t.is(told.stdout, '');
  t.regex(
    told.stderr,
    /another program: process \d+ runs .*program\.mjs in .*, and this start asks for .*elsewhere\.mjs in /,
  );
});

test("connectDaemon refuses another script's server of that name", async (t) => {
  const { path: cwd, write } = bench(t);
  const name = named(t);
  const server = `
    import { createServer } from 'node:net';
    daemonize({}, async (daemon) => {
      const server = createServer((connection) => connection.end());
      daemon.serve(server);
      await once(server.listen(daemonry.daemonPaths('${name}').socket), 'listening');
    });`;
  const [one, two] = [write(server, 'one.mjs'), write(server, 'two.mjs')];
  const connect = async (script: string, version?: string) => {
    const more = version === undefined ? {} : { version };
    (await connectDaemon(process.execPath, [script], { name, ...more })).destroy();
  };
  await connect(one, '1');
  const pid = await pidOf(name);
  await connect(one);
  const error = await t.throwsAsync<DaemonError>(connect(two));
  t.like(error, { code: 'ERR_OTHER_PROGRAM', pid, command: `${process.execPath} ${two} in /` });
  t.is(await pidOf(name), pid);
  await connect(two, '1');
  t.is(await pidOf(name), pid, 'of the same version');
  await connect(two, '2');
  t.not(await pidOf(name), pid);
  t.true(cwd !== '/');
});

test('an option of ours behind the program stays its own, and a note shows the right order', async (t) => {
  const { at, name, start } = twoServers(t);
  writeFileSync(at('a', 'told.mjs'), `console.log(process.argv.slice(2).join(' ')); ${service}`);
  const { code, stderr } = await start('a', 'told.mjs', '--port', '80', '--name', 'x', '-n', 'y');
  t.is(code, 0);
  t.is(
    stderr,
    'daemonry: note: --name is passed to told.mjs; an option for daemonry goes before the program: daemonry start --name x told.mjs\n',
  );
  t.is((await daemonry(['logs', name])).stdout, '--port 80 --name x -n y\n');
  await stopDaemon(name);
  for (const args of [
    ['--', 'told.mjs', '--name', 'x'],
    ['told.mjs', '--', '--name', 'x'],
    ['told.mjs', '--port', '80', '-n', 'y'],
  ]) {
    t.like(await start('a', ...args), { code: 0, stderr: '' });
    await stopDaemon(name);
  }
  t.regex((await start('a', 'told.mjs', '--cwd=/')).stderr, /: daemonry start --cwd=\/ told\.mjs\n$/);
  await stopDaemon(name);
  t.regex((await start('a', 'told.mjs', '--json')).stderr, /: daemonry start --json told\.mjs\n$/);
});
