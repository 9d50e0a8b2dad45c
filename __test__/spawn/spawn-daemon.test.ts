/** Any program as a daemon, while the caller lives on. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { relative } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import {
  daemonStatus,
  isDaemonError,
  spawnDaemon,
  stopDaemon,
  type DaemonError,
  type SpawnDaemonOptions,
  type StartError,
} from '../../dist/index.js';
import { bench } from '../helpers/bench.js';
import { read } from '../helpers/files.js';
import { named } from '../helpers/named.js';
import { noLinux, testOnLinux, testUnless } from '../helpers/privileges.js';
import { processes, stat } from '../helpers/processes.js';
import { until } from '../helpers/until.js';
import { workspace, type Workspace } from '../helpers/workspace.js';

const launches = Number(process.env['DAEMONRY_TEST_LAUNCHES'] ?? 200);

/** Starts a program that is stopped after the test. */
async function spawned(t: ExecutionContext, command: string, args: readonly string[], options: SpawnDaemonOptions) {
  const daemon = await spawnDaemon(command, args, options);
  t.teardown(() => stopDaemon({ pidFile: daemon.pidFile! }, { timeout: 1000 }));
  return daemon;
}

/** The typed error that a start ends with. */
async function refusal<Code extends DaemonError['code']>(
  t: ExecutionContext,
  code: Code,
  start: () => Promise<unknown>,
): Promise<ErrorOf<Code>> {
  const error = await t.throwsAsync(start);
  t.true(isDaemonError(error), String(error));
  t.is((error as DaemonError).code, code, error?.message);
  return error as never;
}

type ErrorOf<Code> = Code extends StartError['code'] ? StartError : DaemonError;

/** Executable, and writes what it sees into `said`. */
function script({ at }: Workspace, name: string, lines: string): string {
  writeFileSync(at(name), lines);
  chmodSync(at(name), 0o755);
  return at(name);
}

