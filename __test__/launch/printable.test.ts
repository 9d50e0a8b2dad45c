/** Nothing that a daemon writes or throws, and no path, commands the terminal of the one who reads about it. */
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import * as fc from 'fast-check';
import test, { type ExecutionContext } from 'ava';
import { daemonPaths, daemonStatus, isDaemonError, spawnDaemon, type StartError } from '../../dist/index.js';
import { printable, printableJson, printableLine } from '../../src/printable.js';
import { bench } from '../helpers/bench.js';
import { daemonry, main } from '../helpers/command.js';
import { named } from '../helpers/named.js';
import { testOnLinux } from '../helpers/privileges.js';
import { holds } from '../helpers/property.js';
import { run } from '../helpers/run.js';
import { until } from '../helpers/until.js';
import { workspace } from '../helpers/workspace.js';

/** Clears the screen, sets the title, rings, goes up a line, turns what follows around; C1 as well as C0. */
const hostile = '\x1b[2J\x1b]0;owned\x07\x1b[31mred\x1b[0m\x9b1A\x07\u202edlrow\rhi';
/** What a terminal could obey. */
const commands = /(?![\n\t])\p{Cc}|[\u202A-\u202E\u2066-\u2069]/u;
/** As source of a program. */
const literal = JSON.stringify(hostile).replaceAll('\u202e', '\\u202e').replaceAll('\x9b', '\\x9b');

test('escape sequences are left out, other control characters are shown, everything else stays', async (t) => {
  t.is(printableLine(hostile), 'red\\x07\\u202edlrow\\rhi');
  t.is(printableLine('two\nlines\tand \0 \x7f \x85'), 'two\\nlines\\tand \\x00 \\x7f \\x85');
  t.is(printable('two\r\nlines\tand \r'), 'two\nlines\tand \\r');
  const harmless = 'Grüße, 世界, 👩‍🚀, \\x1b, שלום';
  t.is(printable(harmless), harmless);
  const controls = fc.constantFrom(...'\x1b\x9b\x9d\x07\n\r\t\0\x7f\u202e\u2028[];m0A', '\x1b[', '\x1b]', '\x1b\\');
  const text = fc.array(fc.oneof(controls, fc.string({ unit: 'binary' }))).map((parts) => parts.join(''));
  t.log(
    await holds('any text', text, (any) => {
      if (commands.test(printable(any))) throw new Error('printable');
      if (commands.test(printableLine(any)) || /[\n\t]/.test(printableLine(any))) throw new Error('printableLine');
      const json = printableJson(JSON.stringify({ any }, undefined, 2));
      if (commands.test(json) || (JSON.parse(json) as { any: string }).any !== any) throw new Error('printableJson');
    }),
  );
});

/** Programs whose `main` throws it, after writing it; and one that is up, and writes and says it. */
const programs = {
  'throws.mjs': `
    import { daemonize } from 'daemonry';
    daemonize(JSON.parse(process.argv[2] ?? '{}'), () => {
      process.stderr.write(${literal} + '\\n');
      throw new Error(${literal});
    });`,
  'exits.mjs': `
    import { daemonize } from 'daemonry';
    daemonize({}, () => {
      process.stderr.write(${literal});
      process.exit(3);
    });`,
  'up.mjs': `
    import { daemonize } from 'daemonry';
    daemonize(JSON.parse(process.argv[2]), (daemon) => {
      process.stderr.write(${literal} + '\\n');
      daemon.ready(${literal});
      setInterval(() => {}, 1000);
    });`,
};

function isClean(t: ExecutionContext, text: string, part: string): void {
  t.notRegex(text, commands);
  t.true(text.includes(part), text);
}

for (const program of ['throws.mjs', 'exits.mjs']) {
  test(`${program}: what a launcher prints about a failed start is clean`, async (t) => {
    const { node } = bench(t, programs);
    const { code, stderr } = await node([program]);
    t.is(code, 1);
    isClean(t, stderr, 'red\\x07\\u202edlrow');
  });
}

test('what a launcher prints of a daemon that is up is clean', async (t) => {
  const { node, at } = bench(t, programs);
  const { code, stderr } = await node(['up.mjs', JSON.stringify({ pidFile: at('a.pid') })]);
  t.is(code, 0);
  t.is(stderr, 'red\\x07\\u202edlrow\\rhi\n');
});

