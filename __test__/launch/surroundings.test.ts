/** Bad surroundings: each does not matter, or gives one sentence; never a stack trace. */
import {
  chmodSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { daemonPaths, daemonStatus, listDaemons, spawnDaemon, stopDaemon, type DaemonError } from '../../dist/index.js';
import { bench } from '../helpers/bench.js';
import { daemonry, main } from '../helpers/command.js';
import { read } from '../helpers/files.js';
import { named } from '../helpers/named.js';
import { noLinux, noOtherUser, noOwnMounts, ownMounts, testUnless } from '../helpers/privileges.js';
import { run, type Outcome } from '../helpers/run.js';
import { missing, runtime } from '../helpers/runtimes.js';
import { until } from '../helpers/until.js';
import { workspace } from '../helpers/workspace.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const dist = `${root}dist/index.js`;

/** Whether a command said just this sentence on stderr, and nothing else. */
function says(t: ExecutionContext, { code, stdout, stderr }: Outcome, expected: number, sentence: string | RegExp) {
  if (typeof sentence === 'string') t.is(stderr, `daemonry: ${sentence}\n`);
  else t.regex(stderr, sentence);
  t.is(stderr.trimEnd().split('\n').length, 1, stderr);
  t.is(stdout, '');
  t.is(code, expected);
}

/** A user whom the database does not know, in an environment without HOME. */
const stranger = { uid: 54_321, gid: 54_321, env: { PATH: process.env['PATH'] }, cwd: '/' };

testUnless(noOtherUser)('a user without an entry in the database and without a home directory', async (t) => {
  const sentence =
    'cannot make the directory /.local: user 54321 has no home directory: set HOME to a directory of its own (EACCES)';
  says(t, await daemonry(['start', '--name', 'daemonry-test-homeless', 'sleep', '1'], stranger), 4, sentence);
  const inRoot = { ...stranger, env: { ...stranger.env, HOME: '/' } };
  says(t, await daemonry(['start', '--name', 'daemonry-test-homeless', 'sleep', '1'], inRoot), 4, sentence);
  for (const [verb, code] of [
    [['status', 'daemonry-test-homeless'], 3],
    [['stop', 'daemonry-test-homeless'], 0],
  ] as const) {
    const told = await daemonry(verb, stranger);
    t.is(told.code, code, told.stderr);
    t.is(told.stderr, '');
  }
  const unit = await daemonry(['unit', 'api', 'sleep', '1'], stranger);
  t.is(unit.stderr, '');
  t.regex(unit.stdout, /^User=54321$/m);
});

testUnless(noOtherUser)('where HOME is a file, no daemon is found, and none is started', async (t) => {
  const { at, path } = workspace(t);
  chmodSync(path, 0o755);
  writeFileSync(at('home'), '');
  const options = { ...stranger, env: { ...stranger.env, HOME: at('home') } };
  t.is((await daemonry(['status', 'daemonry-test-homeless'], options)).code, 3);
  t.is((await daemonry(['stop', 'daemonry-test-homeless'], options)).code, 0);
  const started = await daemonry(['start', '--name', 'daemonry-test-homeless', 'sleep', '1'], options);
  says(t, started, 1, `cannot make the directory ${at('home')}: Not a directory (ENOTDIR)`);
});

/** Runs a command in a directory that is gone. */
function inGone(path: string, command: readonly string[]): Promise<Outcome> {
  return run('sh', ['-c', 'mkdir "$0" && cd "$0" && rmdir "$0" && exec "$@"', `${path}/gone`, ...command]);
}

test('in a working directory that was removed, relative paths give a sentence, and all else works', async (t) => {
  const { path, at } = workspace(t);
  const name = named(t);
  const gone = (path: string) =>
    `cannot resolve the relative path ${path}: the working directory does not exist any more (ENOENT)`;
  const call = (...args: string[]) => inGone(path, [process.execPath, main, ...args]);
  says(t, await call('start', '--pid-file', 'x.pid', '--cwd', '/', 'sleep', '1000'), 1, gone('x.pid'));
  says(t, await call('start', '--log', 'x.log', '--name', name, '--cwd', '/', 'sleep', '1000'), 1, gone('x.log'));
  says(t, await call('start', '--cwd', 'x', '--name', name, 'sleep', '1000'), 1, gone('x'));
  for (const verb of [['stop'], ['status'], ['reload'], ['signal', 'HUP']]) {
    const told = await call(...verb, '-p', 'x.pid');
    says(t, told, verb[0] === 'status' ? 4 : 1, gone('x.pid'));
  }
  says(t, await call('unit', name, 'sleep', '1'), 1, gone('.'));
  t.regex((await call('unit', '--cwd', '/srv', name, 'sleep', '1')).stdout, /^WorkingDirectory=\/srv$/m);

  const started = await call('start', '--name', name, '--cwd', '/', '--alive-for', '0', 'sleep', '1000');
  t.is(started.stderr, '');
  for (const verb of [['status', name], ['list'], ['logs', name], ['unit', name], ['stop', name], ['--help']]) {
    const told = await call(...verb);
    // Of the list it tells something about daemons of other tests.
    if (verb[0] !== 'list') t.is(told.code, 0, told.stderr);
    t.is(told.stderr, '');
  }

  const api = `
    const d = await import(${JSON.stringify(dist)});
    const told = [];
    for (const call of [
      () => d.daemonStatus({ pidFile: 'x' }),
      () => d.stopDaemon({ pidFile: 'x' }),
      () => d.signalDaemon({ pidFile: 'x' }, 'SIGHUP'),
      () => d.PidFile.acquire('x'),
      () => d.spawnDaemon('/bin/true', [], { pidFile: 'x', cwd: '/' }),
      () => d.connectDaemon('/bin/true', [], { name: 'x', socket: 'x', cwd: '/' }),
      () => d.daemonize({ listen: { x: { path: 'x' } } }),
    ]) {
      try {
        await call();
        told.push('done');
      } catch (error) {
        told.push([d.isDaemonError(error), error.code, error.step, error.message]);
      }
    }
    console.log(JSON.stringify(told));
  `;
  writeFileSync(at('api.mjs'), api);
  const told = await inGone(path, [process.execPath, at('api.mjs')]);
  t.is(told.stderr, '');
  t.deepEqual(
    JSON.parse(told.stdout),
    Array.from({ length: 7 }, () => [true, 'ENOENT', 'chdir', gone('x')]),
  );
});

test('a clock that jumps by a day does not end the wait of connectDaemon', async (t) => {
  const { pidFile, write } = bench(t);
  const server = write(
    `
    import { createServer } from 'node:net';
    daemonize({}, async () => {
      forever();
      // Only when its caller has tried it several times.
      void exists('go').then(() => createServer((socket) => socket.end('hello')).listen(at('socket')));
    });
    `,
    'server.mjs',
  );
  const caller = write(
    `
    const { now } = Date;
    let day = 0;
    Date.now = () => now() + 86_400_000 * day++;
    setTimeout(() => fs.writeFileSync(at('go'), ''), 500);
    const socket = await daemonry.connectDaemon(process.execPath, [${JSON.stringify(server)}], {
      pidFile: at('daemon.pid'),
      socket: at('socket'),
    });
    for await (const chunk of socket) console.log(String(chunk));
    `,
    'caller.mjs',
  );
  const { stdout, stderr } = await run(process.execPath, [caller]);
  await daemonry(['stop', '-p', pidFile]);
  t.is(stdout, 'hello\n', stderr);
});

test('the interpreter that a program lacks is named, with a carriage return behind it', async (t) => {
  const { at, path } = workspace(t);
  const script = (name: string, line: string) =>
    writeFileSync(at(name), `#!${line}\nexec sleep 1000\n`, { mode: 0o755 });
  script('crlf', '/bin/sh\r');
  script('crlf-env', '/usr/bin/env sh\r');
  script('env', ' /usr/bin/env sh');
  script('missing', ' /no/such/interpreter -x');
  script('folder', path);
  script('plain', at('file'));
  script('outer', at('missing'));
  writeFileSync(at('file'), '');
  const pidFile = at('a.pid');
  const refusal = async (name: string, env = process.env) => {
    const command = name.includes('/') ? name : at(name);
    const error = await t.throwsAsync<DaemonError & Error>(spawnDaemon(command, [], { pidFile, env }));
    return [error?.code, error?.message];
  };
  const cannot = (name: string, reason: string) => `${name} did not start: cannot execute ${at(name)}: ${reason}`;
  const crlf =
    'its first line ends with a carriage return, so its interpreter would be /bin/sh\\r: convert it to UNIX line endings (ENOEXEC)';
  t.deepEqual(await refusal('crlf'), ['ENOEXEC', cannot('crlf', crlf)]);
  // It would be executed, and then end with the words of env.
  t.deepEqual(await refusal('crlf-env'), ['ENOEXEC', cannot('crlf-env', crlf.replace('/bin/sh', 'sh'))]);
  const { outcome } = await spawnDaemon(at('env'), [], { pidFile });
  t.is(outcome, 'started');
  await stopDaemon({ pidFile });
  const none = 'its interpreter /no/such/interpreter does not exist (ENOENT)';
  t.deepEqual(await refusal('missing'), ['ENOENT', cannot('missing', none)]);
  t.deepEqual(await refusal('folder'), [
    'EACCES',
    cannot('folder', `its interpreter ${path} is not executable (EACCES)`),
  ]);
  t.deepEqual(await refusal('plain'), [
    'EACCES',
    cannot('plain', `its interpreter ${at('file')} is not executable (EACCES)`),
  ]);
  t.deepEqual(await refusal('outer'), [
    'ENOENT',
    cannot('outer', `its interpreter ${at('missing')} cannot be executed: ${none}`),
  ]);
  t.deepEqual(await refusal('absent'), ['ENOENT', cannot('absent', 'No such file or directory (ENOENT)')]);

  // The command: the program is there, so it is not "not installed"; and it is found on the PATH, too.
  says(
    t,
    await daemonry(['start', '-p', pidFile, at('crlf')]),
    1,
    `crlf did not start: cannot execute ${at('crlf')}: ${crlf}`,
  );
  says(
    t,
    await daemonry(['start', '-p', pidFile, at('missing')]),
    5,
    /its interpreter \/no\/such\/interpreter does not exist/,
  );
  const onPath = { env: { ...process.env, PATH: `${path}:${process.env['PATH']}` } };
  says(
    t,
    await daemonry(['start', '-p', pidFile, 'crlf'], onPath),
    1,
    `crlf did not start: cannot execute crlf: ${crlf}`,
  );
});

testUnless(noLinux)('the loader that an ELF program lacks is named', async (t) => {
  const { at } = workspace(t);
  const program = readFileSync('/bin/sleep');
  const place = program.indexOf('/lib');
  t.true(place > 0);
  program.write('/bil', place);
  writeFileSync(at('sleep'), program, { mode: 0o755 });
  const error = await t.throwsAsync<Error>(spawnDaemon(at('sleep'), [], { pidFile: at('a.pid') }));
  t.regex(error!.message, /sleep: its interpreter \/bil\S+ does not exist \(ENOENT\)$/);
});

test('a log that is a link which leads nowhere is called that', async (t) => {
  const { at } = workspace(t);
  symlinkSync(at('none'), at('log'));
  const told = await daemonry(['start', '-p', at('a.pid'), '-l', at('log'), 'sleep', '1000']);
  const reason = `it is a symbolic link to ${at('none')}, which does not exist (ENOENT)`;
  says(t, told, 1, `sleep did not start: cannot open the log ${at('log')}: ${reason}`);
});

/** Runs a command with `$BAD`, which is not UTF-8, in its environment and as `"$BAD"` among its arguments. */
function withBad(script: string): Promise<Outcome> {
  return run('sh', ['-c', `BAD=$(printf 'a\\377b'); export BAD; ${script}`, process.execPath, main]);
}

testUnless(noLinux)('an argument that is not UTF-8 is refused; a variable is passed on as it is', async (t) => {
  const { at, path } = workspace(t);
  const name = named(t);
  const sentence = String.raw`the argument "a\xFFb" is not UTF-8, and Node.js cannot pass it on`;
  says(t, await withBad(`"$0" "$1" start --name ${name} -- sleep 1000 "$BAD"`), 2, sentence);
  says(t, await withBad('"$0" "$1" stop -p "$BAD"'), 2, sentence);
  // A replacement character that was given as such is one.
  const fine = await daemonry([
    'start',
    '--name',
    name,
    '--cwd',
    '/',
    '--alive-for',
    '0',
    '--',
    'sh',
    '-c',
    'sleep 1000',
    '\uFFFD',
  ]);
  t.is(fine.code, 0, fine.stderr);

  const program = `import { daemonize } from ${JSON.stringify(dist)};\ndaemonize({ pidFile: 'a.pid' }, () => {});\n`;
  writeFileSync(at('app.mjs'), program);
  const refused = await withBad(`cd ${path} && "$0" app.mjs "$BAD"`);
  t.is(refused.stderr, `app.mjs: ${sentence}\n`);
  t.is(refused.code, 1);

  const write = `printf %s "$BAD" >${at('written.part')} && mv ${at('written.part')} ${at('written')}; exec sleep 1000`;
  writeFileSync(at('write.sh'), write);
  const started = await withBad(`"$0" "$1" start -p ${at('b.pid')} --cwd / --alive-for 0 -- sh ${at('write.sh')}`);
  t.teardown(() => daemonry(['stop', '-p', at('b.pid')]));
  t.is(started.code, 0, started.stderr);
  await until('it has written', () => read(at('written')));
  t.deepEqual([...readFileSync(at('written'))], [0x61, 0xff, 0x62]);
});

test('list says why a daemon cannot be inspected, and fails; the others are there', async (t) => {
  const [name, other] = [named(t), named(t)];
  for (const one of [name, other]) {
    const started = await daemonry(['start', '--name', one, '--cwd', '/', '--alive-for', '0', 'sleep', '1000']);
    t.is(started.code, 0, started.stderr);
  }
  await daemonry(['stop', name]);
  const { pidFile } = daemonPaths(name);
  mkdirSync(pidFile);
  const listed = await daemonry(['list']);
  t.is(listed.code, 1);
  t.regex(listed.stdout, new RegExp(`^${name} +unknown .*${pidFile} is not a pidfile: it is a directory`, 'm'));
  t.regex(listed.stdout, new RegExp(`^${other} +running `, 'm'));
  const found = (await listDaemons()).find((daemon) => daemon.name === name);
  t.like(found, { state: 'unknown', error: { code: 'ERR_NOT_A_PIDFILE', path: pidFile } });
  const json = await daemonry(['list', '--json']);
  t.is(json.code, 1);
  const inJson = (JSON.parse(json.stdout) as { name: string; error?: object }[]).find((daemon) => daemon.name === name);
  t.like(inJson, { error: { code: 'ERR_NOT_A_PIDFILE', path: pidFile } });
  t.regex(JSON.stringify(inJson), /"message":"[^"]* is not a pidfile/);
});

