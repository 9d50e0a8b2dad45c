import { spawn } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import anyTest from 'ava';
import {
  DaemonError,
  daemonPaths,
  daemonStatus,
  forgetDaemon,
  isDaemonError,
  reloadDaemon,
  restartDaemon,
  signalDaemon,
  stopDaemon,
  type NamedTarget,
  type StopOptions,
  type Target,
} from '../../dist/index.js';
import { service } from '../fixtures/service.js';
import { bench } from '../helpers/bench.js';
import { locksOn, read } from '../helpers/files.js';
import { isRoot, nobody, noLinux, noOtherUser, noOwnPids, ownPids, testUnless } from '../helpers/privileges.js';
import { hasEnded, statusField } from '../helpers/processes.js';
import { removePlaces } from '../helpers/named.js';
import { until } from '../helpers/until.js';
import { workspace } from '../helpers/workspace.js';

// One at a time: each starts several processes.
const test = anyTest.serial;

// More than any kernel gives: whatever goes wrong, no process is hit.
const noPid = 2 ** 31 - 1;

const deaf = `daemonize({ pidFile: args[0], onStarted: started }, () => {
  process.on('SIGTERM', () => fs.appendFileSync(args[1], 'TERM '));
  process.on('SIGUSR2', () => process.exit());
  forever();
});`;

// A user's place for named daemons that is nobody else's.
const state = mkdtempSync(join(tmpdir(), 'daemonry-test-state-'));
process.env.XDG_STATE_HOME = state;
anyTest.after.always(() => rmSync(state, { recursive: true }));

test('daemonStatus reports the pid of a running daemon and when its process was started', async (t) => {
  const { at, daemon } = bench(t);
  const before = Date.now();
  const pid = await daemon(service({ pidFile: at('a.pid') }));
  const seen = await daemonStatus({ pidFile: at('a.pid') });
  if (seen.state !== 'running') return t.fail(seen.state);
  t.deepEqual(Object.keys(seen).sort(), ['pid', 'pidFile', 'since', 'state']);
  t.is(seen.pid, pid);
  t.is(seen.pidFile, at('a.pid'));
  // The kernel counts a process's start in hundredths of a second.
  const since = seen.since!.getTime();
  t.true(since >= before - 50 && since <= Date.now() + 50, String(seen.since));
});

test('daemonStatus reports a daemon without a pidfile as stopped, also in a missing directory', async (t) => {
  const { at } = workspace(t);
  t.deepEqual(await daemonStatus({ pidFile: at('a.pid') }), { state: 'stopped', pidFile: at('a.pid') });
  t.is((await daemonStatus({ pidFile: at('missing', 'a.pid') })).state, 'stopped');
});

test('daemonStatus reports a killed daemon as dead, with its last pid', async (t) => {
  const folder = bench(t);
  const pidFile = folder.at('a.pid');
  const pid = await folder.daemon(service({ pidFile }));
  process.kill(pid, 'SIGKILL');
  await until('it has ended', async () => (await daemonStatus({ pidFile })).state === 'dead');
  t.deepEqual(await daemonStatus({ pidFile }), { state: 'dead', pidFile, lastPid: pid, ended: { reason: 'vanished' } });
  t.is(readFileSync(pidFile, 'utf8'), `${pid}\n`);
});

testUnless(noLinux)('daemonStatus sees a lock however many others come and go meanwhile', async (t) => {
  const { at, start } = bench(t);
  const pidFile = at('a.pid');
  writeFileSync(pidFile, '');
  // Not by a daemon.
  const holder = spawn('flock', ['--no-fork', pidFile, 'sleep', '1000'], { stdio: 'ignore' });
  t.teardown(() => holder.kill('SIGKILL'));
  await until('it is locked', () => locksOn(pidFile).length > 0);
  for (const name of ['b.pid', 'c.pid']) {
    start('for (;;) PidFile.acquire(args[0]).release();', { args: [at(name)] });
    await until('others come and go', () => existsSync(at(name)));
  }
  for (let look = 0; look < 500; look++) t.is((await daemonStatus({ pidFile })).state, 'unknown');
  t.is(holder.signalCode, null);
});

