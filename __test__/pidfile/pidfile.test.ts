import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import anyTest from 'ava';
import { daemonStatus, PidFile, stopDaemon } from '../../dist/index.js';
import { service } from '../fixtures/service.js';
import { bench, type Bench } from '../helpers/bench.js';
import { locksOn } from '../helpers/files.js';
import { nobody, noLinux, noOtherUser, testUnless } from '../helpers/privileges.js';
import { hasEnded } from '../helpers/processes.js';
import { until } from '../helpers/until.js';
import { workspace } from '../helpers/workspace.js';

// One at a time: each starts several processes.
const test = anyTest.serial;

const rounds = Number(process.env.DAEMONRY_TEST_ROUNDS ?? 10);
const content = (file: string) => readFileSync(file, 'utf8');
const underUmask = (umask: string) => ['sh', '-c', `umask ${umask}; exec "$@"`, 'sh'];

for (const umask of ['0', '022', '077', '0777']) {
  test(`a pidfile is made with mode 0644 by a launcher with umask ${umask}`, async (t) => {
    const folder = bench(t);
    const options = { via: underUmask(umask) };
    await folder.daemon(service({ pidFile: folder.at('a.pid') }), options);
    t.is(statSync(folder.at('a.pid')).mode & 0o7777, 0o644);
    const acquire = 'PidFile.acquire(args[0]); return fs.statSync(args[0]).mode & 0o7777;';
    t.is((await folder.call(acquire, { args: [folder.at('b.pid')], ...options })).returned, 0o644);
    const acquireOther = 'PidFile.acquire(args[0], { mode: 0o660 }); return fs.statSync(args[0]).mode & 0o7777;';
    t.is((await folder.call(acquireOther, { args: [folder.at('c.pid')], ...options })).returned, 0o660);
  });
}

test("the daemon's own umask does not matter to the pidfile", async (t) => {
  const { at, daemon } = bench(t);
  await daemon(service({ pidFile: at('a.pid'), umask: 0 } as { pidFile: string }));
  t.is(statSync(at('a.pid')).mode & 0o7777, 0o644);
});

test('an existing pidfile keeps its mode and is taken over', async (t) => {
  const { at, daemon } = bench(t);
  writeFileSync(at('a.pid'), '2147483647\n');
  chmodSync(at('a.pid'), 0o600);
  const { ino } = statSync(at('a.pid'));
  const pid = await daemon(service({ pidFile: at('a.pid') }));
  t.is(content(at('a.pid')), `${pid}\n`);
  t.is(statSync(at('a.pid')).mode & 0o7777, 0o600);
  t.is(statSync(at('a.pid')).ino, ino);
});

/** A daemon that is up when its second argument names a file, and takes its time to stop until the third does. */
const onCue = `
  daemonize({ pidFile: args[0], onStarted: started }, async (daemon) => {
    forever();
    daemon.onStop(() => until(() => fs.existsSync(args[2])));
    await until(() => fs.existsSync(args[1]));
  });`;

test('a pidfile holds the pid and a newline whether the daemon starts, runs or stops, and is removed at the end', async (t) => {
  const { at, start } = bench(t);
  const [pidFile, go, leave] = [at('a.pid'), at('go'), at('leave')];
  const launcher = start(onCue, { args: [pidFile, go, leave] });
  const starting = await until('it is starting', async () => {
    const seen = await daemonStatus({ pidFile });
    return seen.state === 'starting' && seen.pid !== undefined ? seen : undefined;
  });
  t.is(content(pidFile), `${starting.pid}\n`);
  writeFileSync(go, '');
  const { pid } = starting;
  t.is((await launcher.done).stdout, `started ${pid}\n`);
  t.is(content(pidFile), `${pid}\n`);
  t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
  const stopped = stopDaemon({ pidFile });
  await until('it is stopping', async () => (await daemonStatus({ pidFile })).state === 'stopping');
  t.is(content(pidFile), `${pid}\n`);
  t.like(await daemonStatus({ pidFile }), { state: 'stopping', pid });
  writeFileSync(leave, '');
  t.deepEqual(await stopped, { outcome: 'stopped', pid });
  t.like(await daemonStatus({ pidFile }), { state: 'stopped', pidFile, ended: { reason: 'stopped' } });
  t.false(existsSync(pidFile));
});

