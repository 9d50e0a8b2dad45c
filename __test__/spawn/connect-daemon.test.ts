/** A connection to a daemon's Unix socket, and the daemon behind it if there is none yet. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import {
  connectDaemon,
  daemonStatus,
  stopDaemon,
  type ConnectOptions,
  type SpawnDaemonOptions,
} from '../../dist/index.js';
import { bench, type Bench } from '../helpers/bench.js';
import { until } from '../helpers/until.js';

/** A server on `socket` beside it, which answers each connection with its pid and its version. */
const server = (options = '') => `
  import { createServer } from 'node:net';
  daemonize({ ${options} }, async (daemon) => {
    note('starts ' + process.pid);
    fs.rmSync(at('socket'), { force: true });
    const server = createServer((connection) => connection.end(process.pid + ' ' + (process.env.VERSION ?? '')));
    daemon.serve(server);
    await once(server.listen(at('socket')), 'listening');
  });
`;

/** Connects to the program written last; what it started is stopped after the test. */
function connecting(t: ExecutionContext, { at, pidFile }: Bench) {
  t.teardown(() => stopDaemon({ pidFile }, { timeout: 1000 }));
  return (options: Omit<SpawnDaemonOptions, 'ifRunning'> & Pick<ConnectOptions, 'ifRunning' | 'socket'> = {}) =>
    connectDaemon(process.execPath, [at('program.mjs')], { pidFile, socket: at('socket'), log: at('log'), ...options });
}

async function answer(connection: Socket): Promise<string> {
  return text(connection);
}

test('where nothing listens the daemon is started, and the next call finds it', async (t) => {
  const tools = bench(t);
  tools.write(server());
  const connect = connecting(t, tools);
  const first = await answer(await connect());
  t.is(await answer(await connect()), first);
  t.like(await daemonStatus({ pidFile: tools.pidFile }), { state: 'running', pid: Number.parseInt(first, 10) });
  t.is(tools.notes().length, 1);
});

test('of many processes that call at once all get answers of one daemon', async (t) => {
  const tools = bench(t);
  const { at, pidFile } = tools;
  const program = tools.write(server());
  t.teardown(() => stopDaemon({ pidFile }));
  const caller = `
    const [program, pidFile, socket] = args;
    const connection = await connectDaemon(process.execPath, [program], { pidFile, socket });
    let said = '';
    for await (const chunk of connection) said += chunk;
    return said;`;
  const calls = Array.from({ length: 10 }, () => tools.call(caller, { args: [program, pidFile, at('socket')] }));
  const answers = new Set((await Promise.all(calls)).map(({ returned, error }) => returned ?? error?.message));
  t.is(answers.size, 1, [...answers].join('; '));
  t.deepEqual(tools.notes(), [`starts ${Number.parseInt([...answers][0]!, 10)}`]);
});

test('the socket of a daemon that was killed is no obstacle', async (t) => {
  const tools = bench(t);
  const { pidFile, at } = tools;
  tools.write(server());
  const connect = connecting(t, tools);
  const pid = Number.parseInt(await answer(await connect()), 10);
  process.kill(pid, 'SIGKILL');
  await until('it is dead', async () => (await daemonStatus({ pidFile })).state === 'dead');
  t.true(existsSync(at('socket')));
  t.not(Number.parseInt(await answer(await connect()), 10), pid);
});

test('no call to a daemon that stops itself again and again is lost', async (t) => {
  const tools = bench(t);
  tools.write(server('idleTimeout: 400'));
  const connect = connecting(t, tools);
  const pids = new Set<string>();
  for (let call = 0; call < 40; call++) {
    const said = await answer(await connect());
    t.regex(said, /^\d+ $/, `call ${call}`);
    pids.add(said);
    // Now before it stops, now just then, now after.
    await sleep(385 + (call % 30));
  }
  t.log(`40 calls, ${pids.size} daemons`);
  t.true(pids.size > 1);
});