testUnless(noOtherUser)("an ordinary user sees that root's daemon runs, and may not stop it", async (t) => {
  const { at, daemon, call } = bench(t);
  const pid = await daemon(service({ pidFile: at('a.pid') }));
  const run = { ...nobody, cwd: '/' };
  const { returned } = await call('return daemonStatus({ pidFile: args[0] })', { args: [at('a.pid')], ...run });
  t.like(returned, { state: 'running', pid });
  const { error } = await call('return stopDaemon({ pidFile: args[0] })', { args: [at('a.pid')], ...run });
  t.like(error, { name: 'DaemonError', code: 'EPERM', step: 'signal' });
  t.like(await daemonStatus({ pidFile: at('a.pid') }), { state: 'running', pid });
});

for (const [where, mode, owner, isRemoved] of [
  ["in that user's folder", 0o755, nobody.uid, true],
  ["in another user's folder", 0o777, 1, false],
  ['in a folder like /tmp', 0o1777, 0, false],
] as const) {
  testUnless(noOtherUser ?? noLinux)(
    `root stops a user's daemon, and ${isRemoved ? 'removes' : 'leaves'} its pidfile ${where}`,
    async (t) => {
      const { at, call } = bench(t);
      mkdirSync(at('state'));
      chmodSync(at('state'), mode);
      chownSync(at('state'), owner, owner);
      const pidFile = at('state', 'a.pid');
      const start = `return spawnDaemon('sleep', ['1000'], { pidFile: args[0] }).then(({ pid }) => pid)`;
      const { returned: pid, error } = await call(start, { args: [pidFile], ...nobody, cwd: '/' });
      t.is(error, undefined, error?.message);
      t.deepEqual(await stopDaemon({ pidFile }), { outcome: 'stopped', pid });
      t.is(existsSync(pidFile), !isRemoved);
    },
  );
}

test('a relative path is looked up from the working directory', async (t) => {
  const { path, at, daemon, call } = bench(t);
  const pid = await daemon(service({ pidFile: at('a.pid') }));
  const { returned } = await call("return daemonStatus({ pidFile: 'a.pid' })", { cwd: path });
  t.like(returned, { state: 'running', pid, pidFile: at('a.pid') });
});

testUnless(noOwnPids)('a daemon in another PID namespace is unknown from outside and never signalled', async (t) => {
  const { at, start, call } = bench(t);
  const pidFile = at('a.pid');
  const via = [...ownPids, 'sh', '-c', '"$0" "$1"; exec sleep 1000'];
  const namespace = start(service({ pidFile }), { via, deadline: 120_000 });
  t.teardown(async () => {
    namespace.child.kill('SIGKILL');
    await until('the namespace has ended', async () => (await daemonStatus({ pidFile })).state === 'dead');
  });
  await until('it is up', () => read(pidFile).endsWith('\n'));

  const seen = await daemonStatus({ pidFile });
  if (seen.state !== 'unknown') return t.fail(seen.state);
  const { heldBy } = seen;
  t.is(statusField(heldBy!, 'NSpid')?.split(/\s+/)[1], readFileSync(pidFile, 'utf8').trim());
  await t.throwsAsync(stopDaemon({ pidFile }), { code: 'ERR_PIDFILE_HELD' });
  await t.throwsAsync(signalDaemon({ pidFile }, 'SIGKILL'), { code: 'ERR_PIDFILE_HELD' });
  const { error } = await call('daemonize({ pidFile: args[0] })', { args: [pidFile] });
  t.like(error, { code: 'ERR_PIDFILE_HELD', pid: heldBy! });
  t.false(hasEnded(heldBy!));
});

testUnless(noOwnPids)('a daemon outside is unknown from another PID namespace and never signalled', async (t) => {
  const { at, daemon, call } = bench(t);
  const pidFile = at('a.pid');
  const pid = await daemon(service({ pidFile }));
  const body = `
    const codes = [];
    for (const call of [() => stopDaemon({ pidFile: args[0] }), () => signalDaemon({ pidFile: args[0] }, 'SIGKILL'),
      () => PidFile.acquire(args[0]), () => daemonize({ pidFile: args[0] })]) {
      try { codes.push(await call()); } catch (error) { codes.push(error.code, error.pid); }
    }
    return [process.pid, await daemonStatus({ pidFile: args[0] }), ...codes];`;
  const { returned } = await call(body, { args: [pidFile], via: [...ownPids, '--'] });
  const [self, seen, ...codes] = returned;
  t.not(self, pid);
  t.deepEqual(seen, { state: 'unknown', pidFile });
  // JSON has null for undefined: no pid.
  t.deepEqual(
    codes,
    Array.from({ length: 8 }, (_, index) => (index % 2 === 0 ? 'ERR_PIDFILE_HELD' : null)),
  );
  t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
});

