/** A daemon below its supervisor: restarted when it ends, stopped whole, reported truthfully. */
import {
  chmodSync,
  existsSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import test from 'ava';
import {
  daemonStatus,
  signalDaemon,
  restartDaemon,
  spawnDaemon,
  stopDaemon,
  type DaemonError,
  type DaemonStatus,
  type SpawnDaemonOptions,
} from '../../dist/index.js';
import { bench, type Bench } from '../helpers/bench.js';
import { daemonry, ok } from '../helpers/command.js';
import { eventsOf, named } from '../helpers/named.js';
import { testOnLinux } from '../helpers/privileges.js';
import { hasEnded } from '../helpers/processes.js';
import { until } from '../helpers/until.js';

type Target = Parameters<typeof daemonStatus>[0];
type Running = Extract<DaemonStatus, { state: 'running' | 'stopping' }>;

/** A service that ends as the files `crash` and `finish` say, once each. */
const service = `echo $$ >>pids
while :; do
  for code in 0 3; do if [ -e exit-$code ]; then rm exit-$code; echo "Error: left with $code" >&2; exit $code; fi; done
  sleep 0.05
done`;

/** Starts it below a supervisor; its pidfile is `a.pid`, whose daemon `bench` stops. */
function supervised({ at }: Bench, options: SpawnDaemonOptions = {}) {
  return spawnDaemon('sh', ['-c', service], {
    pidFile: at('a.pid'),
    cwd: at('.'),
    log: at('log'),
    restart: 'on-failure',
    ...options,
  });
}

async function untilEnded(pid: number): Promise<void> {
  await until(`process ${pid} has ended`, () => hasEnded(pid));
}

/** Waits until the daemon runs after so many restarts, or more. */
async function restarted(daemon: Target, restarts: number): Promise<Running> {
  return until(`restart ${restarts}`, async () => {
    const found = await daemonStatus(daemon);
    return found.state === 'running' && found.restarts! >= restarts ? found : undefined;
  });
}

async function inState(daemon: Target, state: DaemonStatus['state']): Promise<DaemonStatus> {
  return until(state, async () => {
    const found = await daemonStatus(daemon);
    return found.state === state ? found : undefined;
  });
}

const supervisorOf = async (daemon: Target) => ((await daemonStatus(daemon)) as Running).supervisorPid!;

test('a daemon that crashes is started again, and its supervisor stays the process of the pidfile', async (t) => {
  const space = bench(t);
  const { at } = space;
  const daemon = { pidFile: at('a.pid') };
  const { pid } = await supervised(space);
  const before = (await daemonStatus(daemon)) as Running;
  t.like(before, { state: 'running', pid, restarts: 0 });
  t.is(readFileSync(daemon.pidFile, 'utf8').trim(), String(before.supervisorPid));
  writeFileSync(at('exit-3'), '');
  const after = await restarted(daemon, 1);
  t.not(after.pid, pid);
  t.is(after.supervisorPid, before.supervisorPid);
  t.like(await stopDaemon(daemon), { outcome: 'stopped', pid: after.pid });
  await untilEnded(before.supervisorPid!);
  t.false(existsSync(daemon.pidFile));
});

test('what happens is in the journal: each exit with its code and last words, each restart with its delay', async (t) => {
  const name = named(t);
  const space = bench(t);
  await spawnDaemon('sh', ['-c', service], { name, cwd: space.at('.'), restart: 'on-failure' });
  writeFileSync(space.at('exit-3'), '');
  await restarted(name, 1);
  process.kill(((await daemonStatus(name)) as Running).pid, 'SIGKILL');
  await restarted(name, 2);
  await stopDaemon(name);
  const events = (await eventsOf(name)).map((event) => {
    const { at: _at, name: _name, by: _by, pid: _pid, event: kind, ...more } = { by: undefined, pid: 0, ...event };
    return { kind, ...more };
  });
  t.deepEqual(events, [
    { kind: 'start' },
    { kind: 'up' },
    { kind: 'exit', reason: 'crashed', exitCode: 3, lastWords: 'Error: left with 3' },
    { kind: 'restarting', restarts: 1, delay: 100 },
    { kind: 'up' },
    { kind: 'exit', reason: 'crashed', signal: 'SIGKILL' },
    { kind: 'restarting', restarts: 2, delay: 200 },
    { kind: 'up' },
    { kind: 'stop', signal: 'SIGTERM' },
    { kind: 'exit', reason: 'stopped', signal: 'SIGTERM' },
  ]);
  t.like(await daemonStatus(name), { state: 'stopped', ended: { reason: 'stopped' } });
});

for (const [restart, code, outcome] of [
  ['on-failure', 0, 'finished'],
  ['no', 0, 'finished'],
  ['no', 3, 'crashed'],
] as const) {
  test(`with restart '${restart}' an exit with ${code} is the end, and known`, async (t) => {
    const space = bench(t);
    await supervised(space, { restart, supervise: true });
    const supervisor = await supervisorOf({ pidFile: space.at('a.pid') });
    writeFileSync(space.at(`exit-${code}`), '');
    await untilEnded(supervisor);
    const { ended } = (await daemonStatus({ pidFile: space.at('a.pid') })) as { ended?: unknown };
    t.like(ended, { reason: outcome, exitCode: code });
  });
}

test("with restart 'always' an exit with 0 is followed by the next", async (t) => {
  const space = bench(t);
  await supervised(space, { restart: 'always' });
  writeFileSync(space.at('exit-0'), '');
  await restarted({ pidFile: space.at('a.pid') }, 1);
  t.pass();
});

test('a stop while the daemon waits for its restart ends the supervisor', async (t) => {
  const space = bench(t);
  const daemon = { pidFile: space.at('a.pid') };
  await spawnDaemon('sh', ['-c', 'sleep 0.2; exit 1'], { ...daemon, restart: 'always', aliveFor: 100 });
  const supervisor = await supervisorOf(daemon);
  const found = (await inState(daemon, 'restarting')) as Extract<DaemonStatus, { state: 'restarting' }>;
  t.is(found.supervisorPid, supervisor);
  t.true(found.restartsAt instanceof Date);
  t.is((await stopDaemon(daemon)).outcome, 'stopped');
  await untilEnded(supervisor);
  t.like(await daemonStatus(daemon), { state: 'stopped' });
});

test('a supervisor gives up when its limit is reached', async (t) => {
  const space = bench(t);
  const daemon = { pidFile: space.at('a.pid') };
  await spawnDaemon('sh', ['-c', 'sleep 0.1; exit 1'], {
    ...daemon,
    log: space.at('log'),
    restart: 'always',
    restartLimit: { times: 2, within: 600_000 },
  });
  t.like(await inState(daemon, 'dead'), { ended: { reason: 'crashed', exitCode: 1 } });
  t.regex(readFileSync(space.at('log'), 'utf8'), /restarted too often: its supervisor gives up/);
});

for (const [how, program, options, sentence] of [
  [
    'exits',
    'echo "Error: no luck" >&2; exit 4',
    {},
    'sh did not start: the daemon exited with code 4 before it was up: Error: no luck',
  ],
  ['dies of a signal', 'kill -KILL $$', {}, 'sh did not start: the daemon was terminated by SIGKILL before it was up'],
  [
    'cannot work there',
    ':',
    { cwd: '/missing' },
    'cannot change the working directory to /missing: No such file or directory (ENOENT)',
  ],
  ['may have no address space', ':', { limits: { as: 4096 } }, 'sh did not start: '],
] as const) {
  test(`a daemon that ${how} has not started, for the same reason as without a supervisor, and leaves nothing`, async (t) => {
    const { at } = bench(t);
    const start = spawnDaemon('sh', ['-c', program], {
      pidFile: at('a.pid'),
      log: at('log'),
      aliveFor: 5000,
      restart: 'always',
      ...options,
    });
    const { message } = (await t.throwsAsync(start))!;
    t.true(message.includes(sentence), message);
    t.false(existsSync(at('a.pid')));
    t.is((await daemonStatus({ pidFile: at('a.pid') })).state, 'stopped');
  });
}

test('a program that is missing fails before anything is started', async (t) => {
  const { at } = bench(t);
  const missing = at('missing');
  const { message } = (await t.throwsAsync(spawnDaemon(missing, { pidFile: at('a.pid'), restart: 'always' })))!;
  t.true(message.includes(`cannot execute ${missing}: No such file or directory (ENOENT)`), message);
});

test('a program that cannot be executed again is a failed start, which is repeated', async (t) => {
  const space = bench(t);
  const program = space.at('program.sh');
  writeFileSync(program, `#!/bin/sh\n${service}`);
  chmodSync(program, 0o755);
  const daemon = { pidFile: space.at('a.pid') };
  await spawnDaemon(program, { ...daemon, cwd: space.at('.'), log: space.at('log'), restart: 'on-failure' });
  renameSync(program, `${program}.away`);
  writeFileSync(space.at('exit-3'), '');
  await until('it cannot be restarted', () =>
    /cannot be restarted: .*ENOENT/.test(readFileSync(space.at('log'), 'utf8')),
  );
  renameSync(`${program}.away`, program);
  await inState(daemon, 'running');
  t.pass();
});

test('signals reach the daemon, and no other process of its session', async (t) => {
  const space = bench(t);
  const daemon = { pidFile: space.at('a.pid') };
  const trap = (signal: string, then = '') => `trap 'echo ${signal} >>notes; ${then}' ${signal};`;
  const traps = `${['HUP', 'USR1', 'USR2'].map((signal) => trap(signal)).join(' ')} ${trap('INT', 'exit 0')}`;
  const { pid } = await spawnDaemon('sh', ['-c', `${traps} echo up >>notes; while :; do sleep 0.05; done`], {
    ...daemon,
    cwd: space.at('.'),
    restart: 'always',
  });
  await space.noted('up');
  for (const signal of ['SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const) {
    t.deepEqual(await signalDaemon(daemon, signal), { pid });
    await space.noted(signal.slice(3));
  }
  const supervisor = await supervisorOf(daemon);
  process.kill(supervisor, 'SIGINT');
  await space.noted('INT');
  await untilEnded(supervisor);
  t.like(await daemonStatus(daemon), { state: 'stopped', ended: { reason: 'stopped' } });
});

test('a daemon that signals its own process group does not reach its supervisor', async (t) => {
  const space = bench(t);
  const daemon = { pidFile: space.at('a.pid') };
  await spawnDaemon('sh', ['-c', 'sleep 0.2; kill -KILL 0'], { ...daemon, restart: 'always', aliveFor: 100 });
  await restarted(daemon, 1);
  t.pass();
});

testOnLinux(
  'a supervisor that is killed takes its daemon with it, and the next start finds nothing in its way',
  async (t) => {
    const space = bench(t);
    const daemon = { pidFile: space.at('a.pid') };
    const { pid } = await supervised(space);
    process.kill(await supervisorOf(daemon), 'SIGKILL');
    await untilEnded(pid);
    t.like(await daemonStatus(daemon), { state: 'dead', ended: { reason: 'vanished' } });
    const { outcome } = await supervised(space);
    t.is(outcome, 'started');
  },
);

test('what a daemon has left in its session is ended before the next one starts', async (t) => {
  const space = bench(t);
  const daemon = { pidFile: space.at('a.pid') };
  await spawnDaemon('sh', ['-c', 'sleep 1000 & echo $! >>helpers; sleep 0.2; exit 1'], {
    ...daemon,
    cwd: space.at('.'),
    restart: 'always',
    aliveFor: 100,
  });
  await restarted(daemon, 1);
  const [first] = readFileSync(space.at('helpers'), 'utf8').split('\n');
  await untilEnded(Number(first));
  t.pass();
});

test('connections wait while the daemon restarts, and none is refused', async (t) => {
  const space = bench(t);
  const program = space.write(`
    const daemon = daemonize({ ...options, waitFor: 'ready', restart: 'on-failure', listen: { http: { path: at('socket') } } });
    const { createServer } = await import('node:net');
    createServer((socket) => {
      socket.end(String(process.pid));
      process.exit(3);
    }).listen({ fd: daemon.listeners.http }, () => daemon.ready());
  `);
  const { code, stderr } = await space.node([program]);
  t.is(code, 0, stderr);
  const pids = new Set<string>();
  for (let round = 0; round < 4; round++) {
    const answer = await new Promise<string>((resolve, reject) => {
      let text = '';
      const socket = connect(space.at('socket'));
      socket.on('data', (data) => (text += String(data)));
      socket.on('error', (error: NodeJS.ErrnoException) =>
        error.code === 'ECONNRESET' ? resolve(text) : reject(error),
      );
      socket.on('close', () => resolve(text));
    });
    pids.add(answer);
  }
  t.true(pids.size >= 3, [...pids].join(' '));
  await stopDaemon({ pidFile: space.pidFile });
  t.false(existsSync(space.at('socket')));
});

testOnLinux('a daemon inherits its streams and nothing of its supervisor', async (t) => {
  const space = bench(t);
  const { pid } = await spawnDaemon('sleep', ['1000'], { pidFile: space.at('a.pid'), restart: 'always' });
  const open = () => readdirSync(`/proc/${pid}/fd`).map((fd) => `${fd} ${readlinkSync(`/proc/${pid}/fd/${fd}`)}`);
  const found = open().map((line) => line.replace(/\[\d+\]/, '[]'));
  // The third is the pipe on which it could report.
  t.deepEqual(found, ['0 /dev/null', '1 /dev/null', '2 /dev/null', '3 pipe:[]']);
});

testOnLinux('a supervisor has less than a megabyte of its own', async (t) => {
  const space = bench(t);
  await supervised(space);
  const rollup = readFileSync(`/proc/${await supervisorOf({ pidFile: space.at('a.pid') })}/smaps_rollup`, 'utf8');
  const kilobytes = [...rollup.matchAll(/^Private_\w+: +(\d+)/gm)].reduce((sum, [, size]) => sum + Number(size), 0);
  t.log(`${kilobytes} kB`);
  t.true(kilobytes < 1000, `${kilobytes} kB`);
});

test('the command restarts a daemon, and says how it stands', async (t) => {
  const name = named(t);
  const space = bench(t);
  writeFileSync(space.at('service.sh'), service);
  await ok(
    t,
    'start',
    '-n',
    name,
    '-C',
    space.at('.'),
    '--restart',
    'on-failure',
    '--restart-limit',
    '9/1m',
    '--',
    'sh',
    'service.sh',
  );
  writeFileSync(space.at('exit-3'), '');
  const { supervisorPid } = await restarted(name, 1);
  const { stdout } = await daemonry(['status', name]);
  t.regex(stdout, new RegExp(`above: supervisor with pid ${supervisorPid}, 1 restart\\n`));
  await stopDaemon(name);
});

test('a daemon that calls daemonize is up when it says so, and its supervisor lets go of it', async (t) => {
  const space = bench(t);
  const { code, stderr } = await space.launch(`
    daemonize({ ...options, restart: 'on-failure', idleTimeout: 1 }, async (daemon) => {
      note(daemon.pidFile);
      await sleep(100);
      forever();
    });
  `);
  t.is(code, 0, stderr);
  await space.noted(space.pidFile);
  // It stops itself: a supervisor that still listened would keep it from that.
  t.like(await inState({ pidFile: space.pidFile }, 'stopped'), { ended: { reason: 'finished', exitCode: 0 } });
});

test('what main throws is printed by the launcher, once', async (t) => {
  const space = bench(t);
  const { code, stderr } = await space.launch(`
    daemonize({ ...options, restart: 'always' }, async () => {
      await sleep(10);
      throw new Error('no luck');
    });
  `);
  t.is(code, 1);
  t.regex(stderr, /did not start: .* before it was up: Error: no luck\n$/);
  t.is((await daemonStatus({ pidFile: space.pidFile })).state, 'stopped');
});

test('a restart by name replaces the supervisor, too, with the same options', async (t) => {
  const name = named(t);
  const space = bench(t);
  await spawnDaemon('sh', ['-c', service], { name, cwd: space.at('.'), restart: 'on-failure' });
  const supervisor = await supervisorOf(name);
  const { pid } = await restartDaemon(name);
  const found = (await daemonStatus(name)) as Running;
  t.is(found.pid, pid);
  t.not(found.supervisorPid, supervisor);
  writeFileSync(space.at('exit-3'), '');
  await restarted(name, 1);
  t.true(hasEnded(supervisor));
  await stopDaemon(name);
});

test('a daemon that runs already is found by its own pid', async (t) => {
  const space = bench(t);
  const { pid } = await supervised(space);
  t.like(await supervised(space, { ifRunning: 'reuse' }), { outcome: 'reused', pid });
  const error = await t.throwsAsync<DaemonError>(supervised(space));
  t.like(error, { code: 'ERR_ALREADY_RUNNING', pid });
  const replaced = await supervised(space, { ifRunning: 'replace' });
  t.is(replaced.outcome, 'replaced');
  t.true(hasEnded(pid));
});

test('a daemon gets the signal of the option killSignal when it is stopped', async (t) => {
  const space = bench(t);
  const program = `trap 'echo int >>notes; exit 0' INT; echo up >>notes; while :; do sleep 0.05; done`;
  await spawnDaemon('sh', ['-c', program], {
    pidFile: space.at('a.pid'),
    cwd: space.at('.'),
    supervise: true,
    killSignal: 'SIGINT',
  });
  await space.noted('up');
  t.is((await stopDaemon({ pidFile: space.at('a.pid') })).outcome, 'stopped');
  t.deepEqual(space.notes(), ['up', 'int']);
});

testOnLinux('a daemon that ignores SIGTERM is killed with its supervisor', async (t) => {
  const space = bench(t);
  const daemon = { pidFile: space.at('a.pid') };
  const { pid } = await spawnDaemon('sh', ['-c', `trap '' TERM; while :; do sleep 0.05; done`], {
    ...daemon,
    restart: 'always',
  });
  t.like(await stopDaemon(daemon, { timeout: 300 }), { outcome: 'killed', pid });
  await untilEnded(pid);
  t.like(await daemonStatus(daemon), { state: 'dead', ended: { reason: 'killed' } });
});

test('a supervisor that is suspended is stopped all the same', async (t) => {
  const space = bench(t);
  const daemon = { pidFile: space.at('a.pid') };
  const { pid } = await supervised(space);
  process.kill(await supervisorOf(daemon), 'SIGSTOP');
  t.like(await stopDaemon(daemon), { outcome: 'stopped', pid });
});

test('a pidfile that was removed is made again', async (t) => {
  const space = bench(t);
  await supervised(space);
  const text = readFileSync(space.at('a.pid'), 'utf8');
  rmSync(space.at('a.pid'));
  await until('the pidfile is there', () => existsSync(space.at('a.pid')));
  await until('it is whole', () => readFileSync(space.at('a.pid'), 'utf8') === text);
  t.pass();
});
