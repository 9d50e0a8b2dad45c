/** Durations and sizes on the command line. */
import { readFileSync } from 'node:fs';
import test from 'ava';
import { durationOf, sizeOf } from '../../src/cli/quantity.js';
import { daemonry, fails } from '../helpers/command.js';
import { testOnLinux } from '../helpers/privileges.js';
import { bench } from '../helpers/bench.js';

const nothing = [
  '',
  ' ',
  '10x',
  '-1s',
  '-1',
  '1e9s',
  '1e3',
  '1.5',
  '.5s',
  '1.s',
  '10 s',
  's',
  'ms',
  '1s1s',
  '1constructor',
  '١s',
];

test('a duration is a whole number of milliseconds, or a number with a unit', (t) => {
  const given = ['0', '1500', '500ms', '10s', '1.5m', '2h', '2.3s', '0.25s', '0s'];
  t.deepEqual(given.map(durationOf), [0, 1500, 500, 10_000, 90_000, 7_200_000, 2300, 250, 0]);
  for (const text of [...nothing, '10S', '1d', '1M']) t.is(durationOf(text), undefined, text);
});

test('a size is a whole number of bytes, or a number with a unit, in powers of 1024', (t) => {
  const given = ['0', '4096', '64k', '64K', '512M', '512m', '1G', '1.5g', '2T'];
  const [k, m, g] = [2 ** 10, 2 ** 20, 2 ** 30];
  t.deepEqual(given.map(sizeOf), [0, 4096, 64 * k, 64 * k, 512 * m, 512 * m, g, 1.5 * g, 2048 * g]);
  for (const text of [...nothing, '1s', '1KB', '1Ki']) t.is(sizeOf(text), undefined, text);
});

test('a wrong duration or size is named', async (t) => {
  const wanted = 'must be a duration such as 500ms, 10s, 1.5m or 2h, or a whole number of milliseconds';
  for (const text of ['10x', '-1s', '', '1e9s']) {
    await fails(t, 2, `--timeout ${wanted}, not "${text}"`, 'stop', `--timeout=${text}`, 'a');
    await fails(t, 2, `--timeout ${wanted}, not "${text}"`, 'reload', `--timeout=${text}`, 'a');
    await fails(t, 2, `--alive-for ${wanted}, not "${text}"`, 'start', `--alive-for=${text}`, 'sleep', '1');
    const size = 'must be a size such as 64k, 512M or 1G, a whole number of bytes or unlimited';
    await fails(t, 2, `--limit core ${size}, not "${text}"`, 'start', '--limit', `core=${text}`, 'sleep', '1');
  }
  await fails(
    t,
    2,
    /--limit nofile must be a whole number or unlimited, not "1k"/,
    'start',
    '--limit',
    'nofile=1k',
    'a',
  );
  const most = 2 ** 31 - 1;
  const long = `--timeout must be at most ${most} milliseconds (24 days), not 3596400000`;
  await fails(t, 2, long, 'start', '--timeout', '999h', 'sleep', '1');
});

testOnLinux('durations and sizes reach the daemon', async (t) => {
  const { pidFile } = bench(t);
  const options = ['--alive-for', '10ms', '--timeout', '0.5m', '--stop-timeout', '3s', '--limit', 'core=64k'];
  const { code, stdout, stderr } = await daemonry(['start', '-p', pidFile, '--json', ...options, 'sleep', '1000']);
  t.is(code, 0, stderr);
  const { pid } = JSON.parse(stdout) as { pid: number };
  t.regex(readFileSync(`/proc/${pid}/limits`, 'utf8'), /^Max core file size +65536 +65536 +bytes/m);
  t.is((await daemonry(['stop', '-p', pidFile, '--timeout', '20s'])).code, 0);
});