test('stopDaemon ends a daemon, waits for its end and removes the pidfile', async (t) => {
  const { at, daemon } = bench(t);
  const pid = await daemon(service({ pidFile: at('a.pid') }));
  t.deepEqual(await stopDaemon({ pidFile: at('a.pid') }), { outcome: 'stopped', pid });
  t.true(hasEnded(pid));
  t.false(existsSync(at('a.pid')));
  t.deepEqual(await stopDaemon({ pidFile: at('a.pid') }), { outcome: 'not-running' });
});

test('stopDaemon kills a daemon that does not end in time, and removes its pidfile', async (t) => {
  const folder = bench(t);
  const pidFile = folder.at('a.pid');
  const pid = await folder.daemon(deaf, { args: [pidFile, folder.at('heard')] });
  t.deepEqual(await stopDaemon({ pidFile }, { timeout: 300 }), { outcome: 'killed', pid });
  t.is(readFileSync(folder.at('heard'), 'utf8'), 'TERM ');
  t.true(hasEnded(pid));
  t.false(existsSync(pidFile));
});

test('stopDaemon with force: false throws ERR_STOP_TIMEOUT and leaves the daemon alive', async (t) => {
  const folder = bench(t);
  const pidFile = folder.at('a.pid');
  const pid = await folder.daemon(deaf, { args: [pidFile, folder.at('heard')] });
  const error = await t.throwsAsync(stopDaemon({ pidFile }, { timeout: 200, force: false }), {
    code: 'ERR_STOP_TIMEOUT',
  });
  t.like(error, { pid, message: `the daemon did not stop within 200 ms: process ${pid} is still running` });
  t.like(await daemonStatus({ pidFile }), { state: 'stopping', pid });
  t.is(readFileSync(folder.at('heard'), 'utf8'), 'TERM ');
});

test('stopDaemon sends the signal that killSignal names', async (t) => {
  const folder = bench(t);
  const pidFile = folder.at('a.pid');
  const pid = await folder.daemon(deaf, { args: [pidFile, folder.at('heard')] });
  t.deepEqual(await stopDaemon({ pidFile }, { killSignal: 'SIGUSR2' }), { outcome: 'stopped', pid });
  t.false(existsSync(folder.at('heard')));
});

test('stopDaemon waits for the end itself: two of them both succeed', async (t) => {
  const { at, daemon } = bench(t);
  const pid = await daemon(service({ pidFile: at('a.pid') }));
  const outcomes = await Promise.all([stopDaemon({ pidFile: at('a.pid') }), stopDaemon({ pidFile: at('a.pid') })]);
  t.true(hasEnded(pid));
  t.true(outcomes.some(({ outcome }) => outcome === 'stopped'));
  t.true(outcomes.every(({ outcome }) => outcome === 'stopped' || outcome === 'not-running'));
});

test('stopDaemon ends a daemon that is still starting, and its launcher fails', async (t) => {
  const { at, start, noted } = bench(t);
  const pidFile = at('a.pid');
  const body =
    'daemonize({ pidFile: args[0] }, async (daemon) => { note(daemon.pid); forever(); await new Promise(() => {}); });';
  const launcher = start(body, { args: [pidFile] });
  const pid = Number(await noted(/^\d+$/));
  t.deepEqual(await stopDaemon({ pidFile }), { outcome: 'stopped', pid });
  const { code, stderr } = await launcher.done;
  t.is(code, 1);
  t.is(stderr, 'program.mjs did not start: the daemon was terminated by SIGTERM before it was up\n');
  t.false(existsSync(pidFile));
});

test('signalDaemon delivers the signal and resolves with the pid', async (t) => {
  const folder = bench(t);
  const pidFile = folder.at('a.pid');
  const body = `daemonize({ pidFile: args[0], onStarted: started }, () => {
    for (const signal of ['SIGUSR2', 'SIGHUP']) process.on(signal, () => fs.appendFileSync(args[1], signal + ' '));
    forever();
  });`;
  const pid = await folder.daemon(body, { args: [pidFile, folder.at('heard')] });
  const heardSo = (text: string) => until(text, () => read(folder.at('heard')) === text);
  t.deepEqual(await signalDaemon({ pidFile }, 'SIGUSR2'), { pid });
  await heardSo('SIGUSR2 ');
  t.deepEqual(await signalDaemon({ pidFile }, 'SIGHUP'), { pid });
  await heardSo('SIGUSR2 SIGHUP ');
});