test('the message of an error is clean; its stderr is what the daemon wrote', async (t) => {
  const { at, path } = bench(t, programs);
  const call = spawnDaemon(process.execPath, [at('throws.mjs')], { waitFor: 'ready', cwd: path });
  const error = await t.throwsAsync<StartError>(call, { code: 'ERR_START_FAILED' });
  isClean(t, error!.message, 'red\\x07\\u202edlrow\\rhi');
  t.true(error!.stderr.startsWith(hostile), JSON.stringify(error!.stderr));
});

test('last words are shown without their colours', async (t) => {
  const { at } = workspace(t);
  const script = String.raw`printf '\033[31mno configuration\033[0m\n' >&2; exit 3`;
  const call = spawnDaemon('sh', ['-c', script], { log: at('log'), aliveFor: 5000 });
  const error = await t.throwsAsync(call, { code: 'ERR_START_FAILED' });
  t.true(error!.message.includes('its last words were "no configuration" (see '), error!.message);
});

test('a path in a sentence is clean and stays on its line; the field has the path', async (t) => {
  const { at } = workspace(t);
  const directory = at(`a${hostile}\nb`);
  const pidFile = `${directory}/a.pid`;
  const missing = await t.throwsAsync(spawnDaemon('sleep', ['1000'], { pidFile }));
  t.notRegex(missing!.message, /\p{Cc}/u);
  isClean(t, missing!.message, 'a\\nb'.slice(1));
  mkdirSync(directory);
  writeFileSync(pidFile, 'no pidfile');
  const other = await t.throwsAsync(() => daemonStatus({ pidFile }));
  if (!isDaemonError(other) || other.code !== 'ERR_NOT_A_PIDFILE') return t.fail(String(other));
  t.notRegex(other.message, /\p{Cc}/u);
  t.is(other.path, pidFile);
  const { stderr } = await daemonry(['status', '-p', pidFile]);
  isClean(t, stderr, 'is not a pidfile');
  const stopped = await daemonry(['stop', '-p', `${directory}/b.pid`]);
  t.is(stopped.code, 0);
  isClean(t, stopped.stdout, 'is not running');
  t.is(stopped.stdout.split('\n').length, 2);
});

test('status, list and logs: text is clean on a terminal, JSON and pipes are exact', async (t) => {
  const { node } = bench(t, programs);
  const name = named(t);
  t.is((await node(['up.mjs', JSON.stringify({ name })])).code, 0);
  await until('it says that it serves', async () => (await daemonStatus(name)).record?.status !== undefined);
  const { status: said } = (await daemonStatus(name)).record!;
  isClean(t, (await daemonry(['status', name])).stdout, 'dlrow');
  isClean(t, (await daemonry(['list'])).stdout, name);
  const json = (await daemonry(['status', '--json', name])).stdout;
  t.notRegex(json, commands);
  t.is((JSON.parse(json) as { record: { status: string } }).record.status, said!);
  t.is((await daemonry(['logs', name])).stdout, `${hostile}\n`);
});

testOnLinux('on a terminal, logs are clean, also where a character lies across two reads', async (t) => {
  const { node } = bench(t, programs);
  const name = named(t);
  t.is((await node(['up.mjs', JSON.stringify({ name })])).code, 0);
  const { logFile } = daemonPaths(name);
  appendFileSync(logFile, `${'x'.repeat(65_536 - Buffer.byteLength(`${hostile}\n`) - 1)}ü${hostile}\n`);
  const command = `stty -opost; '${process.execPath}' '${main}' logs ${name}`;
  const { stdout } = await run('script', ['-qec', command, '/dev/null']);
  isClean(t, stdout, 'xüred\\x07\\u202edlrow\\rhi\n');
});

test('a unit is refused where a word has a control character, and a line of its own where it must not', async (t) => {
  const refused = async (...args: readonly string[]) => {
    const { code, stdout, stderr } = await daemonry(['unit', 'api', ...args]);
    t.is(code, 2, stdout);
    t.is(stdout, '');
    isClean(t, stderr, 'control character');
  };
  for (const kind of ['systemd', 'sysv', 'launchd']) {
    await refused('--for', kind, '--', 'true', hostile);
    await refused('--for', kind, '-e', `A=${hostile}`, '--', 'true');
    await refused('--for', kind, '-C', '/srv\nExecStartPre=/bin/evil', '--', 'true');
    await refused('--for', kind, '-u', 'root\nroot', '--', 'true');
  }
  const lines = await daemonry(['unit', 'api', '--for', 'supervisord', '--', 'true', 'a\nuser=root']);
  t.is(lines.code, 2, lines.stdout);
});
