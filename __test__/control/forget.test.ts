/** `forgetDaemon`: what goes, what stays, and what is refused. */
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import {
  daemonPaths,
  daemonStatus,
  forgetDaemon,
  isDaemonError,
  listDaemons,
  spawnDaemon,
  stopDaemon,
} from '../../dist/index.js';
import { bench } from '../helpers/bench.js';
import { daemonry, fails, ok } from '../helpers/command.js';
import { read } from '../helpers/files.js';
import { journalOf, named, recordOf } from '../helpers/named.js';
import { nobody, noOtherUser, testOnLinux, testUnless } from '../helpers/privileges.js';
import { start } from '../helpers/run.js';
import { privateFiles } from '../helpers/state.js';
import { until } from '../helpers/until.js';

async function refuses(t: ExecutionContext, target: Parameters<typeof forgetDaemon>[0], sentence: RegExp) {
  const error = await t.throwsAsync(forgetDaemon(target), { message: sentence });
  t.true(isDaemonError(error));
  t.is((error as { code?: string }).code, 'ERR_ALREADY_RUNNING');
  return error as unknown as { message: string; pid: number; path: string };
}

const isListed = async (name: string) => (await listDaemons()).some((daemon) => daemon.name === name);

test('a daemon that has crashed is forgotten: nothing of it is left but its log', async (t) => {
  const { daemon, write } = bench(t);
  const name = named(t);
  const { pidFile, logFile } = daemonPaths(name);
  const selfReport = pidFile.replace(/\.pid$/, '.self.json');
  const program = `daemonize({ name: '${name}', version: '1', onStarted: options.onStarted }, async (daemon) => {
    fs.writeFileSync('${dirname(pidFile)}/own', '');
    console.log('hello');
    daemon.ready('serving');
    await exists('go');
    process.kill(process.pid, 'SIGKILL');
  });`;
  await daemon(program);
  write('', 'go');
  await until('it is dead', async () => (await daemonStatus(name)).state === 'dead');
  t.true(await isListed(name));
  t.true([pidFile, selfReport, recordOf(name)].every(existsSync));
  const lock = privateFiles(pidFile).find((file) => file.endsWith('.lock'))!;
  const { ino } = statSync(lock);

  t.deepEqual(await forgetDaemon({ name }), { outcome: 'forgotten', logFile });
  t.false(await isListed(name));
  t.deepEqual(await daemonStatus(name), { name, pidFile, state: 'stopped' });
  t.deepEqual([pidFile, selfReport, recordOf(name)].filter(existsSync), []);
  t.is(read(logFile), 'hello\n');
  t.true(existsSync(`${dirname(pidFile)}/own`));
  // The lock is never removed, because another process may wait for it; nothing in it counts any more.
  t.is(statSync(lock).ino, ino);
  const left = privateFiles(pidFile).filter((file) => /\.(phase|program|transition)$/.test(file) && read(file) !== '');
  t.deepEqual(left, []);
  t.deepEqual(await forgetDaemon(name), { outcome: 'not-known' });

  rmSync(`${dirname(pidFile)}/own`);
  write('', 'stay');
  const { pid } = await spawnDaemon('sleep', ['1000'], { name });
  t.like(await daemonStatus(name), { state: 'running', pid });
  await stopDaemon(name);
});

test('a daemon that never came up is listed with the reason until it is started or forgotten', async (t) => {
  const name = named(t);
  const reason = /exited with code 3 before it was up/;
  const failedStart = async () => {
    const found = await daemonStatus(name);
    return 'failedStart' in found ? found.failedStart : undefined;
  };
  const fail = async () => t.is((await daemonry(['start', '-n', name, 'sh', '-c', 'exit 3'])).code, 1);
  const before = Date.now();
  await fail();
  t.regex((await failedStart())!.reason, reason);
  t.true((await failedStart())!.at.getTime() >= before - 1);
  t.true(await isListed(name));
  const { code, stdout } = await daemonry(['list', '--failed']);
  t.is(code, 1);
  t.regex(stdout, new RegExp(`^${name} +stopped +start failed at .*exited with code 3`, 'm'));
  t.regex((await daemonry(['status', name])).stdout, /^ +start: failed at .*exited with code 3/m);
  t.regex(await ok(t, 'events', name), /failed/);
  t.deepEqual(await forgetDaemon(name), { outcome: 'forgotten' });
  t.false(await isListed(name));
  t.false(existsSync(journalOf(name)));

  await fail();
  await spawnDaemon('sleep', ['1000'], { name });
  await stopDaemon(name);
  t.is(await failedStart(), undefined);
  await fail();
  t.regex((await failedStart())!.reason, reason);
  t.like(await daemonStatus(name), { state: 'stopped', ended: { reason: 'stopped' } });
});

test('what runs is not forgotten: the daemon itself, one that starts, or what it has left behind', async (t) => {
  const { at, write } = bench(t);
  const name = named(t);
  const { pid } = await spawnDaemon('sleep', ['1000'], { name });
  const before = readFileSync(recordOf(name), 'utf8');
  const error = await refuses(
    t,
    name,
    new RegExp(`^${name} cannot be forgotten, because it is running with pid ${pid}: `),
  );
  t.like(error, { pid, path: daemonPaths(name).pidFile });
  await refuses(t, { pidFile: daemonPaths(name).pidFile }, /^\/\S+ cannot be forgotten, because it is running/);
  t.is(readFileSync(recordOf(name), 'utf8'), before);
  await fails(t, 1, error.message, 'forget', name);
  await stopDaemon(name);

  const starting = spawnDaemon(process.execPath, [write('await exists("go"); daemonize({}, forever);')], {
    name,
    waitFor: 'ready',
  });
  await until('it starts', async () => (await daemonStatus(name)).state === 'starting');
  await refuses(t, name, / cannot be forgotten, because (it is running|process \d+ is starting it)/);
  write('', 'go');
  await starting;
  await stopDaemon(name);

  const leaves = `sh -c 'trap "" HUP; echo $$ >"$0/left"; exec sleep 1000' "$0" & until [ -s "$0/left" ]; do :; done`;
  await spawnDaemon('sh', ['-c', leaves, at('.')], { name });
  await until('it is dead', async () => (await daemonStatus(name)).state === 'dead');
  const left = Number(read(at('left')));
  t.like(await refuses(t, name, new RegExp(`it has left process ${left} behind, which is still running`)), {
    pid: left,
  });
  t.true(existsSync(recordOf(name)));
  t.is((await stopDaemon(name)).outcome, 'not-running');
  t.like(await forgetDaemon(name), { outcome: 'forgotten' });
});