testUnless(noLinux ?? noOwnMounts)('without /proc, no SIGHUP is sent that could end the program', async (t) => {
  const { at } = workspace(t);
  const pidFile = at('a.pid');
  await spawnDaemon('sleep', ['1000'], { pidFile, cwd: '/' });
  t.teardown(() => daemonry(['stop', '-p', pidFile]));
  const hide = 'mount -t tmpfs tmpfs /proc && exec "$@"';
  const [command, ...flags] = ownMounts;
  const told = await run(command!, [...flags, 'sh', '-c', hide, 'sh', process.execPath, main, 'reload', '-p', pidFile]);
  says(
    t,
    told,
    1,
    /^daemonry: SIGHUP was not sent to pid \d+: without \/proc it cannot be known whether the program handles it$/m,
  );
  t.is((await daemonStatus({ pidFile })).state, 'running');
});

const addons = readdirSync(root).filter((file) => /^daemonry\..*\.node$/.test(file));

/** A project in which daemonry is installed as npm does it, or as pnpm does. */
function installed(t: ExecutionContext, how: 'npm' | 'pnpm') {
  const { at, path } = workspace(t);
  const store = how === 'npm' ? at('node_modules') : at('node_modules', '.pnpm', 'daemonry@1', 'node_modules');
  mkdirSync(`${store}/daemonry`, { recursive: true });
  for (const file of ['dist', 'package.json'])
    cpSync(`${root}${file}`, `${store}/daemonry/${file}`, { recursive: true });
  for (const addon of addons) {
    const folder = `${store}/${addon.replace(/\.node$/, '').replace('.', '-')}`;
    mkdirSync(folder);
    copyFileSync(`${root}${addon}`, `${folder}/${addon}`);
    writeFileSync(`${folder}/package.json`, JSON.stringify({ main: addon }));
  }
  if (how === 'pnpm') symlinkSync('.pnpm/daemonry@1/node_modules/daemonry', at('node_modules', 'daemonry'));
  const app = `
    import { writeFileSync } from 'node:fs';
    import { daemonize } from 'daemonry';
    daemonize({ pidFile: '${at('a.pid')}', log: '${at('log')}' }, () => {
      writeFileSync('${at('told')}', JSON.stringify(process.argv.slice(2)));
      setInterval(() => {}, 60_000);
    });
  `;
  writeFileSync(at('app.mjs'), app);
  mkdirSync(at('out'));
  const becomesDaemon = async (command: string, ...args: string[]) => {
    const started = await run(command, [...args, 'one', 'two'], { cwd: '/' });
    t.is(started.stderr, '');
    t.is(started.code, 0);
    t.deepEqual(JSON.parse(read(at('told'))), ['one', 'two']);
    const stopped = await daemonry(['stop', '-p', at('a.pid')]);
    t.regex(stopped.stdout, / stopped \(pid \d+\)\n$/);
  };
  return { at, path, becomesDaemon };
}

