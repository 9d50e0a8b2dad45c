import { existsSync, readFileSync } from 'node:fs';
import test from 'ava';
import { daemonStatus } from '../../dist/index.js';
import { service } from '../fixtures/service.js';
import { bench } from '../helpers/bench.js';
import { testOnLinux } from '../helpers/privileges.js';
import { descriptors, stat, statusField } from '../helpers/processes.js';

test('the launcher exits with 0 when the daemon is up, and the pidfile names the daemon', async (t) => {
  const { at, daemon } = bench(t);
  const pidFile = at('a.pid');
  const pid = await daemon(service({ pidFile }));
  t.is(readFileSync(pidFile, 'utf8'), `${pid}\n`);
  t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
});

testOnLinux('a daemon is adopted by another process, is no session leader and has no terminal', async (t) => {
  const { at, daemon } = bench(t);
  const pid = await daemon(service({ pidFile: at('a.pid') }));
  const { ppid, pgrp, session, tty } = stat(pid)!;
  t.not(ppid, process.pid);
  t.is(pgrp, session);
  t.not(session, pid);
  t.is(tty, 0);
  t.is(statusField(pid, 'SigBlk'), '0000000000000000');
  t.is(statusField(pid, 'Umask'), '0022');
  t.deepEqual(
    [0, 1, 2].map((fd) => descriptors(pid).get(fd)),
    ['/dev/null', '/dev/null', '/dev/null'],
  );
});

for (const [behaviour, exit, reason] of [
  ['throw', 'exited with code 1', 'thrown by main'],
  ['reject', 'exited with code 1', 'rejected by main'],
  ['exit', 'exited with code 7', ''],
  // Only a parent sees that, and on macOS the launcher is none.
  ['abort', process.platform === 'darwin' ? 'exited before it was up' : 'was terminated by SIGABRT', ''],
  ['classic-throw', 'exited with code 1', 'TypeError: thrown below daemonize'],
  ['classic-exit', 'exited with code 3', ''],
] as const) {
  test(`a daemon that fails by "${behaviour}" makes the launcher fail with the reason and leaves nothing`, async (t) => {
    const { at, launch } = bench(t);
    const { code, stderr } = await launch(service({ pidFile: at('a.pid') }, behaviour));
    t.is(code, 1);
    const sentence = stderr.trimEnd().split('\n').at(-1)!;
    t.true(sentence.startsWith('program.mjs did not start: the daemon '), sentence);
    t.true(sentence.includes(exit), sentence);
    t.true(sentence.includes(reason), sentence);
    t.false(existsSync(at('a.pid')));
  });
}
