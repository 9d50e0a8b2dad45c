/** How a daemon has ended, as `status` reports it until the next start. */
import test from 'ava';
import { daemonStatus, spawnDaemon, stopDaemon } from '../../dist/index.js';
import { bench } from '../helpers/bench.js';
import { daemonry } from '../helpers/command.js';
import { read } from '../helpers/files.js';
import { endOf } from '../helpers/status.js';
import { until } from '../helpers/until.js';

for (const [what, options, body, state, end] of [
  [
    'throws',
    '',
    "throw new Error('no\\x1b[31m luck');",
    'dead',
    { reason: 'crashed', exitCode: 1, lastWords: 'Error: no\x1b[31m luck' },
  ],
  [
    'rejects',
    '',
    "Promise.reject(new TypeError('no luck'));",
    'dead',
    { reason: 'crashed', exitCode: 1, lastWords: 'TypeError: no luck' },
  ],
  ['exits with a code', '', 'process.exit(3);', 'dead', { reason: 'crashed', exitCode: 3 }],
  ['exits with 0', '', 'process.exit();', 'stopped', { reason: 'finished', exitCode: 0 }],
  ['has nothing left to do', '', 'clearInterval(timer);', 'stopped', { reason: 'finished', exitCode: 0 }],
  ['is idle', 'idleTimeout: 1,', '', 'stopped', { reason: 'idle', exitCode: 0 }],
  ['is killed', '', "process.kill(process.pid, 'SIGKILL');", 'dead', { reason: 'vanished' }],
  [
    'is asked to stop',
    '',
    "process.kill(process.pid, 'SIGTERM');",
    'stopped',
    { reason: 'stopped', signal: 'SIGTERM' },
  ],
  ['stops itself', '', 'daemon.stop();', 'stopped', { reason: 'stopped', exitCode: 0 }],
  [
    'stops, and a handler throws',
    '',
    "daemon.onStop(() => { throw new Error('no'); }); daemon.stop();",
    'stopped',
    { reason: 'stopped', exitCode: 1 },
  ],
  [
    'does not stop in its own time',
    'stopTimeout: 50,',
    'daemon.onStop(never); daemon.stop();',
    'dead',
    { reason: 'killed', signal: 'SIGTERM' },
  ],
] as const) {
  test(`a daemon that ${what}: ${end.reason}`, async (t) => {
    const { launch, at, pidFile, write } = bench(t);
    const before = Date.now();
    const { code, stderr } = await launch(`daemonize({ ...options, ${options} log: at('log') }, (daemon) => {
      const timer = setInterval(() => {}, 60_000);
      exists('go').then(() => setImmediate(() => { ${body} }));
    });`);
    t.is(code, 0, stderr);
    write('', 'go');
    await until('it has ended', async () => (await endOf({ pidFile })) !== undefined);
    t.is((await daemonStatus({ pidFile })).state, state, read(at('log')));
    const { at: when, ...others } = { at: undefined, ...(await endOf({ pidFile }))! };
    t.deepEqual(others, end);
    if (end.reason === 'vanished') t.is(when, undefined);
    else t.true(when!.getTime() >= before && when!.getTime() <= Date.now(), String(when));
  });
}

test('a program that calls no daemonize() has vanished, unless it was stopped', async (t) => {
  const { at, write } = bench(t);
  const pidFile = at('a.pid');
  const waits = 'while ! [ -e go ]; do sleep 0.05; done; exit 3';
  await spawnDaemon('sh', ['-c', waits], { pidFile, cwd: at('.') });
  write('', 'go');
  await until('it has ended', async () => (await endOf({ pidFile })) !== undefined);
  t.deepEqual(await endOf({ pidFile }), { reason: 'vanished' });

  await spawnDaemon('sleep', ['1000'], { pidFile });
  t.is(await endOf({ pidFile }), undefined);
  const before = Date.now();
  await stopDaemon({ pidFile });
  t.is((await daemonStatus({ pidFile })).state, 'stopped');
  const end = await endOf({ pidFile });
  t.true(end?.reason === 'stopped' && end.at!.getTime() >= before);

  await spawnDaemon('sh', ['-c', "trap '' TERM; echo up >up; while :; do sleep 0.05; done"], { pidFile, cwd: at('.') });
  await until('it is deaf', () => read(at('up')) === 'up\n');
  t.is((await stopDaemon({ pidFile }, { timeout: 50 })).outcome, 'killed');
  t.is((await daemonStatus({ pidFile })).state, 'dead');
  t.is((await endOf({ pidFile }))?.reason, 'killed');
});

for (const [what, program] of [
  ['a main that leaves nothing alive', 'daemonize(options, () => {});'],
  ['a program that does nothing after daemonize()', 'daemonize(options);'],
] as const) {
  test(`${what} is a failed start`, async (t) => {
    const { launch } = bench(t);
    const { code, stderr } = await launch(program);
    t.is(code, 1);
    t.regex(stderr, /did not start: the daemon exited with code 1 before it was up: nothing keeps it alive\n$/);
  });
}

test('a daemon that has nothing left to do says so', async (t) => {
  const { launch, at, pidFile, write } = bench(t);
  await launch(`daemonize({ ...options, log: at('log') }, () => { void exists('go'); });`);
  write('', 'go');
  await until('it has ended', async () => (await endOf({ pidFile }))?.reason === 'finished');
  t.is(read(at('log')), 'nothing keeps the daemon alive: it exits\n');
});

for (const what of ['', "'with a text'"]) {
  test(`ready(${what}) right before a rejection that nobody handles is a failed start`, async (t) => {
    const { launch } = bench(t);
    const { code, stderr } = await launch(`daemonize(options, (daemon) => {
      forever();
      daemon.ready(${what});
      void Promise.reject(new Error('no luck'));
      return never();
    });`);
    t.is(code, 1);
    t.regex(stderr, /did not start: the daemon exited with code 1 before it was up: Error: no luck/);
  });
}

test('a start that has failed leaves no end', async (t) => {
  const { launch, pidFile } = bench(t);
  const { code } = await launch(`daemonize(options, () => { throw new Error('no'); });`);
  t.is(code, 1);
  t.deepEqual(await daemonStatus({ pidFile }), { state: 'stopped', pidFile });
});

test('status prints when and why, and its exit code is 1 after a crash', async (t) => {
  const { launch, pidFile, write } = bench(t);
  await launch(`daemonize(options, () => { exists('go').then(() => { throw new Error('no luck'); }); });`);
  write('', 'go');
  await until('it has ended', async () => (await endOf({ pidFile })) !== undefined);
  const { code, stdout } = await daemonry(['status', '-p', pidFile]);
  t.is(code, 1);
  t.regex(
    stdout,
    /is dead: it crashed at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d with exit code 1: Error: no luck; its pid was \d+\n/,
  );
});
