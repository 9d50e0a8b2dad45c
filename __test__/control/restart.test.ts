/** Before a daemon is stopped for another start, what is known to fail is found; after that, the failure says that it is down. */
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { daemonStatus, spawnDaemon, stopDaemon, type DaemonError, type SpawnDaemonOptions } from '../../dist/index.js';
import { bench, type Bench } from '../helpers/bench.js';
import { daemonry } from '../helpers/command.js';
import { read } from '../helpers/files.js';
import { named } from '../helpers/named.js';
import { noOtherUser, testOnLinux, testUnless } from '../helpers/privileges.js';
import type { RunOptions } from '../helpers/run.js';
import { pidOf } from '../helpers/status.js';
import { until } from '../helpers/until.js';

const service = 'setInterval(() => {}, 60_000);\n';

/** A daemon that the command has started, with what the test can take away from it. */
async function started(t: ExecutionContext, args: readonly string[], tools: Bench, options = {}) {
  const name = named(t);
  const run: RunOptions = { cwd: tools.path, ...options };
  const { code, stderr } = await daemonry(['start', '-n', name, ...args], run);
  t.is(code, 0, stderr);
  return { name, pid: await pidOf(name), run };
}

interface Loss {
  /** What is started, in the folder of the test. */
  readonly command: (tools: Bench) => readonly string[];
  readonly lose: (tools: Bench) => void;
  /** What the sentence says. */
  readonly says: RegExp;
  readonly code: number;
  readonly env?: NodeJS.ProcessEnv;
}

const losses: Record<string, Loss> = {
  'a script that was removed': {
    command: () => ['server.mjs'],
    lose: ({ remove }) => remove('server.mjs'),
    says: /cannot read the script .*\/server\.mjs: No such file or directory \(ENOENT\)/,
    code: 5,
  },
  'the script of an interpreter that was removed': {
    command: () => [process.execPath, '--no-warnings', 'server.mjs'],
    lose: ({ remove }) => remove('server.mjs'),
    says: /cannot read the script .*\/server\.mjs: No such file or directory \(ENOENT\)/,
    code: 5,
  },
  'a program that was uninstalled': {
    command: ({ at }) => [at('bin', 'own-sleep'), '100'],
    lose: ({ at }) => rmSync(at('bin', 'own-sleep')),
    says: /cannot execute .*\/bin\/own-sleep: No such file or directory \(ENOENT\)/,
    code: 5,
  },
  'a program that may no longer be executed': {
    command: ({ at }) => [at('bin', 'own-sleep'), '100'],
    lose: ({ at }) => chmodSync(at('bin', 'own-sleep'), 0o644),
    says: /cannot execute .*\/bin\/own-sleep: Permission denied \(EACCES\)/,
    code: 4,
  },
  'a PATH that lacks the program': {
    command: () => ['own-sleep', '100'],
    lose: () => {},
    says: /cannot execute own-sleep: No such file or directory \(ENOENT\)/,
    code: 5,
    env: { ...process.env, PATH: '/usr/bin:/bin' },
  },
  'an interpreter that was uninstalled': {
    command: () => ['./run'],
    lose: ({ at }) => renameSync(at('bin', 'own-sh'), at('bin', 'gone')),
    says: /cannot execute .*\/run: its interpreter .*\/bin\/own-sh does not exist \(ENOENT\)/,
    code: 5,
  },
  'an interpreter that env does not find': {
    command: () => ['./run-env'],
    lose: ({ at }) => renameSync(at('bin', 'own-sh'), at('bin', 'gone')),
    says: /cannot execute .*\/own-sh: No such file or directory \(ENOENT\)/,
    code: 5,
  },
  'a script that has got the line endings of Windows': {
    command: () => ['./run-env'],
    lose: ({ at }) => writeFileSync(at('run-env'), '#!/usr/bin/env own-sh\r\nexec sleep 100\r\n'),
    says: /cannot execute .*\/run-env: its first line ends with a carriage return, .* own-sh\\r: .* \(ENOEXEC\)/,
    code: 1,
  },
  'a working directory that was removed': {
    command: () => ['-C', 'work', 'sleep', '100'],
    lose: ({ at }) => renameSync(at('work'), at('moved')),
    says: /cannot change the working directory to .*\/work: No such file or directory \(ENOENT\)/,
    code: 1,
  },
  'a directory of the log that was removed': {
    command: () => ['-l', 'logs/own.log', 'sleep', '100'],
    lose: ({ at }) => rmSync(at('logs'), { recursive: true }),
    says: /cannot open the log .*\/logs\/own\.log: No such file or directory \(ENOENT\)/,
    code: 1,
  },
  'another file in the place of a socket': {
    command: () => ['--listen', 'main=./sockets/own', 'sleep', '100'],
    lose: ({ at }) => {
      rmSync(at('sockets', 'own'));
      writeFileSync(at('sockets', 'own'), '');
    },
    says: /cannot listen on .*\/sockets\/own: another process listens there, or it is not a socket \(EADDRINUSE\)/,
    code: 1,
  },
  'a directory of a socket that was removed': {
    command: () => ['--listen', 'main=./sockets/own', 'sleep', '100'],
    lose: ({ at }) => rmSync(at('sockets'), { recursive: true }),
    says: /cannot listen on .*\/sockets\/own: No such file or directory \(ENOENT\)/,
    code: 1,
  },
};

