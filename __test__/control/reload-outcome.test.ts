/** What `reloadDaemon`, `daemonry reload` and `status` report about a reload. */
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import {
  daemonStatus,
  reloadDaemon,
  signalDaemon,
  spawnDaemon,
  stopDaemon,
  type FailedReload,
} from '../../dist/index.js';
import { bench, type Bench } from '../helpers/bench.js';
import { daemonry } from '../helpers/command.js';
import { named } from '../helpers/named.js';
import {
  nobody,
  noLinux,
  noOtherUser,
  noOwnMounts,
  ownMounts,
  testOnLinux,
  testUnless,
} from '../helpers/privileges.js';
import { hasEnded, stat } from '../helpers/processes.js';
import { run } from '../helpers/run.js';
import { endOf } from '../helpers/status.js';
import { until } from '../helpers/until.js';
import { workspace } from '../helpers/workspace.js';

const failedReload = async (pidFile: string): Promise<FailedReload | undefined> => {
  const found = await daemonStatus({ pidFile });
  return found.state === 'running' ? found.failedReload : undefined;
};

/** A program in the foreground is up a turn of the event loop after `daemonize` has returned; no launcher waits for that. */
const isUp = (pidFile: string) => until('it is up', async () => (await daemonStatus({ pidFile })).state === 'running');

/** A daemon whose reload does what the file `behaviour` says: throw, wait for a file, exit. */
const obedient = `
  const daemon = daemonize({ ...options, log: at('log') });
  let reloads = 0;
  daemon.onReload(async () => {
    const reload = ++reloads;
    const [verb, argument, thrown] = fs.readFileSync(at('behaviour'), 'utf8').split(':');
    note('begins ' + reload);
    if (verb === 'wait') await exists(argument);
    if (verb === 'exit') process.exit(Number(argument));
    if (verb === 'hang') await never();
    note('ends ' + reload);
    if (verb === 'throw') throw new Error(argument);
    if (thrown) throw new Error(thrown);
  });
  forever();
`;

function behave({ at }: Bench, behaviour: string): void {
  replaceFile(at('behaviour'), behaviour);
}