testUnless(noLinux)(
  'a program on PATH becomes a daemon in /, away from its caller, and the caller has no child',
  async (t) => {
    const { at } = workspace(t);
    const pidFile = at('a.pid');
    const { pid, outcome, pidFile: told } = await spawned(t, 'sleep', ['100'], { pidFile, env: { PLACE: at() } });
    t.is(outcome, 'started');
    t.is(told, pidFile);
    t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
    const { ppid, session, pgrp } = stat(pid)!;
    t.not(ppid, process.pid);
    t.not(session, pid);
    t.is(session, pgrp);
    t.is(readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8'), '');
  },
);

test('the PATH of the daemon counts, a path in the command is the caller’s, and a shell runs what names no interpreter', async (t) => {
  const folder = workspace(t);
  const { at, path } = folder;
  const said = at('said');
  script(folder, 'tool', 'echo "$0 $PWD $*" >>"$SAID"; exec sleep 100\n');
  const env = { SAID: said, PLACE: path };
  await spawned(t, 'tool', ['a b'], { pidFile: at('a.pid'), env: { ...env, PATH: `${at('none')}:${path}:/bin` } });
  await until('it has spoken', () => read(said) === `${at('tool')} ${process.cwd()} a b\n`);
  await spawned(t, relative(process.cwd(), at('tool')), [], { pidFile: at('b.pid'), cwd: path, env });
  await until('it has spoken again', () =>
    /^\/.*\/tool \S+ $/.exec(read(said).split('\n')[1] ?? '')?.[0]?.endsWith(` ${path} `),
  );
  t.pass();
});

test('a program that is missing or not executable is told with the errno of its exec', async (t) => {
  const { at, path } = workspace(t);
  writeFileSync(at('plain'), '');
  for (const [command, code] of [
    ['no-such-program', 'ENOENT'],
    [at('missing'), 'ENOENT'],
    ['plain', 'EACCES'],
    [at('plain'), 'EACCES'],
  ] as const) {
    const error = await refusal(t, code, () => spawnDaemon(command, [], { pidFile: at('a.pid'), env: { PATH: path } }));
    t.like(error, { step: 'exec', syscall: 'execve', path: command });
    t.regex(error.message, /did not start: cannot execute /);
  }
  t.deepEqual(readdirSync(path), ['plain']);
});

for (const way of ['automatic', 'copy']) {
  test(`a program that exits at once has started, every time: forking ${way}`, async (t) => {
    const { launch } = bench(t);
    const { stdout } = await launch(
      `
      const starts = Array.from({ length: 100 }, () => daemonry.spawnDaemon('/bin/true'));
      for (const { status, reason } of await Promise.allSettled(starts)) console.log(reason?.message ?? status);
      `,
      { env: { ...process.env, DAEMONRY_FORK: way } },
    );
    t.is(stdout, 'fulfilled\n'.repeat(100));
  });
}

test('a working directory that cannot be entered is told', async (t) => {
  const { at } = workspace(t);
  const error = await refusal(t, 'ENOENT', () => spawnDaemon('sleep', ['100'], { cwd: at('missing') }));
  t.like(error, { step: 'chdir', path: at('missing') });
});

test('with a log, output goes there from the first byte, and a failed start has its end', async (t) => {
  const { at } = workspace(t);
  const log = at('log');
  const failing = () =>
    spawnDaemon('sh', ['-c', 'echo said >&2; exit 3'], { pidFile: at('a.pid'), log, aliveFor: 5000 });
  const error = await refusal(t, 'ERR_START_FAILED', failing);
  t.is(error.stderr, 'said\n');
  t.regex(error.message, /^sh did not start: the daemon exited before it was up: its last words were "said" \(see /);
  t.is(statSync(log).mode & 0o777, 0o640);
  t.false(existsSync(at('a.pid')));
});

test.serial('an AbortSignal undoes a start that is under way, and nothing of it is left', async (t) => {
  const { at, path } = workspace(t);
  const pidFile = at('a.pid');
  const controller = new AbortController();
  const reason = new Error('changed my mind');
  const options = { pidFile, waitFor: 'ready', signal: controller.signal, env: { PLACE: path } } as const;
  const starting = spawnDaemon('sleep', ['100'], options);
  await until(
    'it starts',
    async () => (await daemonStatus({ pidFile })).state === 'starting' && 'pid' in (await daemonStatus({ pidFile })),
  );
  controller.abort(reason);
  const error = await refusal(t, 'ERR_START_INTERRUPTED', () => starting);
  t.is(error.cause, reason);
  t.is(error.message, 'sleep did not start: the start was aborted and rolled back');
  t.deepEqual(readdirSync(path), []);
  const again = await refusal(t, 'ERR_START_INTERRUPTED', () => spawnDaemon('sleep', ['100'], options));
  t.is(again.cause, reason);
});

test('an abort after the start does nothing', async (t) => {
  const { at, path } = workspace(t);
  const controller = new AbortController();
  const options = { pidFile: at('a.pid'), signal: controller.signal, env: { PLACE: path } };
  const { pid } = await spawned(t, 'sleep', ['100'], options);
  controller.abort();
  t.like(await daemonStatus({ pidFile: at('a.pid') }), { state: 'running', pid });
});

test('a program that calls daemonize() takes over the start: it runs once, and waitFor works across it', async (t) => {
  const { write, at, notes, pidFile, path } = bench(t);
  const program = write(`
    note('top level');
    daemonize({ umask: 0o077, cwd: at(''), log: at('other.log') }, async (daemon) => {
      await sleep(100);
      note('umask ' + process.umask().toString(8) + ', in ' + process.cwd());
    });
    forever();
  `);
  const log = at('given.log');
  const { pid } = await spawned(t, process.execPath, [program], {
    pidFile,
    log,
    waitFor: 'ready',
    env: { PLACE: path },
  });
  t.deepEqual(notes(), ['top level', `umask 22, in ${process.cwd()}`]);
  t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
  t.false(existsSync(at('other.log')));
});

test('a rejecting main of such a program is the reason of the failed start', async (t) => {
  const { write, pidFile } = bench(t);
  const program = write(`daemonize({}, async () => { await sleep(50); throw new TypeError('no configuration'); });`);
  const error = await refusal(t, 'ERR_START_FAILED', () =>
    spawnDaemon(process.execPath, [program], { pidFile, waitFor: 'ready' }),
  );
  t.regex(error.message, /before it was up: TypeError: no configuration$|exited with code 1 .*no configuration/);
  t.regex(error.stderr, /TypeError: no configuration/);
});

test('two spellings of one pidfile are one pidfile', async (t) => {
  const { at, write } = bench(t);
  mkdirSync(at('run'));
  symlinkSync('run', at('link'));
  const program = write(`daemonize({ pidFile: at('link/a.pid') }, forever);`);
  const { pid, pidFile } = await spawnDaemon(process.execPath, [program], {
    pidFile: at('run/a.pid'),
    waitFor: 'ready',
  });
  t.like(await daemonStatus({ pidFile: at('link/a.pid') }), { state: 'running', pid });
  t.is((await stopDaemon({ pidFile: pidFile! })).outcome, 'stopped');
});

test('a program that calls itself otherwise than it was started is refused, for it would have two pidfiles', async (t) => {
  const { write, at, pidFile } = bench(t);
  const program = write(`daemonize({ pidFile: at('own.pid') }); forever();`);
  const error = await refusal(t, 'ERR_START_FAILED', () =>
    spawnDaemon(process.execPath, [program], { pidFile, waitFor: 'start' }),
  );
  t.true(error.message.includes(`(pidfile ${at('own.pid')}), but was started with the pidfile ${pidFile}`));
  t.false(existsSync(pidFile));
  t.false(existsSync(at('own.pid')));
});

test('started without a pidfile, such a program locks its own', async (t) => {
  const { write, pidFile, path } = bench(t);
  const program = write(`daemonize({ pidFile: at('daemon.pid') }); forever();`);
  t.teardown(() => stopDaemon({ pidFile }));
  const options = { waitFor: 'start', env: { PLACE: path } } as const;
  const { pid } = await spawnDaemon(process.execPath, [program], options);
  t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
  const error = await refusal(t, 'ERR_START_FAILED', () => spawnDaemon(process.execPath, [program], options));
  t.true(error.message.includes(`already running with pid ${pid}`), error.message);
  t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
});

test('a program that closes what it was handed runs, and is found and stopped all the same', async (t) => {
  const { at } = workspace(t);
  const pidFile = at('a.pid');
  const close = 'exec 3>&- 4>&- 5>&- 6>&-; exec sleep 100';
  const { pid } = await spawnDaemon('sh', ['-c', close], { pidFile, aliveFor: 300 });
  t.teardown(() => stopDaemon({ pidFile }));
  t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
  const second = await refusal(t, 'ERR_ALREADY_RUNNING', () => spawnDaemon('sleep', ['100'], { pidFile }));
  t.like(second, { pid });
  t.deepEqual(await stopDaemon({ pidFile }), { outcome: 'stopped', pid });
});

test('a wrapper that closes its descriptors, as sudo does, cannot say that it has started', async (t) => {
  const { at, path } = workspace(t);
  const error = await refusal(t, 'ERR_START_FAILED', () =>
    spawnDaemon('sh', ['-c', 'exec 3>&- 4>&-; exec sleep 100'], { pidFile: at('a.pid'), waitFor: 'start' }),
  );
  t.regex(error.message, /it closed the pipe .*\(sudo\).*: start the program itself$/);
  t.deepEqual(readdirSync(path), []);
});

test('a wrapper that leaves the work to a child, as npx does, is told so', async (t) => {
  const { write, pidFile } = bench(t);
  write(`daemonize({ pidFile: at('daemon.pid') }); forever();`, 'work.mjs');
  const wrapper = write(`
    import { spawn } from 'node:child_process';
    const child = spawn(process.execPath, [at('work.mjs')], { stdio: 'inherit' });
    child.on('exit', (code) => process.exit(code));
  `);
  const error = await refusal(t, 'ERR_START_FAILED', () =>
    spawnDaemon(process.execPath, [wrapper], { pidFile, waitFor: 'ready' }),
  );
  t.regex(error.message, /has left the work to another process, as npx does: start the program itself/);
  t.false(existsSync(pidFile));
});

testOnLinux(
  `${launches} launches, and aborted ones, leave no descriptor, no zombie and no memory in the caller`,
  async (t) => {
    const { path, call } = bench(t);
    const { returned } = await call(
      `
      const [count, place] = args;
      const children = () => fs.readFileSync('/proc/self/task/' + process.pid + '/children', 'utf8');
      const look = () => ({ descriptors: fs.readdirSync('/proc/self/fd').length, rss: process.memoryUsage.rss() });
      const options = { env: { PLACE: place } };
      const launch = () => spawnDaemon('sleep', ['0.2'], options);
      for (let i = 0; i < 50; i++) await launch();
      const abort = () => {
        const signal = AbortSignal.timeout(20);
        return spawnDaemon('sleep', ['100'], { ...options, waitFor: 'ready', signal }).catch(({ code }) => code);
      };
      const before = look();
      const aborted = await Promise.all([abort(), abort(), abort()]);
      const afterAborts = look();
      for (let i = 0; i < count; i += 4) await Promise.all([launch(), launch(), launch(), launch()]);
      return { aborted, before, afterAborts, after: look(), children: children() };
    `,
      {
        args: [String(launches), path],
        deadline: 300_000,
        // V8 lets its young generation grow with the work that is done, which hides whatever else grows.
        env: { ...process.env, NODE_OPTIONS: '--max-semi-space-size=1' },
      },
    );
    t.log(returned);
    t.is(returned.afterAborts.descriptors, returned.before.descriptors);
    t.is(returned.after.descriptors, returned.before.descriptors);
    t.deepEqual(returned.aborted, Array(3).fill('ERR_START_INTERRUPTED'));
    t.is(returned.children, '');
    t.true(returned.after.rss - returned.before.rss < 8 * 2 ** 20, 'resident memory stays flat');
    await until('the last of them have ended', () => !processes().some(({ mentions }) => mentions(`PLACE=${path}`)));
  },
);

test('a named program has its log and record in the conventional places', async (t) => {
  const name = named(t);
  const { pid } = await spawned(t, 'sh', ['-c', 'echo begins; exec sleep 100'], { name, version: '1.0' });
  const found = await daemonStatus(name);
  t.like(found, { state: 'running', pid });
  t.like(found.record, { program: 'sh', cwd: process.cwd(), method: 'spawnDaemon', version: '1.0' });
  t.deepEqual(found.record?.arguments, ['sh', '-c', 'echo begins; exec sleep 100']);
  await until('it has written to its log', () => read(found.record!.logFile!) === 'begins\n');
});

test('what cannot be meant is refused with a sentence, and nothing is started', async (t) => {
  const { at } = workspace(t);
  mkdirSync(at('folder'));
  for (const [start, message] of [
    [() => spawnDaemon(''), 'the command must be a program\'s name or path, not ""'],
    [() => spawnDaemon(7 as never), "the command must be a program's name or path, not 7"],
    [() => spawnDaemon('a', 'b' as never), 'the arguments must be an array of strings without NUL, not "b"'],
    [() => spawnDaemon('a', ['b', 3 as never]), 'the arguments must be an array of strings without NUL, not 3'],
    [
      () => spawnDaemon('a', [undefined as never]),
      'the arguments must be an array of strings without NUL, not undefined',
    ],
    [
      () => spawnDaemon('a', [], { waitFor: 'up' as never }),
      `option "waitFor" must be 'exec', 'start' or 'ready', not "up"`,
    ],
    [() => spawnDaemon('a', [], { onStarted: () => {} } as never), 'unknown option "onStarted"'],
    [() => spawnDaemon('a', [], { idleTimeout: 1 } as never), 'unknown option "idleTimeout"'],
    [() => spawnDaemon('a', [], { signal: 1 as never }), 'option "signal" must be an AbortSignal, not 1'],
    [
      () => spawnDaemon('a', [], { signal: Object.create(AbortSignal.prototype) as AbortSignal }),
      'option "signal" must be an AbortSignal, not an object',
    ],
    [
      () => spawnDaemon('a', [], { ifRunning: 'reuse' }),
      `option "ifRunning" can be 'reuse' only with "name" or "pidFile"`,
    ],
  ] as const) {
    const error = await refusal(t, 'ERR_INVALID_OPTION', start);
    t.is(error.message, message);
  }
});