test('an error that does not mean "nobody listens" is thrown as it is, and nothing is started', async (t) => {
  const tools = bench(t);
  const { at, pidFile } = tools;
  tools.write(server());
  mkdirSync(at('folder'));
  writeFileSync(at('file'), '');
  const connect = connecting(t, tools);
  await t.throwsAsync(connect({ socket: at('file', 'socket') }), { code: 'ENOTDIR' });
  t.is((await daemonStatus({ pidFile })).state, 'stopped');
  t.deepEqual(tools.notes(), []);
});

test('a plain file in the place of the socket is the program’s to remove', async (t) => {
  const tools = bench(t);
  tools.write(server());
  writeFileSync(tools.at('socket'), '');
  t.regex(await answer(await connecting(t, tools)()), /^\d+ $/);
});

test('a program that never calls daemonize() can be waited for by its socket', async (t) => {
  const tools = bench(t);
  tools.write(`
    import { createServer } from 'node:net';
    note('starts');
    await sleep(200);
    createServer((connection) => connection.end('plain')).listen(at('socket'));
  `);
  t.is(await answer(await connecting(t, tools)({ waitFor: 'exec' })), 'plain');
  t.deepEqual(tools.notes(), ['starts']);
});

test('a daemon that ends before it listens is told, and not started for ever', async (t) => {
  const tools = bench(t);
  tools.write(`daemonize({}, (daemon) => (note('starts'), daemon.ready(), setTimeout(() => process.exit(), 200)));`);
  await t.throwsAsync(connecting(t, tools)(), {
    code: 'ERR_START_FAILED',
    message: /was started 5 times, and ended each time/,
  });
  t.deepEqual(tools.notes(), Array(5).fill('starts'));
});

test('a daemon that fails to start is told with its reason', async (t) => {
  const tools = bench(t);
  tools.write(`daemonize({}, () => { throw new Error('no configuration'); });`);
  await t.throwsAsync(connecting(t, tools)(), { code: 'ERR_START_FAILED', message: /no configuration/ });
});

test('one that runs but never listens is told when the time is over, and left alone', async (t) => {
  const tools = bench(t);
  tools.write(`daemonize({}, forever);`);
  const message =
    /^node is running \(pidfile .*\), but its socket .*socket was still missing after 4000 ms: restart it$/;
  await t.throwsAsync(connecting(t, tools)({ startTimeout: 2000 }), { code: 'ERR_START_TIMEOUT', message });
  t.is((await daemonStatus({ pidFile: tools.pidFile })).state, 'running');
});

test('an abort ends the wait', async (t) => {
  const tools = bench(t);
  tools.write(`daemonize({}, never);`);
  const controller = new AbortController();
  const connected = connecting(t, tools)({ signal: controller.signal });
  await until('it starts', async () => 'pid' in (await daemonStatus({ pidFile: tools.pidFile })));
  controller.abort();
  await t.throwsAsync(connected, { code: 'ERR_START_INTERRUPTED' });
  t.is((await daemonStatus({ pidFile: tools.pidFile })).state, 'stopped');
});

test('a call that cannot be meant is refused with a sentence', async (t) => {
  const long = `/tmp/${'x'.repeat(120)}`;
  for (const [options, message] of [
    [{}, 'connectDaemon needs "name", or "pidFile" and "socket"'],
    [{ pidFile: '/tmp/a.pid' }, 'connectDaemon needs "name", or "pidFile" and "socket"'],
    [{ socket: '/tmp/a.sock' }, 'connectDaemon needs "name", or "pidFile" and "socket"'],
    [
      { name: 'a', ifRunning: 'error' },
      `option "ifRunning" of connectDaemon must be 'reuse' or 'replace', not 'error'`,
    ],
    [
      { name: 'a', socket: long },
      `the socket's path ${long} is too long: it has 125 bytes, and ${process.platform === 'darwin' ? 103 : 107} are possible`,
    ],
    [{ name: 'a', sokcet: 'b' }, 'unknown option "sokcet"'],
    [{ name: 'a', socket: 7 }, 'option "socket" must be a path, not 7'],
    [{ name: 'a', socket: new URL('http://a/') }, 'option "socket" must be a path or a local file: URL, not http://a/'],
  ] as const) {
    await t.throwsAsync(async () => connectDaemon('no-such-program', [], options as never), {
      code: 'ERR_INVALID_OPTION',
      message,
    });
  }
});
