/** `restartDaemon`: what it resolves with, what it refuses, and what it reports when the daemon is down. */
import { existsSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import {
  daemonPaths,
  daemonStatus,
  restartDaemon,
  spawnDaemon,
  stopDaemon,
  type DaemonError,
  type NamedTarget,
} from '../../dist/index.js';
import { eventsOf, named } from '../helpers/named.js';
import { bench, type Bench } from '../helpers/bench.js';
import { run } from '../helpers/run.js';
import { pidOf } from '../helpers/status.js';
import { until } from '../helpers/until.js';

/** A program that makes itself a daemon of this name; `above` runs before that, in the launcher, too. */
async function own(t: ExecutionContext, tools: Bench, above = ''): Promise<{ name: string; pid: number }> {
  const name = named(t);
  const pid = await tools.daemon(`${above}
    daemonize({ name: '${name}', onStarted: options.onStarted }, () => {
      if (fs.existsSync(at('bad'))) throw new Error('no luck');
      forever();
    });`);
  return { name, pid };
}

for (const [what, start] of [
  ['a program of spawnDaemon', (t: ExecutionContext) => sleeper(named(t))],
  ['a program that makes itself a daemon', (t: ExecutionContext) => own(t, bench(t))],
] as const) {
  test(`${what} is restarted with its former pid in the result, or started without one`, async (t) => {
    const { name, pid } = await start(t);
    const { pidFile } = daemonPaths(name);
    const restarted = await restartDaemon(name);
    t.deepEqual(restarted, { outcome: 'restarted', pid: (await pidOf(name))!, formerPid: pid, pidFile });
    t.not(restarted.pid, pid);
    await stopDaemon(name);
    const started = await restartDaemon({ name });
    t.deepEqual(started, { outcome: 'started', pid: (await pidOf(name))!, pidFile });
  });
}

async function sleeper(name: string) {
  const { pid } = await spawnDaemon('sleep', ['1000'], { name });
  return { name, pid };
}

test('the options are those of the stop', async (t) => {
  const tools = bench(t);
  const name = named(t);
  const deaf = `trap '' TERM; trap 'echo INT >got; exit' INT; : >ready; while :; do sleep 0.05; done`;
  await spawnDaemon('sh', ['-c', deaf], { name, cwd: tools.path });
  const isReady = () => until('it ignores SIGTERM', () => existsSync(tools.at('ready')));
  await isReady();
  tools.remove('ready');
  t.is((await restartDaemon(name, { killSignal: 'SIGINT' })).outcome, 'restarted');
  t.true(existsSync(tools.at('got')));
  await isReady();
  const error = await t.throwsAsync<DaemonError>(restartDaemon(name, { timeout: 50, force: false }));
  t.like(error, { code: 'ERR_STOP_TIMEOUT', isDown: undefined });
  await t.throwsAsync(restartDaemon(name, { signal: 'SIGINT' } as never), { code: 'ERR_INVALID_OPTION' });
});

test('a daemon without a record, in the foreground or of a pidfile is refused', async (t) => {
  const { foreground, daemon, pidFile } = bench(t);
  const name = named(t);
  await t.throwsAsync(restartDaemon(name), {
    code: 'ERR_NOT_RESTARTABLE',
    message: `there is no record of how ${name} is started: no daemon of that name has been started`,
  });
  const { child, done } = await foreground(`daemonize({ name: '${name}' }, () => { note('up'); forever(); });`);
  await t.throwsAsync(restartDaemon(name), {
    code: 'ERR_NOT_RESTARTABLE',
    message: `${name} was started in the foreground: restart it by the supervisor or shell that started it`,
  });
  child.kill();
  await done;
  const pid = await daemon('daemonize(options); forever();');
  await t.throwsAsync(restartDaemon({ pidFile } as unknown as NamedTarget), {
    code: 'ERR_INVALID_OPTION',
    message: 'only a named daemon can be restarted: there is no record of how the daemon of a pidfile is started',
  });
  t.is(await pidOf({ pidFile }), pid);
});

test('a program that does not come up again is down, and its error and its journal say so', async (t) => {
  const tools = bench(t);
  const { name } = await own(t, tools);
  tools.write('', 'bad');
  const reason = 'the program exited with code 1 before it was up';
  const error = await t.throwsAsync<DaemonError>(restartDaemon(name));
  t.like(error, { code: 'ERR_START_FAILED', exitCode: 1, isDown: true });
  t.true(error.message.startsWith(`${name} did not start: ${reason}; the daemon that ran was stopped for this start`));
  t.like((await eventsOf(name)).at(-1), { event: 'failed' });
  t.is((await daemonStatus(name)).state, 'stopped');
  await t.throwsAsync(restartDaemon(name), { code: 'ERR_START_FAILED', message: `${name} did not start: ${reason}` });
});

for (const [what, program, fields, reason] of [
  ['exits with 0', '', { exitCode: 0 }, 'the program exited with code 0, but no daemon is running'],
  ['exits with 3', 'process.exit(3);', { exitCode: 3 }, 'the program exited with code 3 before it was up'],
  [
    'kills itself',
    `process.kill(process.pid, 'SIGKILL');`,
    { signal: 'SIGKILL' },
    'the program was ended by SIGKILL before it was up',
  ],
] as const) {
  test(`a program that ${what} instead of becoming a daemon has failed, for that reason`, async (t) => {
    const tools = bench(t);
    const { name } = await own(t, tools);
    tools.write(program);
    const error = await t.throwsAsync<DaemonError>(restartDaemon(name));
    t.like(error, { code: 'ERR_START_FAILED', isDown: true, ...fields });
    t.like((await eventsOf(name)).at(-1), { event: 'failed', reason });
    t.like(await daemonStatus(name), { state: 'stopped', failedStart: { reason } });
  });
}

test('what is known to fail leaves the daemon running', async (t) => {
  const tools = bench(t);
  const { name, pid } = await own(t, tools);
  tools.remove('program.mjs');
  const error = await t.throwsAsync<DaemonError>(restartDaemon(name));
  t.like(error, { code: 'ENOENT', step: 'read-script', isDown: undefined });
  t.true(error.message.startsWith(`${name} was not restarted, and runs on: `), error.message);
  t.is(await pidOf(name), pid);
});

test('a stop cancels a restart, whose event loop runs on', async (t) => {
  const tools = bench(t);
  const { name } = await own(t, tools, `note('boots'); if (fs.existsSync(at('hold'))) await exists('go');`);
  const boots = tools.notes().length;
  tools.write('', 'hold');
  const restart = t.throwsAsync<DaemonError>(restartDaemon(name));
  await until('the next launcher runs', () => tools.notes().length > boots);
  t.is((await stopDaemon(name)).outcome, 'not-running');
  tools.write('', 'go');
  const error = await restart;
  t.like(error, { code: 'ERR_START_CANCELLED', isDown: true });
  t.true(error!.message.startsWith(`${name} did not start: a stop was requested meanwhile, which cancelled the start`));
});

test('what the program prints goes to stderr', async (t) => {
  const tools = bench(t);
  const { name } = await own(t, tools, `console.log('above');`);
  const caller = tools.write(`console.log((await daemonry.restartDaemon('${name}')).outcome);`, 'caller.mjs');
  const { code, stdout, stderr } = await run(process.execPath, [caller]);
  t.is(code, 0, stderr);
  t.is(stdout, 'restarted\n');
  t.is(stderr, `above\nstarted ${await pidOf(name)}\n`);
});

test('a daemon cannot restart itself, nor a program the daemon that it is started for', async (t) => {
  const tools = bench(t);
  const name = named(t);
  const restarting = `await daemonry.restartDaemon('${name}').catch(({ code, message }) => note(code + ' ' + message));`;
  await tools.daemon(`
    if (fs.existsSync(at('again'))) ${restarting}
    daemonize({ name: '${name}', onStarted: options.onStarted }, async () => {
      forever();
      if (fs.existsSync(at('again'))) ${restarting}
      note('up');
    });`);
  tools.write('', 'again');
  const { pid } = await restartDaemon(name);
  t.is(await pidOf(name), pid);
  const itself = `ERR_NOT_RESTARTABLE ${name} cannot restart itself: restart it from another process`;
  const already = `ERR_NOT_RESTARTABLE ${name} is being restarted already: this process was started for that`;
  t.deepEqual(tools.notes(), ['up', already, itself, itself, 'up']);
});
