/** What is known about the place of a daemon, its pidfile and its sockets, before the one that runs is stopped for it. */
import { chmodSync, chownSync, existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { createServer } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { daemonStatus, spawnDaemon, stopDaemon, type DaemonError, type SpawnDaemonOptions } from '../../dist/index.js';
import { bench, type Bench } from '../helpers/bench.js';
import { daemonry } from '../helpers/command.js';
import { read } from '../helpers/files.js';
import { named } from '../helpers/named.js';
import { noOtherUser, nobody, testOnLinux, testUnless } from '../helpers/privileges.js';
import { until } from '../helpers/until.js';

/** Replacing the daemon by such a start fails so, and the daemon runs on. */
async function runsOn(t: ExecutionContext, { path: cwd, pidFile }: Bench, options: SpawnDaemonOptions, says: object) {
  const before = await daemonStatus({ pidFile });
  const replacing = spawnDaemon('sleep', ['100'], { cwd, pidFile, ifRunning: 'replace', ...options });
  const error = await t.throwsAsync<DaemonError>(replacing);
  t.like(error, { isDown: undefined, ...says }, error.message);
  t.like(await daemonStatus({ pidFile }), { state: 'running', pid: 'pid' in before ? before.pid : undefined });
}

/** A server of this process. */
async function taken(t: ExecutionContext, where: { readonly port: number; readonly host?: string } | string) {
  const server = createServer();
  t.teardown(() => server.close());
  server.listen(where);
  await once(server, 'listening');
  const address = server.address();
  return typeof address === 'object' ? address!.port : 0;
}

/** Folders that every user may enter. */
function open({ at }: Bench, name: string, mode: number, uid = 0): string {
  mkdirSync(at(name));
  chownSync(at(name), uid, uid);
  chmodSync(at(name), mode);
  return at(name, 'socket');
}

testOnLinux(
  'a port that another process holds leaves the daemon running, one that the daemon holds does not',
  async (t) => {
    const tools = bench(t);
    const { path: cwd, pidFile } = tools;
    t.teardown(() => stopDaemon({ pidFile }));
    const own = { listen: { a: { port: 0, host: '127.0.0.1' } } };
    const { listeners } = await spawnDaemon('sleep', ['100'], { cwd, pidFile, ...own });
    const endpoint = listeners?.['a'];
    const port = endpoint !== undefined && 'port' in endpoint ? endpoint.port : 0;
    const others = await taken(t, { port: 0, host: '127.0.0.1' });
    for (const host of ['127.0.0.1', 'localhost', '0.0.0.0', undefined]) {
      const listen = { a: { port: others, ...(host === undefined ? {} : { host }) } };
      await runsOn(t, tools, { listen }, { code: 'EADDRINUSE', step: 'listen', port: others });
    }
    for (const host of ['0.0.0.0', undefined, '127.0.0.1']) {
      const listen = { a: { port, ...(host === undefined ? {} : { host }) } };
      const replacing = { cwd, pidFile, ifRunning: 'replace', listen } as const;
      t.is((await spawnDaemon('sleep', ['100'], replacing)).outcome, 'replaced');
    }
  },
);

testOnLinux("a port that a helper of the daemon holds is the daemon's", async (t) => {
  const { path: cwd, pidFile } = bench(t);
  t.teardown(() => stopDaemon({ pidFile }));
  const listen = { a: { port: 0, host: '127.0.0.1' } };
  // The main process closes the socket, its helper keeps it.
  const { listeners } = await spawnDaemon('sh', ['-c', 'sleep 100 & exec 3>&-; exec sleep 100'], {
    cwd,
    pidFile,
    listen,
  });
  const endpoint = listeners?.['a'];
  const again = { a: { port: endpoint !== undefined && 'port' in endpoint ? endpoint.port : 0, host: '127.0.0.1' } };
  const { outcome } = await spawnDaemon('sleep', ['100'], { cwd, pidFile, ifRunning: 'replace', listen: again });
  t.is(outcome, 'replaced');
});

testOnLinux('a socket on which another process listens leaves the daemon running, its own does not', async (t) => {
  const tools = bench(t);
  const { path: cwd, pidFile, at } = tools;
  t.teardown(() => stopDaemon({ pidFile }));
  const listen = { a: { path: at('own') } };
  await spawnDaemon('sleep', ['100'], { cwd, pidFile, listen });
  await taken(t, at('others'));
  await runsOn(t, tools, { listen: { a: { path: at('others') } } }, { code: 'EADDRINUSE', path: at('others') });
  const { outcome } = await spawnDaemon('sleep', ['100'], { cwd, pidFile, ifRunning: 'replace', listen });
  t.is(outcome, 'replaced');
});

test('a socket that cannot be bound leaves the daemon running', async (t) => {
  const tools = bench(t);
  const { path: cwd, pidFile, at } = tools;
  t.teardown(() => stopDaemon({ pidFile }));
  await spawnDaemon('sleep', ['100'], { cwd, pidFile });
  writeFileSync(at('file'), '');
  const before = tools.entries();
  const listening = (path: string) => ({ listen: { a: { path } } });
  await runsOn(t, tools, listening(at('file')), { code: 'EADDRINUSE', path: at('file') });
  await runsOn(t, tools, listening(at('missing', 'socket')), { code: 'ENOENT', step: 'listen' });
  await runsOn(t, tools, listening(at('file', 'socket')), { code: 'ENOTDIR', step: 'listen' });
  t.deepEqual(tools.entries(), before);
});

test('a socket in a directory that became read-only leaves the daemon running', async (t) => {
  const tools = bench(t);
  const name = named(t);
  mkdirSync(tools.at('sockets'));
  const run = { cwd: tools.path, unprivileged: true };
  const { code, stderr } = await daemonry(['start', '-n', name, '--listen', 'a=./sockets/own', 'sleep', '100'], run);
  t.is(code, 0, stderr);
  chmodSync(tools.at('sockets'), 0o555);
  t.teardown(() => chmodSync(tools.at('sockets'), 0o755));
  const before = await daemonStatus(name);
  const told = await daemonry(['restart', name], run);
  t.is(told.code, 4, told.stderr);
  t.regex(
    told.stderr,
    /was not restarted, and runs on: cannot listen on .*\/sockets\/own: Permission denied \(EACCES\)/,
  );
  t.deepEqual(await daemonStatus(name), before);
});

testUnless(noOtherUser)('as root, a socket where another user can interfere leaves the daemon running', async (t) => {
  const tools = bench(t);
  const { path: cwd, pidFile } = tools;
  t.teardown(() => stopDaemon({ pidFile }));
  await spawnDaemon('sleep', ['100'], { cwd, pidFile });
  const path = open(tools, 'theirs', 0o755, nobody.uid);
  await runsOn(t, tools, { listen: { a: { path } } }, { code: 'EPERM', step: 'listen', path });
});

testUnless(noOtherUser)("a socket that the daemon's user cannot bind leaves the daemon running", async (t) => {
  const tools = bench(t);
  const { pidFile, at } = tools;
  t.teardown(() => stopDaemon({ pidFile }));
  await spawnDaemon('sleep', ['100'], { cwd: '/', pidFile });
  const closed = open(tools, 'closed', 0o555, nobody.uid);
  const theirs = open(tools, 'theirs', 0o755, nobody.uid);
  const as = (path: string): SpawnDaemonOptions => ({ cwd: '/', user: 'nobody', listen: { a: { path } } });
  await runsOn(t, tools, as(closed), { code: 'EACCES', step: 'listen', path: closed });
  writeFileSync(theirs, '');
  await runsOn(t, tools, as(theirs), { code: 'EADDRINUSE', step: 'listen', path: theirs });
  rmSync(theirs);
  const options = { ...as(theirs), pidFile, ifRunning: 'replace' } as const;
  t.is((await spawnDaemon('sleep', ['100'], options)).outcome, 'replaced');
  t.true(existsSync(at('theirs', 'socket')));
  // Its own.
  t.is((await spawnDaemon('sleep', ['100'], options)).outcome, 'replaced');
});

test('a pidfile whose place something else has taken leaves the daemon running', async (t) => {
  const tools = bench(t);
  const { path: cwd, pidFile, at } = tools;
  t.teardown(() => stopDaemon({ pidFile }));
  await spawnDaemon('sleep', ['100'], { cwd, pidFile });
  renameSync(pidFile, at('kept.pid'));
  writeFileSync(pidFile, 'something else\n');
  await runsOn(t, tools, {}, { code: 'ERR_NOT_A_PIDFILE', path: pidFile });
  t.is(read(pidFile), 'something else\n');
  renameSync(at('kept.pid'), pidFile);
});

test('in the foreground, a socket that cannot be bound leaves the daemon running that was to be replaced', async (t) => {
  const tools = bench(t);
  const { path: cwd, pidFile, at } = tools;
  t.teardown(() => stopDaemon({ pidFile }));
  const { pid } = await spawnDaemon('sleep', ['100'], { cwd, pidFile });
  const env = { ...process.env, DAEMONRY_MODE: 'foreground' };
  const listening = (listen: object) =>
    `daemonize({ ...options, ifRunning: 'replace', listen: ${JSON.stringify(listen)} }, () => { note('up'); forever(); });`;
  for (const [listen, says] of [
    [
      { a: { path: at('missing', 'socket') } },
      /cannot listen on .*\/missing\/socket: No such file or directory \(ENOENT\)/,
    ],
    [
      { a: { port: 80, host: 'no-such-host.invalid' } },
      /cannot listen on no-such-host\.invalid:80: .* \(EADDRNOTAVAIL\)/,
    ],
  ] as const) {
    const { code, stderr } = await tools.launch(listening(listen), { env });
    t.is(code, 1);
    t.regex(stderr, says);
    t.notRegex(stderr, /down now/);
    t.is(stderr.trimEnd().split('\n').length, 1, stderr);
    t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
  }
});

test('in the foreground, a failure after the stop says that the daemon is down now', async (t) => {
  const tools = bench(t);
  const { path: cwd, pidFile, at } = tools;
  const listen = { a: { port: 0, host: '127.0.0.1' } };
  // The helper keeps the socket, but not the lock, and outlives the daemon.
  const script = '(exec 4>&- 5>&- 6>&- 7>&- 8>&-; exec sleep 100) & echo $! >helper; exec sleep 100';
  const { listeners } = await spawnDaemon('sh', ['-c', script], { cwd, pidFile, listen, killMode: 'process' });
  t.teardown(() => stopDaemon({ pidFile }));
  await until('the helper runs', () => read(at('helper')).endsWith('\n'));
  t.teardown(() => process.kill(Number(read(at('helper'))), 'SIGKILL'));
  const endpoint = listeners?.['a'];
  const again = { a: { port: endpoint !== undefined && 'port' in endpoint ? endpoint.port : 0, host: '127.0.0.1' } };
  const program = `
    try {
      daemonize({ ...options, ifRunning: 'replace', listen: ${JSON.stringify(again)} }, forever);
    } catch (error) {
      console.log(JSON.stringify({ code: error.code, isDown: error.isDown, message: error.message }));
      process.exit(3);
    }`;
  const { code, stdout, stderr } = await tools.launch(program, {
    env: { ...process.env, DAEMONRY_MODE: 'foreground' },
  });
  t.is(code, 3, stderr);
  const error = JSON.parse(stdout) as DaemonError;
  t.like(error, { code: 'EADDRINUSE', isDown: true });
  t.regex(error.message, /; the daemon that ran was stopped for this start, so .* is down now$/);
  t.is((await daemonStatus({ pidFile })).state, 'stopped');
});