function furnish({ at }: Bench): void {
  for (const directory of ['bin', 'work', 'logs', 'sockets']) mkdirSync(at(directory));
  copyFileSync('/bin/sleep', at('bin', 'own-sleep'));
  copyFileSync('/bin/sh', at('bin', 'own-sh'));
  writeFileSync(at('server.mjs'), service);
  writeFileSync(at('run'), `#!${at('bin', 'own-sh')}\nexec sleep 100\n`, { mode: 0o755 });
  writeFileSync(at('run-env'), '#!/usr/bin/env own-sh\nexec sleep 100\n', { mode: 0o755 });
}

for (const [what, { command, lose, says, code, env }] of Object.entries(losses)) {
  test(`${what} leaves the daemon running, whoever would replace it`, async (t) => {
    const tools = bench(t);
    furnish(tools);
    const path = `${tools.at('bin')}:${process.env['PATH']}`;
    const { name, pid, run } = await started(t, command(tools), tools, { env: { ...process.env, PATH: path } });
    lose(tools);
    const later = { ...run, ...(env === undefined ? {} : { env }) };
    for (const args of [
      ['restart', name],
      ['start', '--replace', '-n', name, ...command(tools)],
    ]) {
      const told = await daemonry(args, later);
      t.is(told.code, code, told.stderr);
      t.is(told.stdout, '');
      t.regex(told.stderr, says);
      t.is(told.stderr.trimEnd().split('\n').length, 1, told.stderr);
      t.notRegex(told.stderr, /down now/);
      t.is(await pidOf(name), pid);
    }
    t.like(await daemonStatus(name), { state: 'running' });
  });
}

test('restart says that the daemon runs on, or does not, when it does not even try', async (t) => {
  const tools = bench(t);
  furnish(tools);
  const { name, run } = await started(t, ['server.mjs'], tools);
  tools.remove('server.mjs');
  const sentence = `: cannot read the script ${tools.at('server.mjs')}: No such file or directory (ENOENT)\n`;
  t.is((await daemonry(['restart', name], run)).stderr, `daemonry: ${name} was not restarted, and runs on${sentence}`);
  await stopDaemon(name);
  t.is((await daemonry(['restart', name], run)).stderr, `daemonry: ${name} was not restarted${sentence}`);
});

test('a rehearsal leaves nothing behind and empties no log', async (t) => {
  const tools = bench(t);
  furnish(tools);
  const { at, path: cwd, pidFile } = tools;
  t.teardown(() => stopDaemon({ pidFile }));
  const options: SpawnDaemonOptions = { cwd, pidFile, ifRunning: 'replace', log: { path: at('log'), append: false } };
  const { pid } = await spawnDaemon('sh', ['-c', 'echo spoken; exec sleep 100'], { ...options, aliveFor: 300 });
  const before = tools.entries();
  const failed = { ...options, stderr: at('other.log') };
  await t.throwsAsync(spawnDaemon('./no-such', [], failed), { code: 'ENOENT' });
  t.deepEqual(tools.entries(), before);
  t.is(readFileSync(at('log'), 'utf8'), 'spoken\n');
  t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
});

