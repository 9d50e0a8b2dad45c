/** Commands for several daemons, for all of them, and for machines and pipes. */
import { chmodSync, chownSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { daemonPaths, daemonStatus } from '../../dist/index.js';
import { bench } from '../helpers/bench.js';
import { daemonry, fails, main, ok, startDaemonry } from '../helpers/command.js';
import { read } from '../helpers/files.js';
import { named } from '../helpers/named.js';
import { isRoot, nobody, noOtherUser, noOwnMounts, ownMounts, testUnless } from '../helpers/privileges.js';
import { run, type RunOptions } from '../helpers/run.js';
import { until } from '../helpers/until.js';
import { workspace } from '../helpers/workspace.js';

/** An ordinary user who has no other daemons than those of the test, which are stopped in the end. */
function user(t: ExecutionContext) {
  const { path, at } = workspace(t);
  chmodSync(path, 0o755);
  if (isRoot) chownSync(path, nobody.uid, nobody.gid);
  const env = { ...process.env, HOME: path, XDG_STATE_HOME: at('state') };
  const options: RunOptions = { cwd: path, env, ...(isRoot ? nobody : {}) };
  const call = (...args: string[]) => daemonry(args, options);
  t.teardown(() => call('stop', '--all', '-t', '500'));
  return { path, at, call };
}

const testAsUser = testUnless(isRoot ? noOtherUser : undefined);

test('several daemons are stopped at once, and reported in the order in which they were given', async (t) => {
  const { at, path } = workspace(t);
  const names = [named(t), named(t), named(t)];
  for (const name of names) {
    const ends = `trap 'echo >asked-${name}; until [ -e go-${name} ]; do sleep 0.05; done; exit' TERM`;
    await ok(t, 'start', '-C', path, '-n', name, 'sh', '-c', `${ends}; echo >up-${name}; while :; do sleep 0.05; done`);
    await until('it listens', () => existsSync(at(`up-${name}`)));
  }
  const { child, done } = startDaemonry(['stop', '-t', '60000', ...names]);
  let seen = '';
  child.stdout!.on('data', (text: string) => (seen += text));
  // The first one ends only after the last.
  await until('all are asked', () => names.every((name) => existsSync(at(`asked-${name}`))));
  for (const name of names.toReversed()) {
    t.is(seen, '');
    writeFileSync(at(`go-${name}`), '');
    await until('it has ended', async () => (await daemonStatus(name)).state === 'stopped');
  }
  const { code, stdout, stderr } = await done;
  t.is(code, 0, stderr);
  t.regex(stdout, new RegExp(`^${names.map((name) => `${name} stopped \\(pid \\d+.*\\)\n`).join('')}$`));
});

test('each daemon is tried though another fails, once each, and the first failure decides the exit code', async (t) => {
  const [deaf, other, unknown] = [named(t), named(t), named(t)];
  await ok(t, 'start', '-n', deaf, 'sh', '-c', `trap '' TERM; echo deaf; while :; do sleep 0.05; done`);
  await until('it is deaf', () => read(daemonPaths(deaf).logFile) === 'deaf\n');
  await ok(t, 'start', '-n', other, 'sleep', '1000');

  const signalled = await daemonry(['signal', 'CONT', unknown, deaf, other, deaf]);
  t.is(signalled.code, 7);
  t.regex(signalled.stdout, new RegExp(`^${deaf}: sent SIGCONT to pid \\d+\n${other}: sent SIGCONT to pid \\d+\n$`));
  t.regex(signalled.stderr, new RegExp(`^daemonry: ${unknown}: no daemon named .* is running .*\n$`));

  const reloaded = await daemonry(['reload', other, unknown]);
  t.is(reloaded.code, 1);
  t.regex(
    reloaded.stderr,
    new RegExp(`^daemonry: ${other}: SIGHUP was not sent .*\ndaemonry: ${unknown}: no daemon .*\n$`),
  );

  const looked = await daemonry(['status', other, unknown, 'a b']);
  t.is(looked.code, 3);
  t.regex(looked.stdout, new RegExp(`^${other} is running with [^]*\n${unknown} is stopped\n`));
  t.regex(looked.stderr, /^daemonry: a b: a daemon's name must be /);

  const stopped = await daemonry(['stop', '--no-force', '-t', '100', deaf, unknown, other]);
  t.is(stopped.code, 1);
  t.regex(stopped.stdout, new RegExp(`^${unknown} is not running\n${other} stopped \\(pid \\d+\\)\n$`));
  t.regex(
    stopped.stderr,
    new RegExp(`^daemonry: ${deaf}: the daemon did not stop within 100 ms: process \\d+ is still running\n$`),
  );

  const again = await daemonry(['restart', unknown, other]);
  t.is(again.code, 6);
  t.regex(again.stdout, new RegExp(`^${other} started with pid \\d+\n$`));
  t.like(await daemonStatus(other), { state: 'running' });
});

test('one daemon is a JSON object, several are an array of them, failures included', async (t) => {
  const [one, other, unknown] = [named(t), named(t), named(t)];
  for (const name of [one, other]) await ok(t, 'start', '-n', name, 'sleep', '1000');
  const call = async (...args: string[]) => {
    const { stdout, code } = await daemonry([args[0]!, '--json', ...args.slice(1)]);
    return [code, JSON.parse(stdout) as unknown] as const;
  };
  const { pid } = (await daemonStatus(one)) as { pid: number };
  t.deepEqual(await call('signal', 'CONT', one), [0, { name: one, signal: 'SIGCONT', pid }]);
  const { pidFile } = daemonPaths(one);
  t.deepEqual(await call('signal', '-p', pidFile, 'CONT'), [0, { pidFile, signal: 'SIGCONT', pid }]);
  const [code, found] = await call('status', unknown, one);
  t.is(code, 3);
  t.like(found as object[], { 0: { name: unknown, state: 'stopped' }, 1: { name: one, state: 'running', pid } });
  const [refused, outcomes] = await call('reload', one, unknown);
  t.is(refused, 1);
  t.like(outcomes as object[], {
    0: { name: one, code: 'ERR_SIGNAL_REFUSED', pid, signal: 'SIGHUP' },
    1: { name: unknown, code: 'ERR_NOT_RUNNING', path: daemonPaths(unknown).pidFile },
  });
  const [restarted, [first, second]] = (await call('restart', one, unknown)) as [number, object[]];
  t.is(restarted, 6);
  t.like(first, { name: one, outcome: 'restarted', pidFile });
  t.like(second, { name: unknown, code: 'ERR_NOT_RESTARTABLE' });
  const [stopped, [, last]] = (await call('stop', one, unknown, other)) as [number, object[]];
  t.deepEqual([stopped, last], [0, { name: unknown, outcome: 'not-running' }]);
});

test('with --json every failure is an object on stdout, and the same sentence on stderr', async (t) => {
  const name = named(t);
  for (const [exitCode, code, ...args] of [
    [2, 'ERR_INVALID_OPTION', 'stop'],
    [2, 'ERR_INVALID_OPTION', 'stop', '--all', name],
    [2, 'ERR_INVALID_OPTION', 'stop', '--all', '-p', '/tmp/a.pid'],
    [2, 'ERR_INVALID_OPTION', 'stop', '--nope', name],
    [2, 'ERR_INVALID_OPTION', 'stop', 'a b'],
    [2, 'ERR_INVALID_OPTION', 'list', name],
    [2, 'ERR_INVALID_OPTION', 'logs', '-f', name],
    [6, 'ERR_NOT_CONFIGURED', 'logs', name],
    [2, 'ERR_INVALID_OPTION', 'start', '--nme', name, 'sleep', '1'],
    [2, 'ERR_INVALID_OPTION', 'start'],
    [4, 'ERR_INVALID_OPTION', 'status', 'a b'],
    [5, 'ENOENT', 'start', '-n', name, '/no-such-program'],
    [1, 'ERR_START_FAILED', 'start', '-n', name, 'sh', '-c', 'exit 3'],
    [6, 'ERR_NOT_RESTARTABLE', 'restart', name],
    [6, 'ERR_NOT_CONFIGURED', 'forget', `${name}-unknown`],
    [7, 'ERR_NOT_RUNNING', 'reload', name],
    [7, 'ERR_NOT_RUNNING', 'signal', 'CONT', name],
  ] as [number, string, string, ...string[]][]) {
    const [verb, ...rest] = args;
    const told = await daemonry([verb, '--json', ...rest]);
    t.is(told.code, exitCode, args.join(' '));
    const failure = JSON.parse(told.stdout) as { code: string; message: string };
    t.is(failure.code, code, args.join(' '));
    t.is(told.stderr, `daemonry: ${failure.message}\n`, args.join(' '));
  }
  const { stdout } = await daemonry(['start', '--json', '-n', name, 'sh', '-c', 'echo no luck >&2; exit 3']);
  t.like(JSON.parse(stdout), { code: 'ERR_START_FAILED', exitCode: 3, stderr: 'no luck\n' });
  // What belongs to the program is not ours.
  t.is((await daemonry(['start', '-n', name, '/no-such-program', '--json'])).stdout, '');
});

test('a program that makes itself a daemon and fails at its restart leaves JSON on stdout alone', async (t) => {
  const { daemon, write, at } = bench(t);
  const name = named(t);
  await daemon(`
    console.log('above');
    daemonize({ name: '${name}', onStarted: options.onStarted }, () => {
      if (fs.existsSync(at('bad'))) throw new Error('no luck');
      forever();
    });`);
  write('', 'bad');
  const { code, stdout, stderr } = await daemonry(['restart', '--json', name]);
  t.is(code, 1);
  t.like(JSON.parse(stdout), { name, code: 'ERR_START_FAILED' });
  t.regex(stderr, /^above\n[^]*Error: no luck/);
  t.true(existsSync(at('bad')));
});

testAsUser('--all means all daemons of the user that run, and no other', async (t) => {
  const { call } = user(t);
  const roots = named(t);
  if (isRoot) await ok(t, 'start', '-n', roots, 'sleep', '1000');
  const program = ['sh', '-c', `trap ':' HUP; while :; do sleep 0.05; done`];
  for (const name of ['a', 'b', 'idle']) t.is((await call('start', '-n', name, ...program)).code, 0);
  t.is((await call('stop', 'idle')).code, 0);

  const reloaded = await call('reload', '--all');
  t.regex(reloaded.stdout, /^a: sent SIGHUP to pid \d+, .*\nb: sent SIGHUP to pid \d+, .*\n$/);
  const pids = reloaded.stdout.match(/\d+/g);
  const restarted = await call('restart', '--all');
  t.regex(restarted.stdout, /^a restarted with pid \d+\nb restarted with pid \d+\n$/);
  t.notDeepEqual(restarted.stdout.match(/\d+/g), pids);
  const stopped = await call('stop', '--all', '--json');
  t.like(JSON.parse(stopped.stdout), { length: 2, 0: { name: 'a', outcome: 'stopped' }, 1: { name: 'b' } });
  for (const told of [reloaded, restarted, stopped]) t.deepEqual([told.code, told.stderr], [0, '']);

  for (const verb of ['stop', 'restart', 'reload']) {
    t.like(await call(verb, '--all'), { code: 0, stdout: 'none of your named daemons is running\n', stderr: '' });
    t.like(await call(verb, '--all', '--json'), { code: 0, stdout: '[]\n' });
    const both = { code: 2, stdout: '', stderr: 'daemonry: give names or --all, not both\n' };
    t.like(await call(verb, '--all', 'a'), both);
  }
  await fails(t, 2, 'give --pid-file or --all, not both', 'stop', '--all', '-p', '/tmp/a.pid');
  if (isRoot) t.like(await daemonStatus(roots), { state: 'running' });
});

testAsUser('stop, restart and reload take the name all for a daemon of that name, or ask for --all', async (t) => {
  const { call } = user(t);
  for (const verb of ['stop', 'restart', 'reload']) {
    const hint = `daemonry: no daemon is named all: to ${verb} all daemons, type daemonry ${verb} --all\n`;
    t.like(await call(verb, 'all'), { code: 2, stdout: '', stderr: hint });
  }
  t.is((await call('start', '-n', 'all', 'sleep', '1000')).code, 0);
  t.is((await call('start', '-n', 'other', 'sleep', '1000')).code, 0);
  t.regex((await call('restart', 'all')).stdout, /^all restarted with pid \d+\n$/);
  t.regex((await call('stop', 'all')).stdout, /^all stopped \(pid \d+\)\n$/);
  t.like(await call('stop', 'all'), { code: 0, stdout: 'all is not running\n' });
  t.is((await call('status', 'other')).code, 0);
});

testAsUser('stop --all leaves out what is dead already, unless that has left something', async (t) => {
  const { call, at } = user(t);
  const dies = async (name: string, ...program: string[]) => {
    const { stdout } = await call('start', '--json', '-n', name, ...program);
    process.kill((JSON.parse(stdout) as { pid: number }).pid, 'SIGKILL');
    await until('it is dead', async () => (await call('status', name)).code === 1);
  };
  await dies('crash', 'sleep', '1000');
  t.like(await call('stop', '--all'), { code: 0, stdout: 'none of your named daemons is running\n', stderr: '' });
  t.like(await call('stop', '--all', '--json'), { code: 0, stdout: '[]\n' });
  t.is((await call('status', 'crash')).code, 1, 'it is as it was');

  const child = 'sleep 1000 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &';
  await dies('leaves', 'sh', '-c', `${child} echo up >up; wait`);
  t.true(existsSync(at('up')));
  const { code, stdout, stderr } = await call('stop', '--all');
  t.is(code, 0, stderr);
  t.regex(stdout, /^leaves .*\(pid \d+; 1 other process of its session ended\)\n$/);
});

testUnless(isRoot ? (noOtherUser ?? noOwnMounts) : 'only root manages the daemons of the system')(
  'for root --all means the daemons of the system, whatever a user calls another one',
  async (t) => {
    const { path, at } = workspace(t);
    chmodSync(path, 0o755);
    mkdirSync(at('state'));
    chownSync(at('state'), nobody.uid, nobody.gid);
    const script = `
      for place in /run /var/lib/daemonry; do mkdir -p $place && mount -t tmpfs -o mode=755 tmpfs $place || exit 90; done
      export XDG_STATE_HOME=${at('state')}
      user() { setpriv --reuid=${nobody.uid} --regid=${nobody.gid} --clear-groups "$@"; }
      trap 'user "$@" stop web >/dev/null 2>&1; "$@" stop web own >/dev/null 2>&1' EXIT
      cd /; user "$@" start -n web sleep 1000 >/dev/null || exit 91
      "$@" start -n web sleep 1000 >/dev/null || exit 92
      "$@" start -n own -p ${at('own.pid')} sleep 1000 >/dev/null || exit 92
      "$@" status -p /run/web/web.pid --json | grep '"pid"'
      "$@" stop --all || exit 93
      user "$@" status web >/dev/null || exit 94
      user "$@" stop --all || exit 95`;
    const [command, ...args] = [...ownMounts, 'sh', '-c', script, 'sh', process.execPath, main];
    const { code, stdout, stderr } = await run(command!, args);
    t.is(code, 0, `${stdout}${stderr}`);
    const [, pid] = /"pid": (\d+)/.exec(stdout) ?? [];
    t.regex(
      stdout,
      new RegExp(`\nown stopped \\(pid \\d+\\)\nweb stopped \\(pid ${pid}\\)\nweb stopped \\(pid \\d+\\)\n$`),
    );
  },
);

testAsUser('list --failed shows what has crashed, was killed or vanished, and exits with 1 then', async (t) => {
  const { call, at } = user(t);
  const failed = async (...args: string[]) => {
    const { code, stdout } = await call('list', '--failed', '--json', ...args);
    return [code, (JSON.parse(stdout) as { name: string }[]).map(({ name }) => name)] as const;
  };
  t.like(await call('list', '--failed'), { code: 0, stdout: 'no daemon has failed\n' });
  t.deepEqual(await failed(), [0, []]);
  const started = async (name: string, ...program: string[]) => {
    const { stdout } = await call('start', '--json', '-n', name, ...program);
    return (JSON.parse(stdout) as { pid: number }).pid;
  };
  await started('running', 'sleep', '1000');
  await started('stopped', 'sleep', '1000');
  t.is((await call('stop', 'stopped')).code, 0);
  t.deepEqual(await failed(), [0, []]);
  const pid = await started('vanished', 'sleep', '1000');
  process.kill(pid, 'SIGKILL');
  await until('it is dead', async () => (await call('status', 'vanished')).code === 1);
  await started('killed', 'sh', '-c', `trap '' TERM; while :; do sleep 0.05; done`);
  t.is((await call('stop', '-t', '0', 'killed')).code, 0);
  t.deepEqual(await failed(), [1, ['killed', 'vanished']]);
  const { code, stdout } = await call('list', '--failed');
  t.is(code, 1);
  t.regex(stdout, /^NAME .*\nkilled +dead .*was killed at.*\nvanished +dead .*no process saw how\n$/);
  t.is((await call('list')).code, 0);
  // To be started again, or forgotten, is to be no failure any more.
  await started('vanished', 'sleep', '1000');
  t.is((await call('forget', 'killed')).code, 0);
  t.deepEqual(await failed(), [0, []]);

  await started('replaced', 'sh', '-c', '[ -e bad ] || exec sleep 1000; echo no luck >&2; exit 3');
  t.is((await call('restart', 'replaced')).code, 0);
  t.deepEqual(await failed(), [0, []]);
  writeFileSync(at('bad'), '');
  t.is((await call('restart', 'replaced')).code, 1);
  t.deepEqual(await failed(), [1, ['replaced']]);
  const { stdout: told } = await call('list', '--failed');
  t.regex(told, /^NAME .*\nreplaced +stopped .*start failed at \S+ \S+: the daemon exited .*"no luck"\n$/);
  const how = /^replaced is stopped: it was stopped for a restart at \S+ \S+ by [^\n]*, which failed\n/;
  t.regex((await call('status', 'replaced')).stdout, how);
  rmSync(at('bad'));
  await started('replaced', 'sh', '-c', '[ -e bad ] || exec sleep 1000; echo no luck >&2; exit 3');
  t.deepEqual(await failed(), [0, []]);
});

test('the logs of several daemons have titles, also while they are followed, and JSON has their lines', async (t) => {
  const { at, write } = bench(t);
  const [one, other, unknown] = [named(t), named(t), named(t)];
  for (const [name, text] of [
    [one, 'first\nlast'],
    [other, 'hello'],
  ] as const) {
    const says = `echo "$0"; until [ -e go-$1 ]; do sleep 0.05; done; echo more; exec sleep 1000`;
    await ok(t, 'start', '-C', at('.'), '-n', name, 'sh', '-c', says, text, name);
    await until('it has spoken', () => read(daemonPaths(name).logFile) !== '');
  }
  const told = await daemonry(['logs', '-n', '1', one, unknown, other, one]);
  t.is(told.code, 6);
  t.is(told.stdout, `==> ${one} <==\nlast\n\n==> ${other} <==\nhello\n`);
  t.regex(told.stderr, new RegExp(`^daemonry: ${unknown}: there is no log of ${unknown}: it has no record, .*\n$`));
  const json = JSON.parse(await ok(t, 'logs', '--json', one)) as unknown;
  t.deepEqual(json, { name: one, logFile: daemonPaths(one).logFile, lines: ['first', 'last'] });

  const { child, done } = startDaemonry(['logs', '-f', '-n', '1', one, other]);
  let seen = '';
  child.stdout!.on('data', (text: string) => (seen += text));
  const shows = (text: string) => until(`it shows ${text}`, () => seen.endsWith(text));
  await shows(`==> ${other} <==\nhello\n`);
  write('', `go-${one}`);
  await shows(`\n==> ${one} <==\nmore\n`);
  write('', `go-${other}`);
  await shows(`\n==> ${other} <==\nmore\n`);
  child.kill();
  await done;
});

/** Runs `daemonry` with a pipe that has no reader any more. */
function withoutReader(stream: 1 | 2, fifo: string, ...args: string[]) {
  const script = `mkfifo "$1" && exec 3<>"$1" 4>"$1" 3<&-; shift; exec "$@" ${stream}>&4 4>&-`;
  return run('sh', ['-c', script, 'sh', fifo, process.execPath, main, ...args]);
}

test('a reader that has left is no reason to fail, or to leave something undone', async (t) => {
  const { at } = workspace(t);
  const name = named(t);
  let count = 0;
  const call = (stream: 1 | 2, ...args: string[]) => withoutReader(stream, at(`fifo-${++count}`), ...args);
  for (const [code, ...args] of [
    [0, '--help'],
    [0, 'start', '--help'],
    [0, '--version'],
    [0, 'start', '-n', name, 'sleep', '1000'],
    [0, 'list'],
    [0, 'list', '--json'],
    [0, 'status', name],
    [0, 'signal', 'CONT', name, name],
    [0, 'unit', name],
    [0, 'restart', name],
    [0, 'logs', '-n', '5', name],
    [0, 'stop', name],
    [3, 'status', name],
    [0, 'forget', name],
    [7, 'reload', '--json', name],
  ] as [number, ...string[]][]) {
    const told = await call(1, ...args);
    t.is(told.code, code, `${args.join(' ')}: ${told.stderr}`);
    if (code !== 7) t.is(told.stderr, '', args.join(' '));
    if (args[0] === 'restart') t.is((await daemonStatus(name)).state, 'running');
    if (args[0] === 'stop') t.is((await daemonStatus(name)).state, 'stopped');
  }
  t.is((await call(2, 'reload', name)).code, 7);
  t.is((await call(2, 'strat')).code, 2);
  const { code, stdout } = await call(2, 'reload', '--json', name);
  t.is(code, 7);
  t.like(JSON.parse(stdout), { code: 'ERR_NOT_RUNNING' });
});

testUnless(existsSync('/dev/full') ? undefined : 'there is no /dev/full')(
  'output that cannot be written is a failure, in one sentence',
  async (t) => {
    for (const verb of ['list', '--help']) {
      const command = `exec "$0" "$@" >/dev/full`;
      const { code, stderr } = await run('sh', ['-c', command, process.execPath, main, verb]);
      t.is(code, 1);
      t.regex(stderr, /^daemonry: cannot write to standard output: .*no space left on device.*\n$/);
    }
  },
);