test('a daemon whose launcher is killed before it is up says itself that it is', async (t) => {
  const { at, start, killAfterwards } = bench(t);
  const [pidFile, go] = [at('a.pid'), at('go')];
  writeFileSync(at('leave'), '');
  const { child } = start(onCue, { args: [pidFile, go, at('leave')] });
  await until(
    'its main runs',
    async () => existsSync(pidFile) && (await daemonStatus({ pidFile })).state === 'starting' && content(pidFile),
  );
  const pid = Number(content(pidFile));
  killAfterwards(pid);
  child.kill('SIGKILL');
  await until('the launcher has ended', () => hasEnded(child.pid!));
  t.like(await daemonStatus({ pidFile }), { state: 'starting', pid });
  writeFileSync(go, '');
  await until('it is up', async () => (await daemonStatus({ pidFile })).state === 'running');
  t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
  t.deepEqual(await stopDaemon({ pidFile }), { outcome: 'stopped', pid });
});

test('a daemon whose launcher is killed while it must live on is up when it has', async (t) => {
  const { at, start, noted, killAfterwards } = bench(t);
  const pidFile = at('a.pid');
  const body =
    "daemonize({ pidFile: args[0], aliveFor: 3000 }); forever(); setImmediate(() => setImmediate(() => note('up')));";
  const { child } = start(body, { args: [pidFile] });
  await noted('up');
  const pid = Number(content(pidFile));
  killAfterwards(pid);
  t.like(await daemonStatus({ pidFile }), { state: 'starting', pid });
  child.kill('SIGKILL');
  await until('it is up', async () => (await daemonStatus({ pidFile })).state === 'running');
  t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
});

const plain = 'daemonize({ pidFile: args[0], onStarted: started }); forever();';
/** Its event loop is blocked from SIGUSR2 on; its second argument names the file that says so. */
const blocked = `process.on('SIGUSR2', () => { fs.writeFileSync(args[1], ''); for (;;); });
  daemonize({ pidFile: args[0], onStarted: started });
  forever();`;

for (const [how, body, signal] of [
  ['SIGTERM', plain, 'SIGTERM'],
  ['SIGINT', plain, 'SIGINT'],
  ['SIGTERM in a blocked event loop', blocked, 'SIGTERM'],
  [
    'process.exit()',
    "process.on('SIGUSR2', () => process.exit(3)); daemonize({ pidFile: args[0], onStarted: started }); forever();",
    'SIGUSR2',
  ],
  [
    'having nothing left to do',
    "const timer = setInterval(() => {}, 1000); process.on('SIGUSR2', () => clearInterval(timer)); daemonize({ pidFile: args[0], onStarted: started });",
    'SIGUSR2',
  ],
] as const) {
  const start = async ({ at, daemon }: Bench) => {
    const pid = await daemon(body, { args: [at('a.pid'), at('blocked')] });
    if (body === blocked) {
      process.kill(pid, 'SIGUSR2');
      await until('it is blocked', () => existsSync(at('blocked')));
    }
    return pid;
  };

  test(`a daemon that ends by ${how} removes its pidfile`, async (t) => {
    const folder = bench(t);
    const pid = await start(folder);
    process.kill(pid, signal);
    await until('it has ended', () => hasEnded(pid));
    t.false(existsSync(folder.at('a.pid')));
  });

  test(`a daemon that ends by ${how} leaves a pidfile alone that is not its own`, async (t) => {
    const folder = bench(t);
    const { at } = folder;
    const replaced = await start(folder);
    renameSync(at('a.pid'), at('old.pid'));
    writeFileSync(at('a.pid'), `${replaced}\n`);
    process.kill(replaced, signal);
    await until('it has ended', () => hasEnded(replaced));
    t.is(content(at('a.pid')), `${replaced}\n`);
  });
}

testUnless(noOtherUser)('a daemon that may not write the directory leaves a pidfile that says dead', async (t) => {
  const folder = bench(t);
  const { at } = folder;
  writeFileSync(at('a.pid'), '');
  chownSync(at('a.pid'), nobody.uid, nobody.gid);
  const pid = await folder.daemon(service({ pidFile: at('a.pid') }), { ...nobody, cwd: '/' });
  t.is(content(at('a.pid')), `${pid}\n`);
  process.kill(pid, 'SIGTERM');
  await until('it has ended', async () => (await daemonStatus({ pidFile: at('a.pid') })).state === 'dead');
  t.is(content(at('a.pid')), `${pid}\n`);
});

testUnless(noOtherUser)("root refuses another user's pidfile, and leaves it untouched", async (t) => {
  const { path, at, launch, call } = bench(t);
  chmodSync(path, 0o1777);
  const { returned } = await call('fs.writeFileSync(args[0], ""); return 1', {
    args: [at('a.pid')],
    ...nobody,
    cwd: '/',
  });
  t.is(returned, 1);
  const { code, stderr } = await launch(service({ pidFile: at('a.pid') }));
  t.is(code, 1);
  t.is(stderr, `program.mjs did not start: ${at('a.pid')} is not a pidfile: it belongs to another user\n`);
  t.is(content(at('a.pid')), '');
});