test('signalDaemon refuses SIGHUP for a daemon that does not catch it, and the daemon lives on', async (t) => {
  const folder = bench(t);
  const pidFile = folder.at('a.pid');
  const pid = await folder.daemon(service({ pidFile }));
  const error = await t.throwsAsync(signalDaemon({ pidFile }, 'SIGHUP'), { code: 'ERR_SIGNAL_REFUSED' });
  t.like(error, { pid, signal: 'SIGHUP' });
  t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
  t.deepEqual(await signalDaemon({ pidFile }, 'SIGCONT'), { pid });
});

for (const reloads of [
  'daemon.onReload(() => fs.writeFileSync(args[1], ""))',
  'process.on("SIGHUP", () => fs.writeFileSync(args[1], ""))',
]) {
  test(`signalDaemon delivers SIGHUP where the daemon has ${reloads.split('(')[0]}`, async (t) => {
    const folder = bench(t);
    const pidFile = folder.at('a.pid');
    const body = `const daemon = daemonize({ pidFile: args[0], onStarted: started }); ${reloads}; forever();`;
    const pid = await folder.daemon(body, { args: [pidFile, folder.at('reloaded')] });
    t.deepEqual(await signalDaemon({ pidFile }, 'SIGHUP'), { pid });
    await until('it has reloaded', () => existsSync(folder.at('reloaded')));
  });
}

test('signalDaemon refuses what would end a daemon that is still starting, and delivers SIGCONT', async (t) => {
  const { at, start, noted } = bench(t);
  const pidFile = at('a.pid');
  const body = `daemonize({ pidFile: args[0], onStarted: started }, async (daemon) => {
    process.on('SIGUSR2', () => {});
    note(daemon.pid);
    await exists('go');
    forever();
  });`;
  const launcher = start(body, { args: [pidFile] });
  t.teardown(() => stopDaemon({ pidFile }));
  const pid = Number(await noted(/^\d+$/));
  for (const signal of ['SIGUSR2', 'SIGHUP', 'SIGINT'] as const) {
    t.like(await t.throwsAsync(signalDaemon({ pidFile }, signal), { code: 'ERR_SIGNAL_REFUSED' }), { pid, signal });
  }
  t.deepEqual(await signalDaemon({ pidFile }, 'SIGCONT'), { pid });
  writeFileSync(at('go'), '');
  t.is((await launcher.done).stdout, `started ${pid}\n`);
  t.deepEqual(await signalDaemon({ pidFile }, 'SIGUSR2'), { pid });
});

test('no control function throws: a wrong argument rejects', async (t) => {
  const wrong = { pidFile: '' };
  const calls: (() => unknown)[] = [
    () => daemonStatus(wrong),
    () => stopDaemon(wrong),
    () => signalDaemon(wrong, 'SIGTERM'),
    () => signalDaemon('api', 'SIGFOO' as NodeJS.Signals),
    () => reloadDaemon(wrong),
    () => restartDaemon(wrong as unknown as NamedTarget),
    () => forgetDaemon(wrong),
  ];
  for (const call of calls) {
    const promise = call();
    t.true(promise instanceof Promise);
    await t.throwsAsync(promise as Promise<unknown>, { code: 'ERR_INVALID_OPTION' });
  }
});

testUnless(noLinux)('signalDaemon leaves the event loop free while it waits for proof', async (t) => {
  const { at } = workspace(t);
  const pidFile = at('a.pid');
  writeFileSync(pidFile, '');
  // It could be about to write its pid.
  const holder = spawn('flock', ['--no-fork', pidFile, 'sleep', '1000'], { stdio: 'ignore' });
  t.teardown(() => holder.kill('SIGKILL'));
  await until('it is locked', () => locksOn(pidFile).length > 0);
  const delay = monitorEventLoopDelay({ resolution: 10 });
  delay.enable();
  await t.throwsAsync(signalDaemon({ pidFile }, 'SIGTERM'));
  delay.disable();
  t.true(delay.max < 2e9, `blocked for ${delay.max / 1e6} ms`);
});