const esbuild = `${root}node_modules/.bin/esbuild`;
const elsewhere = (path: string) =>
  new RegExp(
    `daemonry's binary for \\w+ \\w+ was not found: its package daemonry-\\S+, an optional dependency of daemonry, must be in a node_modules directory above ${path}\n$`,
  );

for (const how of ['npm', 'pnpm'] as const) {
  test(`a CommonJS bundle finds the addon that ${how} has installed; away from it, a sentence says where it must be`, async (t) => {
    const { at, path, becomesDaemon } = installed(t, how);
    const flags = [
      '--bundle',
      '--platform=node',
      '--format=cjs',
      '--log-level=error',
      `--outfile=${at('out/app.cjs')}`,
    ];
    const bundled = await run(esbuild, ['app.mjs', ...flags], { cwd: path });
    t.is(bundled.stderr, '');
    await becomesDaemon(process.execPath, at('out/app.cjs'));

    const other = workspace(t);
    // Nothing is loaded from the working directory.
    const [addon] = addons;
    const trap = other.at('node_modules', addon!.replace(/\.node$/, '').replace('.', '-'));
    for (const folder of [trap, other.at('undefined')]) mkdirSync(folder, { recursive: true });
    writeFileSync(`${trap}/${addon}`, 'not an addon');
    const moved = workspace(t);
    copyFileSync(at('out/app.cjs'), moved.at('app.cjs'));
    const lost = await run(process.execPath, [moved.at('app.cjs')], { cwd: other.path });
    t.is(lost.code, 1);
    t.regex(lost.stderr, elsewhere(moved.at('app.cjs')));
  });
}

testUnless(missing('bun'))('a program that Bun has compiled becomes a daemon beside its packages', async (t) => {
  const { at, path, becomesDaemon } = installed(t, 'npm');
  const built = await run(runtime('bun')!, ['build', 'app.mjs', '--compile', '--outfile', 'out/app'], { cwd: path });
  t.is(built.code, 0, built.stderr);
  await becomesDaemon(at('out/app'));
  const other = workspace(t);
  copyFileSync(at('out/app'), other.at('app'));
  const lost = await run(other.at('app'), [], { cwd: path });
  t.is(lost.code, 1);
  t.regex(lost.stderr, elsewhere(other.at('app')));
});

test('without the addon every verb says so in a sentence', async (t) => {
  const { at } = workspace(t);
  cpSync(`${root}dist`, at('dist'), { recursive: true });
  copyFileSync(`${root}package.json`, at('package.json'));
  for (const verb of [['list'], ['status', 'x'], ['stop', 'x'], ['start', 'true'], ['restart', 'x'], ['logs', 'x']]) {
    const told = await run(process.execPath, [at('dist/cli.js'), ...verb]);
    says(t, told, verb[0] === 'status' ? 4 : 1, /^daemonry: daemonry's binary for .* was not found: its package /);
  }
});
