/** The two shapes of a call that starts a program, and `daemonize` with `main` alone. */
import test from 'ava';
import { connectDaemon, spawnDaemon, stopDaemon } from '../../dist/index.js';
import { read } from '../helpers/files.js';
import { bench } from '../helpers/bench.js';
import { until } from '../helpers/until.js';

test('spawnDaemon starts a program without arguments by its command and the options', async (t) => {
  const { at, pidFile } = bench(t);
  t.teardown(() => stopDaemon({ pidFile }, { timeout: 1000 }));
  const { outcome } = await spawnDaemon('cat', { pidFile, stdin: '/dev/zero', stdout: '/dev/null', stderr: at('log') });
  t.is(outcome, 'started');
});

test('the arguments may be left out by undefined, too', async (t) => {
  const { pidFile } = bench(t);
  await t.throwsAsync(spawnDaemon('/no/such', undefined, { pidFile }), { code: 'ENOENT' });
});

test('daemonize takes main alone, with the options of the start', async (t) => {
  const { at, write, pidFile } = bench(t);
  const script = write('daemonize((daemon) => console.log(daemon.pidFile)); forever();');
  t.teardown(() => stopDaemon({ pidFile }, { timeout: 1000 }));
  await spawnDaemon(process.execPath, [script], { pidFile, log: at('log'), waitFor: 'ready' });
  await until('it has printed its pidfile', () => read(at('log')) === `${pidFile}\n`);
  t.pass();
});

for (const [what, args, message] of [
  ['text', ['a'], 'the arguments must be an array of strings without NUL, not "a"'],
  ['null', [null], 'the arguments must be an array of strings without NUL, not null'],
  ['a set', [new Set(['a'])], "the arguments must be an array of strings without NUL, not Set(1) { 'a' }"],
  ['options twice', [{ name: 'a' }, {}], "the arguments must be an array of strings without NUL, not { name: 'a' }"],
  ['a hole', [Array<unknown>(1)], 'the arguments must be an array of strings without NUL, not undefined'],
  ['an unknown option', [{ pidfile: 'a' }], 'unknown option "pidfile": did you mean "pidFile"?'],
  ['no options', [[], null], 'the options must be an object, not null'],
] as const) {
  test(`spawnDaemon refuses ${what} in the place of the arguments`, async (t) => {
    const call = spawnDaemon as unknown as (...given: unknown[]) => Promise<unknown>;
    await t.throwsAsync(call('/no/such', ...args), { code: 'ERR_INVALID_OPTION', message });
  });
}

for (const [command, message] of [
  [7, "the command must be a program's name or path, not 7"],
  ['', 'the command must be a program\'s name or path, not ""'],
  [
    new URL('https://example.org/a'),
    "the command must be a program's name or path, or a local file: URL, not https://example.org/a",
  ],
] as const) {
  test(`${command || 'an empty text'} is no command`, async (t) => {
    const options = { name: 'a' };
    await t.throwsAsync(spawnDaemon(command as never), { code: 'ERR_INVALID_OPTION', message });
    await t.throwsAsync(connectDaemon(command as never, options), { code: 'ERR_INVALID_OPTION', message });
  });
}