/** Such that no reader sees a part of it. */
function replaceFile(path: string, text: string): void {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

async function start(
  t: ExecutionContext,
  behaviour: string,
): Promise<Bench & { pid: number; target: { pidFile: string } }> {
  const place = bench(t);
  behave(place, behaviour);
  const pid = await place.daemon(obedient);
  return { ...place, pid, target: { pidFile: place.pidFile } };
}

test('reloadDaemon settles when the reload handlers have finished', async (t) => {
  const place = await start(t, 'wait:go');
  let isSettled = false;
  const reload = reloadDaemon(place.target).finally(() => (isSettled = true));
  await place.noted('begins 1');
  t.false(isSettled);
  writeFileSync(place.at('go'), '');
  t.deepEqual(await reload, { outcome: 'reloaded', pid: place.pid });
  t.deepEqual(place.notes(), ['begins 1', 'ends 1']);
  t.is(await failedReload(place.pidFile), undefined);
});

test('a handler that throws is reported to the caller, and in status until a reload succeeds', async (t) => {
  const place = await start(t, 'throw:bad\x1b[31m configuration\x07');
  const { pid, target, pidFile } = place;
  const before = Date.now();
  const error = await t.throwsAsync(reloadDaemon(target), { code: 'ERR_RELOAD_FAILED' });
  t.is((error as { pid?: number }).pid, pid);
  t.is(error.message, `the daemon with pid ${pid} did not reload: Error: bad configuration\\x07`);
  const failed = (await failedReload(pidFile))!;
  t.is(failed.reason, 'Error: bad\x1b[31m configuration\x07');
  t.true(failed.at.getTime() >= before && failed.at.getTime() <= Date.now(), String(failed.at));

  const reload = await daemonry(['reload', '-p', pidFile]);
  t.is(reload.code, 1);
  t.is(reload.stdout, '');
  t.is(reload.stderr, `daemonry: the daemon with pid ${pid} did not reload: Error: bad configuration\\x07\n`);
  const shown = await daemonry(['status', '-p', pidFile]);
  t.is(shown.code, 0);
  t.regex(shown.stdout, /^  reload: failed at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d: Error: bad configuration\\x07$/m);
  const json = JSON.parse((await daemonry(['status', '--json', '-p', pidFile])).stdout);
  t.is(json.failedReload.reason, failed.reason);

  // Until one has succeeded.
  behave(place, 'wait:go');
  process.kill(pid, 'SIGHUP');
  await place.noted('begins 3');
  t.is((await failedReload(pidFile))?.reason, failed.reason);
  writeFileSync(place.at('go'), '');
  await until('the failure is over', async () => (await failedReload(pidFile)) === undefined);
  const again = await daemonry(['reload', '-p', pidFile]);
  t.is(again.stdout, `${pidFile} reloaded (pid ${pid})\n`);
  t.is(again.code, 0);
  t.notRegex((await daemonry(['status', '-p', pidFile])).stdout, /reload/);
  const printed = await daemonry(['reload', '--json', '-p', pidFile]);
  t.like(JSON.parse(printed.stdout), { outcome: 'reloaded', pid });
});

test('a plain SIGHUP whose handler throws shows in status', async (t) => {
  const { pid, pidFile } = await start(t, 'throw:no');
  process.kill(pid, 'SIGHUP');
  await until('it has failed', () => failedReload(pidFile));
  t.is((await failedReload(pidFile))?.reason, 'Error: no');
  t.deepEqual(await signalDaemon({ pidFile }, 'SIGHUP'), { pid });
});

test('every handler that throws is named, and so is a log that cannot be reopened', async (t) => {
  const { daemon, at, pidFile } = bench(t);
  await daemon(`
    const daemon = daemonize({ ...options, log: at('daemon.log') });
    daemon.onReload(() => { throw new TypeError('one'); });
    daemon.onReload(() => note('two'));
    daemon.onReload(() => Promise.reject('three\\nmore'));
    forever();
  `);
  renameSync(at('daemon.log'), at('old.log'));
  mkdirSync(at('daemon.log'));
  const error = await t.throwsAsync(reloadDaemon({ pidFile }), { code: 'ERR_RELOAD_FAILED' });
  const reasons = error.message.replace(/^.* did not reload: /, '').split('; ');
  t.true(reasons[0]!.startsWith(`cannot reopen the log ${at('daemon.log')}: `), error.message);
  t.deepEqual(reasons.slice(1), ['TypeError: one', "'three\\nmore'"]);
});

test('a log is reopened when reloadDaemon settles, also in a daemon without handlers', async (t) => {
  const { daemon, at, pidFile } = bench(t);
  const pid = await daemon("daemonize({ ...options, log: at('daemon.log') }); forever();");
  for (let rotation = 1; rotation <= 10; rotation++) {
    renameSync(at('daemon.log'), at('daemon.log.1'));
    t.deepEqual(await reloadDaemon({ pidFile }), { outcome: 'reloaded', pid });
    t.true(existsSync(at('daemon.log')));
  }
});

test('a caller during a reload gets the outcome of the next one', async (t) => {
  const place = await start(t, 'wait:go');
  const { at, target, pid } = place;
  const first = reloadDaemon(target);
  await place.noted('begins 1');
  behave(place, 'wait:go on:second');
  rmSync(at('log'));
  const second = t.throwsAsync(reloadDaemon(target), { code: 'ERR_RELOAD_FAILED' });
  // Its signal has come.
  await until('the log is there again', () => existsSync(at('log')));
  writeFileSync(at('go'), '');
  t.deepEqual(await first, { outcome: 'reloaded', pid });
  writeFileSync(at('go on'), '');
  t.regex((await second).message, /second/);
  t.deepEqual(place.notes(), ['begins 1', 'ends 1', 'begins 2', 'ends 2']);
});

test('each of many callers gets the outcome of a reload that has read what the caller wrote', async (t) => {
  const { daemon, at, pidFile } = bench(t);
  writeFileSync(at('version'), '0');
  const pid = await daemon(`
    const daemon = daemonize(options);
    daemon.onReload(async () => {
      const version = fs.readFileSync(at('version'), 'utf8');
      await sleep(Number(version) % 3);
      fs.writeFileSync(at('loaded.new'), version);
      fs.renameSync(at('loaded.new'), at('loaded'));
      if (Number(version) % 2 === 1) throw new Error('version ' + version);
    });
    forever();
  `);
  let version = 0;
  const caller = async () => {
    for (let round = 0; round < 15; round++) {
      const mine = ++version;
      replaceFile(at('version'), String(mine));
      if (round % 4 === 0) process.kill(pid, 'SIGHUP');
      const outcome = await reloadDaemon({ pidFile }).then(
        () => undefined,
        ({ message }: Error) => Number(/version (\d+)$/.exec(message)![1]),
      );
      const loaded = Number(readFileSync(at('loaded'), 'utf8'));
      t.true(loaded >= mine, `${loaded} is loaded, ${mine} was asked for`);
      if (outcome !== undefined) t.true(outcome >= mine, `${outcome} has failed, ${mine} was asked for`);
    }
  };
  await Promise.all(Array.from({ length: 8 }, caller));
});

test('reloads without number leave everything else that the daemon says about itself', async (t) => {
  const place = await start(t, `throw:${'long '.repeat(200)}`);
  for (let reload = 1; reload <= 30; reload++) await t.throwsAsync(reloadDaemon(place.target));
  t.is((await failedReload(place.pidFile))?.reason.length, 600);
  behave(place, 'exit:3');
  process.kill(place.pid, 'SIGHUP');
  await place.gone();
  t.like(await endOf(place.target), { reason: 'crashed', exitCode: 3 });
});

test('a reload that takes longer than the timeout is reported, and goes on', async (t) => {
  const place = await start(t, 'wait:go');
  const { target, pid, pidFile } = place;
  const error = await t.throwsAsync(reloadDaemon(target, { timeout: 0 }), { code: 'ERR_RELOAD_TIMEOUT' });
  t.is((error as { pid?: number }).pid, pid);
  await place.noted('begins 1');
  // The handler waits, so no caller can have another answer.
  const late = await daemonry(['reload', '-t', '100', '-p', pidFile]);
  t.is(late.code, 1);
  t.is(late.stderr, `daemonry: the daemon with pid ${pid} is still reloading after 100 ms\n`);
  t.is((await daemonStatus(target)).state, 'running');
  writeFileSync(place.at('go'), '');
  await place.noted('ends 2');
  t.is((await reloadDaemon(target)).outcome, 'reloaded');
});

test('a daemon that does not get to its reload is reported', async (t) => {
  const { target, pid } = await start(t, 'return');
  process.kill(pid, 'SIGSTOP');
  await until('it is stopped', () => noLinux !== undefined || stat(pid)?.state === 'T');
  const message = `the daemon with pid ${pid} has not begun to reload within 100 ms`;
  await t.throwsAsync(reloadDaemon(target, { timeout: 100 }), { code: 'ERR_RELOAD_TIMEOUT', message });
  process.kill(pid, 'SIGCONT');
  t.is((await reloadDaemon(target)).outcome, 'reloaded');
});

for (const [what, end] of [
  ['exits', () => {}],
  ['is killed', (_: Bench, pid: number) => process.kill(pid, 'SIGKILL')],
  ['is stopped', ({ pidFile }: Bench) => void stopDaemon({ pidFile })],
  [
    'is replaced',
    async (place: Bench) => {
      behave(place, 'return');
      await place.launch(obedient.replace('options,', "options, ifRunning: 'replace',"));
    },
  ],
] as const) {
  test(`a daemon that ${what} before it has reloaded is reported`, async (t) => {
    const place = await start(t, what === 'exits' ? 'exit:0' : 'hang');
    const message = `the daemon with pid ${place.pid} did not reload: it exited first`;
    const reload = t.throwsAsync(reloadDaemon(place.target), { code: 'ERR_RELOAD_FAILED', message });
    await place.noted('begins 1');
    await end(place, place.pid);
    await reload;
    t.true(hasEnded(place.pid));
    if (what === 'is replaced') t.is((await reloadDaemon(place.target)).outcome, 'reloaded');
  });
}

test('a program that would die of SIGHUP is not signalled, whoever has written it', async (t) => {
  const { daemon, pidFile, at } = bench(t);
  const pid = await daemon('daemonize(options); forever();');
  await t.throwsAsync(reloadDaemon({ pidFile }), { code: 'ERR_SIGNAL_REFUSED' });
  t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
  const foreign = { pidFile: at('sleep.pid') };
  t.teardown(() => stopDaemon(foreign));
  const sleep = await spawnDaemon('sleep', ['60'], foreign);
  const { code, stderr } = await daemonry(['reload', '-p', foreign.pidFile]);
  t.is(code, 1);
  t.is(
    stderr,
    `daemonry: SIGHUP was not sent to pid ${sleep.pid}: the program does not handle it, and would be terminated\n`,
  );
  t.like(await daemonStatus(foreign), { state: 'running', pid: sleep.pid });
});

test('a program with its own listener gets SIGHUP, and is not waited for', async (t) => {
  const { daemon, noted, pidFile } = bench(t);
  const pid = await daemon("daemonize(options); process.on('SIGHUP', () => note('heard')); forever();");
  const result = await daemonry(['reload', '-p', pidFile]);
  t.is(result.stdout, `${pidFile}: sent SIGHUP to pid ${pid}, which does not report the outcome\n`);
  t.is(result.code, 0);
  await noted('heard');
  t.deepEqual(await reloadDaemon({ pidFile }), { outcome: 'signalled', pid });
});

test('a reload in the foreground is waited for as well', async (t) => {
  const { foreground, pidFile, at } = bench(t);
  const { child, done } = await foreground(`
    daemonize(options).onReload(() => { if (fs.existsSync(at('bad'))) throw new Error('bad'); });
    forever();
    note('up');
  `);
  await isUp(pidFile);
  t.deepEqual(await reloadDaemon({ pidFile }), { outcome: 'reloaded', pid: child.pid });
  writeFileSync(at('bad'), '');
  await t.throwsAsync(reloadDaemon({ pidFile }), { code: 'ERR_RELOAD_FAILED', message: /: Error: bad$/ });
  t.is((await failedReload(pidFile))?.reason, 'Error: bad');
  child.kill();
  await done;
});

test('a daemon can reload itself', async (t) => {
  const { daemon, noted, notes, at } = bench(t);
  await daemon(`
    daemonize(options).onReload(() => note('handled'));
    forever();
    await exists('go');
    note((await daemonry.reloadDaemon({ pidFile: options.pidFile })).outcome);
  `);
  writeFileSync(at('go'), '');
  await noted('reloaded');
  t.deepEqual(notes(), ['handled', 'reloaded']);
});

test('what is no daemon, and wrong options, are refused', async (t) => {
  const { at } = workspace(t);
  await t.throwsAsync(reloadDaemon({ pidFile: at('a.pid') }), { code: 'ERR_NOT_RUNNING' });
  await t.throwsAsync(reloadDaemon('no-such-daemon'), { code: 'ERR_NOT_RUNNING', message: /named no-such-daemon/ });
  for (const options of [{ timeout: -1 }, { timeout: '1' }, { patience: 1 }])
    await t.throwsAsync(reloadDaemon('a', options as never), { code: 'ERR_INVALID_OPTION' });
  t.is((await daemonry(['reload', 'no-such-daemon'])).code, 7);
  t.is((await daemonry(['reload', '-t', 'soon', 'a'])).code, 2);
});

testUnless(noOtherUser)('a daemon of another user reports to root, and to nobody else', async (t) => {
  const place = bench(t);
  const { at, path, pidFile } = place;
  chmodSync(path, 0o777);
  const pid = await place.daemon(`
    const daemon = daemonize({ ...options, user: 'nobody' });
    daemon.onReload(() => { if (!fs.existsSync(at('good'))) throw new Error('bad'); });
    forever();
  `);
  await t.throwsAsync(reloadDaemon({ pidFile }), { code: 'ERR_RELOAD_FAILED', message: /: Error: bad$/ });
  t.is((await failedReload(pidFile))?.reason, 'Error: bad');
  // Its own user may signal it, but not read the state that root keeps.
  const own = await daemonry(['reload', '-p', pidFile], { ...nobody, cwd: '/' });
  t.is(own.stdout, `${pidFile}: sent SIGHUP to pid ${pid}, which does not report the outcome\n`, own.stderr);
  const other = await daemonry(['reload', '-p', pidFile], { uid: 1, gid: 1, cwd: '/' });
  t.is(other.code, 4, other.stderr);
  t.regex(other.stderr, /^daemonry: cannot signal the daemon .*EPERM\)\n$/);
  writeFileSync(at('good'), '');
  t.deepEqual(await reloadDaemon({ pidFile }), { outcome: 'reloaded', pid });
});