test('signalDaemon to what is not running names the pidfile, or the places that a name was looked for', async (t) => {
  const { at } = workspace(t);
  const byPath = await t.throwsAsync(signalDaemon({ pidFile: at('a.pid') }, 'SIGTERM'), { code: 'ERR_NOT_RUNNING' });
  t.like(byPath, { path: at('a.pid'), message: `no daemon is running (pidfile ${at('a.pid')})` });
  const name = uniqueName();
  const byName = await t.throwsAsync(signalDaemon(name, 'SIGTERM'), { code: 'ERR_NOT_RUNNING' });
  const places = [userPidFile(name), systemPidFile(name)];
  t.is(byName?.message, `no daemon named ${name} is running (looked at ${places.join(' and ')})`);
});

test('a name means the locked pidfile, else the first that is there, else the place of a start', async (t) => {
  const folder = bench(t);
  const name = uniqueName();
  const user = userPidFile(name);
  t.deepEqual(await daemonStatus(name), { name, pidFile: daemonPaths(name).pidFile, state: 'stopped' });

  mkdirSync(dirname(user), { recursive: true });
  writeFileSync(user, `${noPid}\n`);
  t.deepEqual(await daemonStatus(name), { name, pidFile: user, state: 'dead', lastPid: noPid });

  const pid = await folder.daemon(service({ pidFile: user }));
  t.like(await daemonStatus(name), { name, pidFile: user, state: 'running', pid });
  t.deepEqual(await signalDaemon(name, 'SIGCONT'), { pid });
  t.deepEqual(await daemonStatus({ name }), await daemonStatus(name));
  t.deepEqual(await signalDaemon({ name }, 'SIGCONT'), { pid });
  t.deepEqual(await stopDaemon({ name }), { outcome: 'stopped', pid });
});

testUnless(isRoot ? undefined : 'only root can start a daemon in the places of the system')(
  "for root the system's running daemon comes before a user's, and either before a dead one",
  async (t) => {
    const folder = bench(t);
    const name = uniqueName();
    const [user, system] = [userPidFile(name), systemPidFile(name)];
    t.teardown(() => removePlaces(name));
    mkdirSync(dirname(user), { recursive: true });

    const byName = `daemonize({ name: ${JSON.stringify(name)}, onStarted: started }); forever();`;
    const ofSystem = await folder.daemon(byName, { args: [folder.path] });
    t.like(await daemonStatus(name), { name, pidFile: system, state: 'running', pid: ofSystem });
    writeFileSync(user, `${noPid}\n`);
    t.like(await daemonStatus(name), { pidFile: system, state: 'running', pid: ofSystem });

    const ofUser = await folder.daemon(service({ pidFile: user }));
    t.like(await daemonStatus(name), { pidFile: system, state: 'running', pid: ofSystem });
    t.deepEqual(await stopDaemon(name), { outcome: 'stopped', pid: ofSystem });
    t.deepEqual(await stopDaemon(name), { outcome: 'stopped', pid: ofUser });
    t.deepEqual(await stopDaemon(name), { outcome: 'not-running' });
  },
);

test('a wrong target, signal or option is named', async (t) => {
  const { at, daemon } = bench(t);
  const running = { pidFile: at('a.pid') };
  const pid = await daemon(service(running));
  const calls: [() => unknown, string][] = [];
  for (const [target, word] of [
    ['', "daemon's name"],
    ['a/b', "daemon's name"],
    ['..', "daemon's name"],
    ['a b', "daemon's name"],
    [undefined, 'target'],
    [null, 'target'],
    [7, 'target'],
    [{}, 'target'],
    [{ pidFile: '' }, 'target'],
    [{ pidFile: 7 }, 'target'],
    [{ pidFile: new URL('https://example.org/a.pid') }, 'target'],
  ] as [Target, string][]) {
    calls.push(
      [() => daemonStatus(target), word],
      [() => stopDaemon(target), word],
      [() => signalDaemon(target, 'SIGTERM'), word],
      [() => reloadDaemon(target), word],
      [() => restartDaemon(target as NamedTarget), word],
      [() => forgetDaemon(target), word],
    );
  }
  for (const signal of ['SIGNONE', 'TERM', '', 15, undefined] as unknown[] as NodeJS.Signals[]) {
    calls.push([() => signalDaemon(running, signal), 'signal']);
    if (signal !== undefined) calls.push([() => stopDaemon(running, { killSignal: signal }), 'killSignal']);
  }
  for (const [options, word] of [
    [{ timeout: -1 }, 'timeout'],
    [{ timeout: '5s' }, 'timeout'],
    [{ timeout: Number.NaN }, 'timeout'],
    [{ timeout: Number.MAX_VALUE }, 'timeout'],
    [{ force: 'no' }, 'force'],
    [{ patience: 1 }, 'patience'],
    [{ stopTimeout: 1 }, 'unknown option "stopTimeout"'],
    [null, 'options'],
    [5000, 'options'],
  ] as [StopOptions, string][]) {
    calls.push([() => stopDaemon(running, options), word]);
  }
  for (const [call, word] of calls) {
    const error = await t.throwsAsync(async () => call(), { code: 'ERR_INVALID_OPTION', name: 'DaemonError' });
    t.true(isDaemonError(error) && error.message.includes(word), `${error?.message} should mention ${word}`);
  }
  t.like(await daemonStatus(running), { state: 'running', pid });
});