for (const [what, options, code] of [
  ['a limit that cannot be set', { limits: { nofile: 2 ** 40 } }, 'EPERM'],
  [
    'a port of an address that this machine does not have',
    { listen: { a: { port: 80, host: '192.0.2.1' } } },
    'EADDRNOTAVAIL',
  ],
  ['a host that cannot be resolved', { listen: { a: { port: 80, host: 'no-such-host.invalid' } } }, 'EADDRNOTAVAIL'],
  ['a user that does not exist', { user: 'no-such-user' }, 'ERR_UNKNOWN_USER'],
] as const) {
  test(`replacing by ${what} leaves the daemon running`, async (t) => {
    const { path: cwd, pidFile } = bench(t);
    t.teardown(() => stopDaemon({ pidFile }));
    const { pid } = await spawnDaemon('sleep', ['100'], { cwd, pidFile });
    const error = await t.throwsAsync<DaemonError>(
      spawnDaemon('sleep', ['100'], { cwd, pidFile, ifRunning: 'replace', ...options }),
    );
    t.is(error.code, code, error.message);
    t.is(error.isDown, undefined);
    t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
  });
}

testUnless(noOtherUser)('a script that its user can no longer read leaves the daemon running', async (t) => {
  const { at, pidFile, write } = bench(t);
  const script = write(`${service}console.log('up');`, 'server.mjs');
  t.teardown(() => stopDaemon({ pidFile }));
  const options: SpawnDaemonOptions = { cwd: '/', pidFile, user: 'nobody', ifRunning: 'replace', log: at('log') };
  const { pid } = await spawnDaemon(process.execPath, [script], options);
  await until('it has read its script', () => read(at('log')) === 'up\n');
  chmodSync(at('server.mjs'), 0o600);
  const error = await t.throwsAsync<DaemonError>(spawnDaemon(process.execPath, [script], options));
  t.like(error, { code: 'EACCES', step: 'read-script', path: script });
  t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
});

test('a start that fails after the stop says that the daemon is down now', async (t) => {
  const tools = bench(t);
  furnish(tools);
  const { name, run } = await started(t, ['server.mjs'], tools);
  writeFileSync(tools.at('server.mjs'), 'throw new Error("it is broken");\n');
  const reason = `${name} did not start: the daemon exited with code 1 before it was up: Error: it is broken \\(see .*\\)`;
  const isDown = `; the daemon that ran was stopped for this start, so ${name} is down now`;
  const told = await daemonry(['restart', name], run);
  t.is(told.code, 1);
  t.regex(told.stderr, new RegExp(`^daemonry: ${reason}${isDown}\n$`));
  t.is(await pidOf(name), undefined);
  // It was down before this one, which says nothing about that.
  t.regex((await daemonry(['restart', name], run)).stderr, new RegExp(`^daemonry: ${reason}\n$`));
});

test('an error of the API says so, too, in its message and with isDown', async (t) => {
  const { path: cwd, pidFile, write } = bench(t);
  t.teardown(() => stopDaemon({ pidFile }));
  await spawnDaemon('sleep', ['100'], { cwd, pidFile });
  const script = write('process.exit(3);', 'broken.mjs');
  const options: SpawnDaemonOptions = { cwd, pidFile, ifRunning: 'replace', waitFor: 'ready' };
  const error = await t.throwsAsync<DaemonError>(spawnDaemon(process.execPath, [script], options));
  t.like(error, { code: 'ERR_START_FAILED', isDown: true });
  t.regex(error.message, /; the daemon that ran was stopped for this start, so node is down now$/);
  const again = await t.throwsAsync<DaemonError>(spawnDaemon(process.execPath, [script], options));
  t.is(again.isDown, undefined);
});

test('a restart that ends the main process but not the rest of its session says that the daemon is down now', async (t) => {
  const tools = bench(t);
  const stubborn = `sh -c 'trap "" TERM; : >ready; while :; do sleep 0.05; done' & while :; do sleep 0.05; done`;
  const { name, run } = await started(t, ['sh', '-c', stubborn], tools);
  await until('the helper ignores SIGTERM', () => existsSync(tools.at('ready')));
  const told = await daemonry(['restart', '--json', '--no-force', '--timeout', '300', name], run);
  t.is(told.code, 1);
  const failure = JSON.parse(told.stdout) as { code: string; isDown?: true };
  t.like(failure, { code: 'ERR_STOP_TIMEOUT', isDown: true });
  const isDown = `; the daemon that ran was stopped for this start, so ${name} is down now`;
  t.regex(
    told.stderr,
    new RegExp(`^daemonry: the daemon did not stop within \\d+ ms: process \\d+ is still running${isDown}`),
  );
  t.is(await pidOf(name), undefined);
});