test('what nothing is known of is said to be so, and leaves nothing', async (t) => {
  const { at } = bench(t);
  const name = named(t);
  t.deepEqual(await forgetDaemon(name), { outcome: 'not-known' });
  t.deepEqual(await forgetDaemon({ pidFile: at('no.pid') }), { outcome: 'not-known' });
  t.deepEqual([...privateFiles(daemonPaths(name).pidFile), ...privateFiles(at('no.pid'))], []);
  await fails(t, 6, `there is nothing to forget: no daemon is known as ${name}`, 'forget', name);
  await t.throwsAsync(forgetDaemon('a b'), { code: 'ERR_INVALID_OPTION' });
});

test('a daemon without a name is forgotten by its pidfile, and a file that is no pidfile stays', async (t) => {
  const { at } = bench(t);
  const pidFile = at('a.pid');
  const { pid } = await spawnDaemon('sleep', ['1000'], { pidFile });
  process.kill(pid, 'SIGKILL');
  await until('it is dead', async () => (await daemonStatus({ pidFile })).state === 'dead');
  t.deepEqual(await forgetDaemon({ pidFile }), { outcome: 'forgotten' });
  t.deepEqual(await daemonStatus({ pidFile }), { pidFile, state: 'stopped' });
  t.false(existsSync(pidFile));

  const name = named(t);
  await spawnDaemon('sleep', ['1000'], { name, pidFile: at('other.pid') });
  await stopDaemon(name);
  writeFileSync(at('other.pid'), 'something else');
  t.like(await forgetDaemon(name), { outcome: 'forgotten' });
  t.is(read(at('other.pid')), 'something else');
  t.false(existsSync(recordOf(name)));
});

test('a record that cannot be read is forgotten, too', async (t) => {
  const name = named(t);
  await spawnDaemon('sleep', ['1000'], { name });
  await stopDaemon(name);
  writeFileSync(recordOf(name), '{');
  t.true(await isListed(name));
  t.deepEqual(await forgetDaemon(name), { outcome: 'forgotten' });
  t.false(await isListed(name));
});

test('forget takes several names, each once', async (t) => {
  const [one, other, unknown] = [named(t), named(t), named(t)];
  for (const name of [one, other]) await spawnDaemon('sleep', ['1000'], { name });
  await ok(t, 'stop', one);
  const { pid } = (await daemonStatus(other)) as { pid: number };
  const { code, stdout, stderr } = await daemonry(['forget', one, other, unknown, one]);
  t.is(code, 1);
  t.is(stdout, `${one} forgotten (its log stays: ${daemonPaths(one).logFile})\n`);
  const refused = `${other} cannot be forgotten, because it is running with pid ${pid}: stop it first`;
  t.is(
    stderr,
    `daemonry: ${other}: ${refused}\ndaemonry: ${unknown}: there is nothing to forget: no daemon is known as ${unknown}\n`,
  );
});

testUnless(noOtherUser)("another user's daemon is not forgotten", async (t) => {
  const name = named(t);
  await ok(t, 'start', '-n', name, 'sleep', '1000');
  const options = { ...nobody, env: { ...process.env, XDG_STATE_HOME: '/nonexistent/state' } };
  t.is((await daemonry(['forget', name], options)).code, 1);
  process.kill(((await daemonStatus(name)) as { pid: number }).pid, 'SIGKILL');
  await until('it is dead', async () => (await daemonStatus(name)).state === 'dead');
  const { code, stderr } = await daemonry(['forget', name], options);
  t.is(code, 4);
  t.regex(stderr, /^daemonry: cannot remove the record \/var\/lib\/daemonry\/\S+: Permission denied \(EACCES\)\n$/);
  t.like(await daemonStatus(name), { state: 'dead' });
  t.true(existsSync(recordOf(name)));
});

testOnLinux('a start that comes while a daemon is forgotten waits, and keeps its record', async (t) => {
  const { write } = bench(t);
  const name = named(t);
  await spawnDaemon('sleep', ['1000'], { name });
  await stopDaemon(name);
  const phase = privateFiles(daemonPaths(name).pidFile).find((file) => file.endsWith('.phase'))!;
  const forgets = write(`console.log((await daemonry.forgetDaemon('${name}')).outcome);`);
  // The record is the last to go: the start comes before.
  const slowly = ['-f', '-qq', '-o', '/dev/null', '-e', 'trace=unlinkat', '-e', 'inject=unlinkat:delay_enter=400000'];
  const { done } = start('strace', [...slowly, process.execPath, forgets]);
  await until('it is being forgotten', () => !existsSync(phase));
  const { pid } = await spawnDaemon('sleep', ['1000'], { name, ifRunning: 'reuse' });
  t.like(await done, { code: 0, stdout: 'forgotten\n', stderr: '' });
  t.like(await daemonStatus(name), { state: 'running', pid });
  t.true(existsSync(recordOf(name)));
});