test('an error of daemonry is told from others, and carries only the fields that apply', async (t) => {
  const { at } = workspace(t);
  const error: Error = await t.throwsAsync(signalDaemon({ pidFile: at('a.pid') }, 'SIGTERM'));
  t.true(isDaemonError(error) && error instanceof DaemonError && error instanceof Error);
  t.deepEqual({ ...error } as object, { code: 'ERR_NOT_RUNNING', path: at('a.pid') });
  t.is(error.name, 'DaemonError');
  t.is(`${error}`, `DaemonError: no daemon is running (pidfile ${at('a.pid')})`);
  for (const other of [new Error('no daemon is running'), { ...error }, null, undefined, 'ERR_NOT_RUNNING']) {
    t.false(isDaemonError(other) || (other as unknown) instanceof DaemonError);
  }
});

test('a stranger whose pid was written into the pidfile of a daemon is not signalled', async (t) => {
  const folder = bench(t);
  const pidFile = folder.at('a.pid');
  const pid = await folder.daemon(service({ pidFile }));
  const stranger = spawn('sleep', ['1000'], { stdio: 'ignore' });
  t.teardown(() => stranger.kill('SIGKILL'));
  writeFileSync(pidFile, `${stranger.pid}\n`);
  t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
  t.deepEqual(await stopDaemon({ pidFile }), { outcome: 'stopped', pid });
  t.false(hasEnded(stranger.pid!));
});

let names = 0;
function uniqueName() {
  return `daemonry-test-${process.pid}-${++names}`;
}

const userPidFile = (name: string) => join(state, 'daemonry', name, `${name}.pid`);
const systemPidFile = (name: string) => `${process.platform === 'darwin' ? '/var/run' : '/run'}/${name}/${name}.pid`;

test('a stop above daemonize is a restart: it ends the old daemon, and leaves alone the one that is starting', async (t) => {
  const { at, daemon } = bench(t);
  const pidFile = at('a.pid');
  const body =
    'await stopDaemon({ pidFile: args[0] }); daemonize({ pidFile: args[0], onStarted: started }); forever();';
  const first = await daemon(body, { args: [pidFile] });
  const second = await daemon(body, { args: [pidFile] });
  t.not(second, first);
  t.true(hasEnded(first));
  t.like(await daemonStatus({ pidFile }), { state: 'running', pid: second });
  t.deepEqual(await stopDaemon({ pidFile }), { outcome: 'stopped', pid: second });
});

test('a daemon that stops itself by its pidfile runs its handlers and exits', async (t) => {
  const { at, daemon } = bench(t);
  const pidFile = at('a.pid');
  const body = `const daemon = daemonize({ pidFile: args[0], onStarted: started });
    daemon.onStop(() => fs.writeFileSync(args[1], 'handled'));
    const timer = setInterval(() => {
      if (!fs.existsSync(args[2])) return;
      clearInterval(timer);
      stopDaemon({ pidFile: args[0] });
    }, 10);`;
  const pid = await daemon(body, { args: [pidFile, at('note'), at('go')] });
  writeFileSync(at('go'), '');
  await until('the daemon has ended', () => hasEnded(pid));
  t.is(readFileSync(at('note'), 'utf8'), 'handled');
  t.false(existsSync(pidFile));
});
