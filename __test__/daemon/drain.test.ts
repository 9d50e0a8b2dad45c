/** What becomes of the requests when a daemon with an HTTP server stops. */
import { once } from 'node:events';
import { connect } from 'node:net';
import test from 'ava';
import { daemonStatus, stopDaemon } from '../../dist/index.js';
import { bench } from '../helpers/bench.js';
import { read } from '../helpers/files.js';
import { keepAsking } from '../helpers/keep-alive.js';
import { ask, freePort } from '../helpers/requests.js';
import { until } from '../helpers/until.js';

/** A service that takes a moment for each answer. */
const serving = (port: number, options = '', server = '') => `
  import { createServer } from 'node:http';
  daemonize({ ...options, ${options} log: at('log') }, async (daemon) => {
    const server = createServer((request, response) => {
      request.resume().on('end', () => setTimeout(() => response.end('answered'), 2));
    });
    ${server}
    daemon.serve(server);
    await once(server.listen(${port}, '127.0.0.1'), 'listening');
  });
`;

test('no request of clients with keep-alive is reset', async (t) => {
  const { daemon, pidFile } = bench(t);
  for (let round = 0; round < 5; round += 1) {
    const port = await freePort();
    await daemon(serving(port));
    const asking = keepAsking(port, 20);
    await until('they are answered', async () => (await ask(port)) === 'answered');
    t.like(await stopDaemon({ pidFile }), { outcome: 'stopped' });
    const { answered, lost } = await asking;
    t.true(answered >= 20, `${answered} answers`);
    t.deepEqual(lost, []);
  }
});

test('a connection that is idle is answered once more, and told that it ends', async (t) => {
  const { daemon, pidFile } = bench(t);
  const port = await freePort();
  await daemon(serving(port, '', 'server.keepAliveTimeout = 0;'));
  const socket = connect(port, '127.0.0.1').setEncoding('utf8');
  let heard = '';
  socket.on('data', (more: string) => (heard += more));
  socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await until('it is answered', () => heard.endsWith('answered'));
  t.regex(heard, /^Connection: keep-alive\r$/m);
  const stopping = stopDaemon({ pidFile });
  await until('nobody listens any more', async () => {
    const other = connect(port, '127.0.0.1');
    const [error] = await Promise.race([once(other, 'connect'), once(other, 'error')]).catch((e: unknown) => [e]);
    other.destroy();
    return (error as NodeJS.ErrnoException | undefined)?.code === 'ECONNREFUSED';
  });
  heard = '';
  socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await once(socket, 'end');
  t.regex(heard, /^Connection: close\r$/m);
  t.like(await stopping, { outcome: 'stopped' });
});

test('connections that nobody uses hold no stop beyond its time', async (t) => {
  const { daemon, pidFile } = bench(t);
  const port = await freePort();
  await daemon(serving(port, 'stopTimeout: 2000,', 'server.keepAliveTimeout = 1000;'));
  // One that has never asked for anything, as browsers make them in advance.
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  const ended = once(socket.resume(), 'end');
  const outcome = await stopDaemon({ pidFile });
  t.is(outcome.outcome, 'stopped');
  t.is('handlers' in outcome ? outcome.handlers : undefined, undefined);
  await ended;
});

test('a keepAliveTimeout that is not below stopTimeout is warned of', async (t) => {
  const { daemon, pidFile, at } = bench(t);
  await daemon(serving(await freePort(), 'stopTimeout: 2000,', 'server.keepAliveTimeout = 2000;'));
  t.is(
    read(at('log')),
    "a stop can lose requests: the server's keepAliveTimeout (2000 ms) is not below stopTimeout (2000 ms)\n",
  );
  t.is((await daemonStatus({ pidFile })).state, 'running');
});

test('the workers of a cluster finish their requests before their primary exits', async (t) => {
  const { daemon, pidFile, notes } = bench(t);
  const port = await freePort();
  await daemon(`
    import cluster from 'node:cluster';
    import { createServer } from 'node:http';
    daemonize(options, async (daemon) => {
      if (cluster.isPrimary) {
        const workers = [cluster.fork(), cluster.fork()];
        // As many programs do it, whatever a worker has exited for.
        cluster.on('exit', () => { note('exit'); if (notes < 3) cluster.fork(); notes += 1; });
        let notes = 0;
        await Promise.all(workers.map((worker) => once(worker, 'listening')));
        return;
      }
      const server = createServer((request, response) => {
        request.resume().on('end', () => setTimeout(() => response.end('answered'), 2));
      });
      daemon.serve(server);
      await once(server.listen(${port}, '127.0.0.1'), 'listening');
    });
  `);
  const asking = keepAsking(port, 20);
  await until('they are answered', async () => (await ask(port)) === 'answered');
  t.like(await stopDaemon({ pidFile }), { outcome: 'stopped', handlers: undefined, othersEnded: undefined });
  const { answered, lost } = await asking;
  t.true(answered >= 20, `${answered} answers`);
  t.deepEqual(lost, []);
  t.true(notes().length >= 2);
});
