/** Idle exit, holds, and servers that live as their daemon does. */
import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { daemonStatus } from '../../dist/index.js';
import { bench } from '../helpers/bench.js';
import { read } from '../helpers/files.js';
import { named } from '../helpers/named.js';
import { until } from '../helpers/until.js';

test('an idle daemon runs its stop handlers, says why in its log, and exits', async (t) => {
  const { daemon, at, gone, notes } = bench(t);
  await daemon(`
    const daemon = daemonize({ ...options, log: at('log'), idleTimeout: 50 });
    daemon.onStop(() => note('stops'));
    process.on('exit', (code) => note('exits with ' + code));
    forever();
  `);
  t.true(await gone());
  t.deepEqual(notes(), ['stops', 'exits with 0']);
  t.is(read(at('log')), 'nothing has held the daemon for 50 ms: it stops\n');
});

test('a hold keeps it, from before it is up until the last one is released; releasing twice counts once', async (t) => {
  const { daemon, noted, gone, write, pidFile } = bench(t);
  const pid = await daemon(`
    daemonize({ ...options, idleTimeout: 20 }, async (daemon) => {
      const first = daemon.hold();
      const second = daemon.hold();
      forever();
      exists('release').then(() => {
        first.release();
        first.release();
        note('one released');
        return exists('release-last');
      }).then(() => second[Symbol.dispose]());
    });
  `);
  write('', 'release');
  await noted('one released');
  // Ten times as long as it would take.
  await sleep(200);
  t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
  write('', 'release-last');
  t.true(await gone());
});

test('the time begins when the daemon is up, and its launcher has gone', async (t) => {
  const { launch, gone } = bench(t);
  const { code, stderr } = await launch(`
    daemonize({ ...options, idleTimeout: 1, aliveFor: 300 }, async () => {
      await sleep(100);
      forever();
    });
  `);
  t.is(code, 0, stderr);
  t.true(await gone());
});

test('a stop handler that hangs is cut off after stopTimeout, in an idle daemon, too', async (t) => {
  const { daemon, at, gone } = bench(t);
  await daemon(`
    const daemon = daemonize({ ...options, log: at('log'), idleTimeout: 10, stopTimeout: 100 });
    daemon.onStop(never);
    forever();
  `);
  t.true(await gone());
  t.regex(read(at('log')), /^the daemon did not stop within 100 ms after it was asked to and ends now$/m);
});

test('in the foreground an idle program exits, too', async (t) => {
  const { foreground } = bench(t);
  const { done } = await foreground(`
    daemonize({ ...options, idleTimeout: 50 }, () => { note('up'); forever(); });
  `);
  t.like(await done, { code: 0, signal: null });
});

/** A server whose connections last until the other side ends them. */
const serving = (name: string) => `
  import { createServer } from 'node:net';
  daemonize({ ...options, name: '${name}', idleTimeout: 200 }, async (daemon) => {
    const server = createServer({ allowHalfOpen: true }, (connection) => {
      connection.on('error', () => {}).write('hello ');
      connection.on('data', () => {}).on('end', () => connection.end('and goodbye'));
    });
    // Until the first connection, however long that takes.
    const hold = daemon.hold();
    daemon.serve(server);
    server.once('connection', () => hold.release());
    daemon.onStop(() => note('served'));
    await once(server.listen(at('socket')), 'listening');
    void exists('block').then(() => { note('blocked'); while (fs.existsSync(at('block'))); void daemon.stop(); });
    daemon.ready('serving');
  });
`;

test('a connection holds the daemon; when it has ended, so does the idle daemon, and its socket is gone', async (t) => {
  const { daemon, at, gone, notes, pidFile } = bench(t);
  const name = named(t);
  const starting = daemon(serving(name));
  const held = until('a connection', async () => {
    const socket = connect(at('socket'));
    return once(socket, 'connect').then(
      () => socket,
      () => undefined,
    );
  });
  const pid = await starting;
  const socket = await held;
  // Five times as long as it would take.
  await sleep(1000);
  t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
  t.like((await daemonStatus(name)).record, { socket: at('socket'), status: 'serving' });
  socket.end();
  t.is(await text(socket), 'hello and goodbye');
  t.true(await gone());
  t.false(existsSync(at('socket')));
  t.deepEqual(notes(), ['served']);
});

test('a daemon that stops finishes open connections, also one that it had not accepted yet; new ones find no socket', async (t) => {
  const { daemon, at, write, remove, gone, notes, noted } = bench(t);
  const name = named(t);
  await daemon(serving(name));
  write('', 'block');
  await noted('blocked');
  // The kernel takes the connection, the program does not know of it yet.
  const early = connect(at('socket'));
  await once(early, 'connect');
  remove('block');
  await until('the socket is gone', () => !existsSync(at('socket')));
  const [error] = (await once(connect(at('socket')), 'error')) as [NodeJS.ErrnoException];
  t.is(error.code, 'ENOENT');
  t.deepEqual(notes(), ['blocked']);
  early.end();
  t.is(await text(early), 'hello and goodbye');
  await noted('served');
  t.true(await gone());
});

test('what is no server is refused', async (t) => {
  const { daemon, noted, notes } = bench(t);
  await daemon(`
    const daemon = daemonize(options);
    forever();
    try { daemon.serve({}); } catch (error) { note(error.message); }
    note('done');
  `);
  await noted('done');
  t.deepEqual(notes(), ['a server must be a net.Server', 'done']);
});
