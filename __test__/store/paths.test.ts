/** The conventional places of named daemons: directories, records, and the list of all. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  lchownSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { userInfo } from 'node:os';
import test from 'ava';
import {
  daemonize,
  daemonPaths,
  daemonStatus,
  isDaemonError,
  listDaemons,
  spawnDaemon,
  stopDaemon,
} from '../../dist/index.js';
import { bench } from '../helpers/bench.js';
import { named, recordOf } from '../helpers/named.js';
import { isRoot, nobody, noOtherUser, testUnless } from '../helpers/privileges.js';
import { until } from '../helpers/until.js';
import { workspace } from '../helpers/workspace.js';

const notRoot = isRoot ? undefined : 'only root has the places of the system';
const modeOf = (path: string) => statSync(path).mode & 0o7777;

test('a start makes the directories and the record with exactly their modes, whatever the umask', async (t) => {
  const name = named(t);
  const { returned } = await bench(t).call(
    `process.umask(0); return spawnDaemon('sleep', ['100'], { name: args[0], env: { PLACE: args[0] } });`,
    { args: [name] },
  );
  t.is(returned.outcome, 'started');
  const { pidFile, logFile } = daemonPaths(name);
  const directory = isRoot ? 0o755 : 0o700;
  t.deepEqual([dirname(pidFile), dirname(logFile), pidFile, logFile, recordOf(name)].map(modeOf), [
    directory,
    directory,
    0o644,
    0o640,
    0o600,
  ]);
});

test('the record tells how the daemon was started; what only the running one can say goes with it', async (t) => {
  const { daemon, path } = bench(t);
  const name = named(t);
  const pid = await daemon(
    `
    const daemon = daemonize({ onStarted: options.onStarted, name: '${name}', version: '1.2' });
    daemon.ready('first');
    daemon.ready('second');
    forever();
  `,
    { cwd: path },
  );
  const program = join(path, 'program.mjs');
  const lasting = {
    program: process.execPath,
    arguments: ['node', program],
    cwd: path,
    method: 'daemonize',
    startedBy: { uid: process.getuid!(), user: userInfo().username, command: `${process.execPath} ${program}` },
    logFile: daemonPaths(name).logFile,
  };
  await until('it has said the second', async () => (await daemonStatus(name)).record?.status === 'second');
  const running = await daemonStatus(name);
  t.like(running, { state: 'running', pid });
  t.deepEqual({ ...running.record, arguments: lasting.arguments }, { ...lasting, version: '1.2', status: 'second' });
  t.is(running.record?.arguments.at(-1), lasting.arguments[1]);
  process.kill(pid, 'SIGKILL');
  await stopDaemon(name);
  t.deepEqual({ ...(await daemonStatus(name)).record, arguments: lasting.arguments }, lasting);
});

test('a failed start leaves nothing, or the record of the daemon before', async (t) => {
  const name = named(t);
  const failing = () => spawnDaemon('sh', ['-c', 'exit 3'], { name, aliveFor: 5000 });
  await t.throwsAsync(failing, { code: 'ERR_START_FAILED' });
  const { pidFile, logFile } = daemonPaths(name);
  for (const place of [recordOf(name), pidFile, logFile]) t.false(existsSync(place), place);
  await spawnDaemon('sleep', ['100'], { name });
  await stopDaemon(name);
  const before = readFileSync(recordOf(name), 'utf8');
  await t.throwsAsync(failing, { code: 'ERR_START_FAILED' });
  t.is(readFileSync(recordOf(name), 'utf8'), before);
});

test('a record that somebody else could have written, or that is damaged, is not believed', async (t) => {
  const name = named(t);
  await spawnDaemon('sleep', ['100'], { name });
  const record = recordOf(name);
  const whole = readFileSync(record, 'utf8');
  t.is((await daemonStatus(name)).record?.program, 'sleep');
  // While the daemon runs, its private files say it as well.
  rmSync(record);
  t.is((await daemonStatus(name)).record?.program, 'sleep');
  writeFileSync(record, whole, { mode: 0o600 });
  await stopDaemon(name);
  t.is((await daemonStatus(name)).record?.program, 'sleep');
  chmodSync(record, 0o620);
  t.deepEqual([(await daemonStatus(name)).record, (await daemonStatus(name)).state], [undefined, 'stopped']);
  chmodSync(record, 0o600);
  if (isRoot) {
    chownSync(record, nobody.uid, nobody.gid);
    t.is((await daemonStatus(name)).record, undefined);
    chownSync(record, 0, 0);
  }
  t.is((await daemonStatus(name)).record?.program, 'sleep');
  for (const content of [
    '',
    '{',
    '[]',
    '{"name":"a"}',
    whole.replace('"program":"sleep"', '"program":1'),
    whole.replace('"uid":', '"uid":-'),
    whole.slice(0, -1),
    `${whole} ${' '.repeat(16 * 2 ** 20)}`,
  ]) {
    writeFileSync(record, content);
    t.is((await daemonStatus(name)).record, undefined, content.slice(0, 1000));
  }
  writeFileSync(record, `${whole}\n`);
  t.is((await daemonStatus(name)).record?.program, 'sleep');
  rmSync(record);
  execFileSync('mkfifo', ['-m', '600', record]);
  t.deepEqual(
    [(await daemonStatus(name)).record, (await daemonStatus(name)).state],
    [undefined, 'stopped'],
    'a FIFO makes nobody wait',
  );
});

test('one name is one daemon, whatever its pidfile', async (t) => {
  const { at } = workspace(t);
  const name = named(t);
  const usual = daemonPaths(name).pidFile;
  const own = at('own.pid');
  t.teardown(() => stopDaemon({ pidFile: own }));
  const start = async (pidFile?: string) =>
    spawnDaemon('sleep', ['100'], { name, env: { PLACE: at('') }, ...(pidFile === undefined ? {} : { pidFile }) });
  for (const [first, second] of [
    [undefined, own],
    [own, undefined],
  ] as const) {
    const { pid } = await start(first);
    t.like(await t.throwsAsync(start(second)), { code: 'ERR_ALREADY_RUNNING', pid, path: first ?? usual });
    t.like(await daemonStatus(name), { state: 'running', pid, pidFile: first ?? usual });
    t.false(existsSync(second ?? usual));
    t.deepEqual(await stopDaemon(name), { outcome: 'stopped', pid });
  }
  // At the same moment, too.
  const starts = await Promise.allSettled([own, undefined, own, undefined].map(start));
  t.is(starts.filter(({ status: outcome }) => outcome === 'fulfilled').length, 1);
  t.is((await stopDaemon(name)).outcome, 'stopped');
  t.deepEqual(
    [(await daemonStatus({ pidFile: own })).state, (await daemonStatus({ pidFile: usual })).state],
    ['stopped', 'stopped'],
  );
});

for (const [shell, how, script] of [
  [
    'sh',
    'opens files of its own as every descriptor that a script can name',
    'exec 3>"$0" 4>"$0" 5>"$0" 6>"$0" 7>"$0" 8>"$0" 9>"$0"',
  ],
  ['bash', 'closes every descriptor that it inherits', 'for fd in {3..255}; do eval "exec $fd>&-"; done'],
] as const) {
  test(`a daemon that ${how} stays the only one, and is stopped`, async (t) => {
    const { at } = workspace(t);
    const pidFile = at('shell.pid');
    t.teardown(() => stopDaemon({ pidFile }));
    const start = async () =>
      spawnDaemon(shell, ['-c', `${script}; : >"$1"; exec sleep 100`, at('own'), at('done')], { pidFile });
    const { pid } = await start();
    await until('it has its descriptors', () => existsSync(at('done')));
    t.like(await t.throwsAsync(start()), { code: 'ERR_ALREADY_RUNNING', pid });
    t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
    t.deepEqual(await stopDaemon({ pidFile }), { outcome: 'stopped', pid });
  });
}

test('a named daemon with a pidfile of its own is found by its name', async (t) => {
  const { at } = workspace(t);
  const name = named(t);
  const { pid } = await spawnDaemon('sleep', ['100'], { name, pidFile: at('own.pid'), env: { PLACE: at('') } });
  t.like(await daemonStatus(name), { name, state: 'running', pid, pidFile: at('own.pid') });
  t.deepEqual(await stopDaemon(name), { outcome: 'stopped', pid });
});

test('listDaemons reports every named daemon, running or not, also beside one that cannot be inspected', async (t) => {
  const [one, other] = [named(t), named(t)];
  const { pid } = await spawnDaemon('sleep', ['100'], { name: one });
  await spawnDaemon('sleep', ['100'], { name: other });
  await stopDaemon(other);
  const odd = named(t);
  await spawnDaemon('sleep', ['100'], { name: odd });
  await stopDaemon(odd);
  writeFileSync(daemonPaths(odd).pidFile, 'hello');
  const found = await listDaemons();
  t.like(
    found.find(({ name }) => name === odd),
    { state: 'unknown' },
  );
  rmSync(daemonPaths(odd).pidFile);
  t.like(
    found.find(({ name }) => name === one),
    { state: 'running', pid, record: { program: 'sleep' } },
  );
  t.like(
    found.find(({ name }) => name === other),
    { state: 'stopped' },
  );
  const names = found.map(({ name }) => name!);
  t.deepEqual(names, [...names].sort());
});

test('a directory that somebody else owns or can write in is refused, and so is one that cannot be made', async (t) => {
  const { at, path, call } = bench(t);
  const refused = async (prepare: () => void, as: object = {}) => {
    prepare();
    const { error } = await call(`await spawnDaemon('sleep', ['100'], { name: 'a' });`, {
      args: [path],
      env: { ...process.env, XDG_STATE_HOME: at('state') },
      ...as,
    });
    return error;
  };
  if (isRoot && noOtherUser !== undefined) return t.pass(`not tried: ${noOtherUser}`);
  const as = isRoot ? { uid: nobody.uid, gid: nobody.gid } : {};
  const give = (directory: string, mode: number) => {
    mkdirSync(directory, { recursive: true });
    if (isRoot) chownSync(directory, nobody.uid, nobody.gid);
    chmodSync(directory, mode);
  };
  chmodSync(path, 0o755);
  mkdirSync(at('state'));
  const missing = await refused(() => chmodSync(at('state'), 0o555), as);
  t.like(missing, { code: 'EACCES', step: 'make-directory', path: at('state', 'daemonry') });
  t.regex(missing!.message, /^cannot make the directory /);
  chmodSync(at('state'), 0o755);
  for (const directory of [at('state', 'daemonry'), at('state', 'daemonry', 'a')]) {
    const writable = await refused(() => give(directory, 0o770), as);
    t.like(writable, { code: 'EPERM', step: 'make-directory', path: directory });
    give(directory, 0o700);
  }
});

testUnless(notRoot)('root refuses a directory of the system that belongs to a user', async (t) => {
  const name = named(t);
  const directory = dirname(daemonPaths(name).pidFile);
  mkdirSync(directory);
  chownSync(directory, nobody.uid, nobody.gid);
  const error = await t.throwsAsync(spawnDaemon('sleep', ['100'], { name }), { code: 'EPERM' });
  t.true(isDaemonError(error));
  const advice = 'it belongs to nobody, not to root: remove it, or give it to root with chown';
  t.is(error?.message, `cannot use the directory ${directory}: ${advice} (EPERM)`);
  t.like(error, { step: 'make-directory', path: directory });
  t.false(existsSync(recordOf(name)));
});

testUnless(noOtherUser)(
  'what root makes for a user is that user’s; what was there before keeps its owner',
  async (t) => {
    const name = named(t);
    const { pidFile, logFile } = daemonPaths(name);
    const directories = [dirname(pidFile), dirname(logFile)];
    const owners = () => directories.map((directory) => statSync(directory).uid);
    const start = (user: string) => spawnDaemon('sleep', ['100'], { name, user, log: '/dev/null' });
    await start('nobody');
    await stopDaemon(name);
    t.deepEqual(owners(), [nobody.uid, nobody.uid]);

    const error = await t.throwsAsync(start('daemon'), { code: 'EPERM' });
    const advice = 'it belongs to nobody, not to root or daemon: remove it, or give it to daemon with chown';
    t.is(error?.message, `cannot use the directory ${directories[0]}: ${advice} (EPERM)`);
    t.deepEqual(owners(), [nobody.uid, nobody.uid]);

    for (const directory of directories) {
      rmSync(directory, { recursive: true });
      mkdirSync(directory);
    }
    await start('nobody');
    await stopDaemon(name);
    t.deepEqual(owners(), [0, 0], 'it was root’s before');

    for (const directory of directories) chmodSync(directory, 0o777);
    const open = await t.throwsAsync(start('nobody'), { code: 'EPERM' });
    t.regex(open!.message, /: other users can write in it: take that right away with chmod go-w \(EPERM\)$/);
    t.deepEqual(owners(), [0, 0]);
  },
);

testUnless(noOtherUser)('no link in the way to a directory makes root give away what it leads to', async (t) => {
  const { at, path } = workspace(t);
  const name = named(t);
  const log = dirname(daemonPaths(name).logFile);
  chmodSync(path, 0o755);
  mkdirSync(at('secret'), 0o700);
  const start = () => spawnDaemon('sleep', ['100'], { name, user: 'nobody', log: '/dev/null' });

  // A link of the user's own, and one of root's in a directory of the user's.
  symlinkSync(at('secret'), log);
  lchownSync(log, nobody.uid, nobody.gid);
  t.like(await t.throwsAsync(start()), { code: 'ELOOP', step: 'make-directory', path: log });
  rmSync(log);
  mkdirSync(at('theirs'));
  symlinkSync(at('secret'), at('theirs', 'logs'));
  chownSync(at('theirs'), nobody.uid, nobody.gid);
  symlinkSync(at('theirs', 'logs'), log);
  t.like(await t.throwsAsync(start()), { code: 'ELOOP', step: 'make-directory' });
  rmSync(log);
  t.is(statSync(at('secret')).uid, 0);

  // A link that only root can have made is followed, and what it leads to keeps its owner.
  mkdirSync(at('elsewhere'));
  const outside = `/var/lib/${name}`;
  t.teardown(() => rmSync(outside, { recursive: true, force: true }));
  mkdirSync(outside);
  symlinkSync(outside, log);
  await start();
  await stopDaemon(name);
  t.is(statSync(outside).uid, 0);
});

test('a daemon whose pidfile is removed is found by its name all the same', async (t) => {
  const name = named(t);
  const { pid } = await spawnDaemon('sleep', ['100'], { name });
  rmSync(daemonPaths(name).pidFile);
  t.like(await daemonStatus(name), { state: 'running', pid });
  t.like(
    (await listDaemons()).find((found) => found.name === name),
    { state: 'running', pid },
  );
  rmSync(recordOf(name));
  t.like(await daemonStatus(name), { state: 'running', pid });
  t.deepEqual(await stopDaemon(name), { outcome: 'stopped', pid });
});

test('the record has the working directory as its caller calls it, so that a restart follows a link anew', async (t) => {
  const { at, call } = bench(t);
  const name = named(t);
  mkdirSync(at('v1'));
  mkdirSync(at('v2'));
  symlinkSync(at('v1'), at('current'));
  const start = (pwd: string) =>
    call(`return spawnDaemon('sleep', ['100'], { name: args[0], ifRunning: 'replace' });`, {
      args: [name],
      cwd: at('current'),
      env: { ...process.env, PWD: pwd },
    });
  await start(at('current'));
  t.is((await daemonStatus(name)).record?.cwd, at('current'));
  for (const wrong of [at('v2'), 'current', `${at('current')}/../v1`, '/no/such']) {
    await start(wrong);
    t.is((await daemonStatus(name)).record?.cwd, at('v1'), wrong);
  }
});

testUnless(notRoot)(
  'the record of root’s daemon never follows a link, and users see the daemon without it',
  async (t) => {
    const { at, call } = bench(t);
    const name = named(t);
    const { pid } = await spawnDaemon('sleep', ['100'], { name });
    if (noOtherUser === undefined) {
      const { returned } = await call(
        `return [await daemonStatus(args[0]), (await listDaemons()).filter(({ name }) => name === args[0])];`,
        {
          args: [name],
          ...nobody,
          env: { ...process.env, XDG_STATE_HOME: '/nonexistent' },
        },
      );
      const seen = { name, pidFile: daemonPaths(name).pidFile, state: 'running', pid };
      t.like(returned[0], seen);
      t.is(returned[0].record, undefined);
      t.like(returned[1], { length: 1 });
    }
    await stopDaemon(name);
    const target = at('target');
    writeFileSync(target, '{}');
    rmSync(recordOf(name));
    symlinkSync(target, recordOf(name));
    await spawnDaemon('sleep', ['100'], { name });
    t.is(readFileSync(target, 'utf8'), '{}');
    t.is((await daemonStatus(name)).record?.program, 'sleep');
  },
);

test('names and places that cannot be meant are refused', (t) => {
  for (const name of ['a/b', '', '..', 'a b', 'a.pid', 'daemonry', 'Daemonry', 'daemonry-locks']) {
    t.throws(() => daemonize({ name }), { code: 'ERR_INVALID_OPTION' }, name);
    t.throws(() => daemonPaths(name), { code: 'ERR_INVALID_OPTION' }, name);
  }
});
