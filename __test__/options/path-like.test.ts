/** Every path of the interface as a `file:` URL; records and results have text. */
import { existsSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';
import test from 'ava';
import { connectDaemon, daemonStatus, PidFile, spawnDaemon, stopDaemon } from '../../dist/index.js';
import { read } from '../helpers/files.js';
import { named, recordOf } from '../helpers/named.js';
import { bench } from '../helpers/bench.js';

test('daemonize takes URLs for the pidfile, the log, the streams, the directory and the sockets', async (t) => {
  const { daemon, at, notes, pidFile } = bench(t);
  writeFileSync(at('in put'), 'question');
  await daemon(`
    const url = (name) => new URL(encodeURIComponent(name), import.meta.url);
    const daemon = daemonize({
      ...options,
      pidFile: url('daemon.pid'),
      log: { path: url('a log') },
      stdin: url('in put'),
      stderr: url('errors'),
      cwd: new URL('.', import.meta.url),
      listen: { ctl: { path: url('ctl.sock') } },
    });
    console.log('out');
    console.error('err');
    note(JSON.stringify([daemon.pidFile, process.cwd(), fs.readFileSync(0, 'utf8')]));
    forever();
  `);
  t.deepEqual(JSON.parse(notes()[0]!), [pidFile, realpathSync(at()), 'question']);
  t.is(read(at('a log')), 'out\n');
  t.is(read(at('errors')), 'err\n');
  t.true(existsSync(at('ctl.sock')));
});

test('spawnDaemon takes URLs for the command and its options, and the record has paths', async (t) => {
  const { at, write } = bench(t);
  const name = named(t);
  writeFileSync(at('sleep well'), '#!/bin/sh\nexec sleep 1000\n', { mode: 0o755 });
  const url = (file: string) => pathToFileURL(at(file));
  const options = { name, log: { path: url('a log') }, stdin: url('sleep well'), cwd: url('.') };
  const listen = { ctl: { path: url('ctl.sock') } };
  const { outcome } = await spawnDaemon(url('sleep well'), { ...options, listen });
  t.is(outcome, 'started');
  const { program, arguments: args, logFile } = (await daemonStatus(name)).record!;
  t.deepEqual([program, args, logFile], [at('sleep well'), [at('sleep well')], at('a log')]);
  const { options: kept } = JSON.parse(readFileSync(recordOf(name), 'utf8')) as { options: unknown };
  const texts = { name, log: { path: at('a log') }, stdin: at('sleep well'), cwd: at() };
  t.deepEqual(kept, { ...texts, listen: { ctl: { path: at('ctl.sock') } } });
  const other = write('daemonize(forever);', 'other.mjs');
  await t.throwsAsync(spawnDaemon(pathToFileURL(other), { name, ifRunning: 'reuse' }), { code: 'ERR_OTHER_PROGRAM' });
});

test('a target, the path of PidFile and the socket of connectDaemon can be URLs', async (t) => {
  const { at, write, pidFile } = bench(t);
  const url = (file: string) => pathToFileURL(at(file));
  const held = PidFile.acquire(url('a.pid'));
  t.is(held.path, at('a.pid'));
  t.like(await daemonStatus({ pidFile: url('a.pid') }), { state: 'running', pid: process.pid });
  held.release();
  const script = write(`
    import { createServer } from 'node:net';
    daemonize(async (daemon) => {
      const server = createServer((connection) => connection.end('hello'));
      daemon.serve(server);
      await once(server.listen(at('socket')), 'listening');
    });
  `);
  const target = { pidFile: url('daemon.pid') };
  t.teardown(() => stopDaemon({ pidFile }, { timeout: 1000 }));
  t.is(await text(await connectDaemon(process.execPath, [script], { ...target, socket: url('socket') })), 'hello');
  t.like(await stopDaemon(target), { outcome: 'stopped' });
});