testUnless(noOtherUser ?? noLinux)(
  'what such a daemon writes there by itself misleads only about itself',
  async (t) => {
    const place = bench(t);
    chmodSync(place.path, 0o777);
    const pid = await place.daemon(`
    const { closeSync, readdirSync, readlinkSync, writeSync } = fs;
    const daemon = daemonize({ ...options, user: 'nobody' });
    const phase = Number(readdirSync('/proc/self/fd').find((fd) => {
      try { return readlinkSync('/proc/self/fd/' + fd).endsWith('.phase'); } catch { return false; }
    }));
    const garbage = ['r' + '9'.repeat(300), '\\xff'.repeat(5000), ''];
    daemon.onReload(async () => {
      const text = garbage.shift();
      writeSync(phase, text, 0, 'latin1');
      if (text === '') fs.ftruncateSync(phase);
      note('left ' + garbage.length);
      await exists('go ' + garbage.length);
    });
    forever();
  `);
    const target = { pidFile: place.pidFile };
    const state = async () => (await daemonStatus(target)).state;
    t.is((await reloadDaemon(target)).outcome, 'signalled');
    t.is(await state(), 'running');
    writeFileSync(place.at('go 2'), '');
    process.kill(pid, 'SIGHUP');
    await place.noted('left 1');
    // It has also said over that it is up.
    t.is(await state(), 'starting');
    writeFileSync(place.at('go 1'), '');
    process.kill(pid, 'SIGHUP');
    await place.noted('left 0');
    t.is(await state(), 'starting');
    t.is((await stopDaemon(target)).outcome, 'stopped');
    t.true(hasEnded(pid));
  },
);