testUnless(noLinux)(
  'a running daemon holds two locks: the one that its launcher took, and a record lock of its own',
  async (t) => {
    const { at, daemon } = bench(t);
    const pid = await daemon(service({ pidFile: at('a.pid') }));
    const locks = locksOn(at('a.pid'));
    t.deepEqual(locks.map(({ kind }) => kind).sort(), ['FLOCK', 'POSIX']);
    t.is(locks.find(({ kind }) => kind === 'POSIX')?.pid, pid);
  },
);

testUnless(noLinux)('a daemon that looks at itself, however it spells the path, keeps its record lock', async (t) => {
  const folder = bench(t);
  const { at } = folder;
  mkdirSync(at('real'));
  symlinkSync(at('real'), at('linked'));
  const body = `
    const { pidFile } = daemonize({ pidFile: args[0], onStarted: started });
    forever();
    await exists('go');
    const attempt = (call) => { try { return call(); } catch ({ code, pid }) { return { code, pid }; } };
    note(JSON.stringify([
      await daemonStatus({ pidFile }),
      await daemonStatus({ pidFile: args[1] }),
      await signalDaemon({ pidFile }, 'SIGCONT'),
      attempt(() => PidFile.acquire(pidFile)),
      attempt(() => PidFile.acquire(args[1])),
    ]));`;
  const paths = ['real/a.pid', 'linked/a.pid'].map((name) => at(name));
  const pid = await folder.daemon(body, { args: paths });
  writeFileSync(at('go'), '');
  const [self, byLink, signalled, ...acquired] = JSON.parse(await folder.noted(/^\[/));
  t.like(self, { state: 'running', pid });
  t.like(byLink, { state: 'running', pid });
  t.deepEqual(signalled, { pid });
  for (const error of acquired) t.deepEqual(error, { code: 'ERR_ALREADY_RUNNING', pid });
  t.is(acquired.length, 2);
  t.true(locksOn(at('real/a.pid')).some(({ kind, pid: owner }) => kind === 'POSIX' && owner === pid));
});

testUnless(noLinux)(
  'a program that looks at its pidfile above daemonize() has its record lock back below',
  async (t) => {
    const folder = bench(t);
    const pidFile = folder.at('a.pid');
    const body = `await daemonStatus({ pidFile: args[0] }); ${service({ pidFile })}`;
    const pid = await folder.daemon(body, { args: [pidFile] });
    t.true(locksOn(pidFile).some(({ kind, pid: owner }) => kind === 'POSIX' && owner === pid));
  },
);

testUnless(noLinux)(
  'a daemon that read its own pidfile has lost its record lock and is proven all the same',
  async (t) => {
    const folder = bench(t);
    const pidFile = folder.at('a.pid');
    const body = `
    daemonize({ pidFile: args[0], onStarted: started });
    fs.readFileSync(args[0]);
    note('read');
    forever();`;
    const pid = await folder.daemon(body, { args: [pidFile] });
    await folder.noted('read');
    t.deepEqual(
      locksOn(pidFile).map(({ kind }) => kind),
      ['FLOCK'],
    );
    t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
    const second = await folder.launch(service({ pidFile }));
    t.true(second.stderr.includes(`already running with pid ${pid}`), second.stderr);
    t.deepEqual(await stopDaemon({ pidFile }), { outcome: 'stopped', pid });
  },
);

test('a daemon whose pidfile was removed is found all the same, and no other one starts', async (t) => {
  const folder = bench(t);
  const pidFile = folder.at('a.pid');
  const old = await folder.daemon(service({ pidFile }));
  renameSync(pidFile, folder.at('away'));
  t.like(await daemonStatus({ pidFile }), { state: 'running', pid: old });
  t.like(await daemonStatus({ pidFile: folder.at('away') }), { state: 'running', pid: old });
  const { code, stderr } = await folder.launch(service({ pidFile }));
  t.is(code, 1);
  t.is(stderr, `program.mjs is already running with pid ${old} (pidfile ${pidFile})\n`);
  t.deepEqual(await stopDaemon({ pidFile }), { outcome: 'stopped', pid: old });
  t.like(await daemonStatus({ pidFile }), { state: 'stopped', pidFile, ended: { reason: 'stopped' } });
});

test(`a start right after kill -9 is never refused, ${rounds} times`, async (t) => {
  const folder = bench(t);
  const pidFile = folder.at('a.pid');
  // In one process, so that nothing comes between the two.
  const body = `
    const before = await daemonStatus({ pidFile: args[0] });
    if (before.state === 'running') process.kill(before.pid, 'SIGKILL');
    daemonize({ pidFile: args[0], onStarted: started });
    forever();`;
  const pids = new Set<number>();
  for (let round = 0; round < rounds; round++) {
    const { returned: pid, error } = await folder.call(body, { args: [pidFile] });
    t.is(error, undefined);
    t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
    pids.add(pid);
  }
  t.is(pids.size, rounds);
  await stopDaemon({ pidFile });
});

test('PidFile.acquire writes the pid, locks the file, and release removes it', async (t) => {
  const { at } = workspace(t);
  const pidFile = PidFile.acquire(at('a.pid'));
  t.is(pidFile.path, at('a.pid'));
  t.is(content(pidFile.path), `${process.pid}\n`);
  t.like(await daemonStatus({ pidFile: pidFile.path }), { state: 'running', pid: process.pid });
  t.throws(() => PidFile.acquire(at('a.pid')), { code: 'ERR_ALREADY_RUNNING' });
  t.is(content(pidFile.path), `${process.pid}\n`);
  pidFile.release();
  t.false(existsSync(at('a.pid')));
  pidFile.release();
  PidFile.acquire(at('a.pid')).release();
});

test('PidFile.acquire by `using` is released at the end of the block', (t) => {
  const { at } = workspace(t);
  {
    using pidFile = PidFile.acquire(at('a.pid'));
    t.true(existsSync(pidFile.path));
  }
  t.false(existsSync(at('a.pid')));
});

test('a second release leaves the file of a later holder alone', (t) => {
  const { at } = workspace(t);
  const first = PidFile.acquire(at('a.pid'));
  first.release();
  using second = PidFile.acquire(at('a.pid'));
  first.release();
  t.is(content(second.path), `${process.pid}\n`);
});

test('PidFile.acquire fails with the pid of the process that holds the file', async (t) => {
  const { at, start, launch } = bench(t);
  const pidFile = at('a.pid');
  const { child } = start('PidFile.acquire(args[0]); forever();', { args: [pidFile] });
  await until('it is held', async () => (await daemonStatus({ pidFile })).state === 'running');
  const error = t.throws(() => PidFile.acquire(pidFile), { code: 'ERR_ALREADY_RUNNING' });
  t.like(error, {
    pid: child.pid,
    path: pidFile,
    message: `already running with pid ${child.pid} (pidfile ${pidFile})`,
  });
  t.is(content(pidFile), `${child.pid}\n`);

  const outcome = await launch(service({ pidFile }));
  t.is(outcome.code, 1);
  t.true(outcome.stderr.includes(`already running with pid ${child.pid}`), outcome.stderr);

  child.kill('SIGKILL');
  await until('it has ended', async () => (await daemonStatus({ pidFile })).state === 'dead');
  t.like(await daemonStatus({ pidFile }), { state: 'dead', lastPid: child.pid! });
  using taken = PidFile.acquire(pidFile);
  t.is(content(taken.path), `${process.pid}\n`);
});

for (const [how, body] of [
  ['process.exit()', 'PidFile.acquire(args[0]); started({ pid: process.pid }); process.exit();'],
  ['having nothing left to do', 'PidFile.acquire(args[0]); return process.pid;'],
] as const) {
  test(`a program that ends by ${how} without release removes its pidfile`, async (t) => {
    const { at, call } = bench(t);
    const { returned } = await call(body, { args: [at('a.pid')] });
    t.is(typeof returned, 'number');
    t.false(existsSync(at('a.pid')));
  });
}

test('PidFile.acquire names an option that is wrong', (t) => {
  const { at } = workspace(t);
  const acquire = (path: unknown, options?: unknown) => () => PidFile.acquire(path as string, options as object);
  for (const [call, word] of [
    [acquire(''), 'path'],
    [acquire(7), 'path'],
    [acquire(at('a.pid'), { mode: '0644' }), 'mode'],
    [acquire(at('a.pid'), { mode: 0o10000 }), 'mode'],
    [acquire(at('a.pid'), { mode: 0o666 }), 'mode'],
    [acquire(at('a.pid'), { modus: 0o600 }), 'modus'],
    [acquire(at('a.pid'), { umask: 0o77 }), /^unknown option "umask"$/],
    [acquire(at('a.pid'), 0o600), 'options'],
    [acquire(at('a.pid'), null), 'options'],
  ] as const) {
    const error = t.throws(call, { code: 'ERR_INVALID_OPTION' });
    t.regex(error!.message, new RegExp(word));
  }
  t.false(existsSync(at('a.pid')));
});