/** Takes its time to stop: until the file `go` is there, or its time is over. */
const slow = [
  '-c',
  `trap ': >stopping; while ! [ -e go ]; do sleep 0.05; done; exit' TERM; while :; do sleep 0.05; done`,
];

test('a replacement that is aborted while the daemon stops says that it is down', async (t) => {
  const { at, path: cwd, pidFile } = bench(t);
  t.teardown(() => stopDaemon({ pidFile }));
  await spawnDaemon('sh', slow, { cwd, pidFile });
  const aborter = new AbortController();
  const next = spawnDaemon('sleep', ['100'], { cwd, pidFile, ifRunning: 'replace', signal: aborter.signal });
  await until('it stops', () => existsSync(at('stopping')));
  aborter.abort();
  const error = await t.throwsAsync<DaemonError>(next);
  t.is(error.code, 'ERR_START_INTERRUPTED');
  t.true(error.isDown, error.message);
  writeFileSync(at('go'), '');
});

test('of two restarts at once, both succeed, whichever ends what the other has started', async (t) => {
  const tools = bench(t);
  const { name, run } = await started(t, ['sh', ...slow], tools);
  const restarts = [1, 2].map(() => daemonry(['restart', '--json', name], run));
  await until('it stops', () => existsSync(tools.at('stopping')));
  writeFileSync(tools.at('go'), '');
  const told = await Promise.all(restarts);
  for (const { code, stdout, stderr } of told) {
    t.is(code, 0, stderr);
    t.like(JSON.parse(stdout), { pid: (await pidOf(name))!, isDown: undefined });
  }
  t.is((await daemonStatus(name)).state, 'running');
});

test('daemonize with ifRunning: replace says so, too', async (t) => {
  const tools = bench(t);
  const program = (body: string) => `daemonize({ ...options, ifRunning: 'replace' }, () => { ${body} });`;
  await tools.daemon(program('forever()'));
  const { code, stderr } = await tools.launch(program('throw new Error("it is broken")'));
  t.is(code, 1);
  t.regex(
    stderr,
    /: Error: it is broken; the daemon that ran was stopped for this start, so program\.mjs is down now\n$/,
  );
});

test('a program that makes itself a daemon is checked before restart stops it, and its failure is told after that', async (t) => {
  const tools = bench(t);
  const name = named(t);
  const script = tools.write(`daemonize({ name: '${name}' }, forever);`, 'own.mjs');
  const { code, stderr } = await tools.launch(`await import('./own.mjs');`);
  t.is(code, 0, stderr);
  const pid = await pidOf(name);
  // The launcher above is what is on record.
  renameSync(tools.at('program.mjs'), tools.at('moved.mjs'));
  const refused = await daemonry(['restart', name]);
  t.is(refused.code, 5);
  t.is(
    refused.stderr,
    `daemonry: ${name} was not restarted, and runs on: cannot read the script ${tools.at('program.mjs')}: No such file or directory (ENOENT)\n`,
  );
  t.is(await pidOf(name), pid);
  renameSync(tools.at('moved.mjs'), tools.at('program.mjs'));
  rmSync(script);
  const failed = await daemonry(['restart', name]);
  t.is(failed.code, 1);
  const last = failed.stderr.trimEnd().split('\n').at(-1)!;
  const reason = 'the program exited with code 1 before it was up';
  const isDown = `the daemon that ran was stopped for this start, so ${name} is down now`;
  t.is(last, `daemonry: ${name} did not start: ${reason}; ${isDown}`);
});

testOnLinux('after a restart that failed, the variables that the daemon had are named', async (t) => {
  const tools = bench(t);
  tools.write(`if (!process.env.SECRET_URL) process.exit(7); ${service}`, 'server.mjs');
  const env = { ...process.env, SECRET_URL: 'hidden', OTHER_SETTING: '1' };
  const { name, run } = await started(t, ['server.mjs'], tools, { env });
  const { code, stderr } = await daemonry(['restart', name], { ...run, env: process.env });
  t.is(code, 1);
  t.regex(
    stderr,
    /; the daemon that ran was stopped .* is down now; it ran with (SECRET_URL, OTHER_SETTING|OTHER_SETTING, SECRET_URL), which the environment of this process does not have\n$/,
  );
  t.false(stderr.includes('hidden'));
});