testUnless(noOwnMounts)('without /proc only a program that reports its reloads is signalled', async (t) => {
  const place = bench(t);
  behave(place, 'return');
  const client = `
    const target = { pidFile: options.pidFile };
    console.log((await reloadDaemon(target)).outcome);
    await stopDaemon(target);
    await spawnDaemon('sleep', ['60'], target);
    await reloadDaemon(target).catch(({ code }) => console.log(code));
    console.log((await stopDaemon(target)).outcome);
  `;
  const via = [...ownMounts, 'sh', '-c', 'umount -l /proc && "$0" "$1" && "$0" "$2"'];
  const { stdout, stderr } = await place.launch(obedient, { via, args: [place.write(client, 'client.mjs')] });
  t.regex(stdout, /^started \d+\nreloaded\nERR_SIGNAL_REFUSED\nstopped\n$/, stderr);
});

testOnLinux('an outcome that cannot be written is said in the log, and reported as soon as it can be', async (t) => {
  const { foreground, pidFile } = bench(t);
  const { child, done } = await foreground(`
    daemonize(options, (daemon) => {
      daemon.onReload(() => console.error('reloading'));
      forever();
      note('up');
    });
  `);
  await isUp(pidFile);
  let said = '';
  child.stderr!.on('data', (text: string) => (said += text));
  const limit = async (bytes: string) =>
    t.is((await run('prlimit', [`--pid=${child.pid}`, `--fsize=${bytes}:unlimited`])).code, 0);
  await limit('0');
  const reload = reloadDaemon({ pidFile }, { timeout: 60_000 });
  await until('it is said', () => said.includes('what becomes of a reload cannot be reported: '));
  await limit('unlimited');
  t.deepEqual(await reload, { outcome: 'reloaded', pid: child.pid });
  t.is(said.split('cannot be reported').length, 2, said);
  await stopDaemon({ pidFile });
  await done;
});

test('a reload that takes too long is reported with the problem that the daemon reports', async (t) => {
  const { launch, at } = bench(t);
  const name = named(t);
  mkdirSync(at('logs'));
  const { code } = await launch(`
    daemonize({ name: '${name}', log: at('logs/log') }, (daemon) => {
      daemon.onReload(never);
      forever();
    });
  `);
  t.is(code, 0);
  rmSync(at('logs'), { recursive: true });
  await signalDaemon(name, 'SIGHUP');
  await until('the problem is told', async () => (await daemonStatus(name)).record?.problem);
  const error = await t.throwsAsync(reloadDaemon(name, { timeout: 100 }), { code: 'ERR_RELOAD_TIMEOUT' });
  t.regex(error.message, / 100 ms; it reports a problem: cannot reopen the log /);
});
