/** A start that does not come off leaves nothing; a launcher that is interrupted dies of its signal. */
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import test from 'ava';
import { daemonStatus } from '../../dist/index.js';
import { bench, type Bench } from '../helpers/bench.js';
import { nobody, noOtherUser, testOnLinux, testUnless } from '../helpers/privileges.js';
import { hasEnded } from '../helpers/processes.js';
import { start } from '../helpers/run.js';
import { until } from '../helpers/until.js';

/** Its main notes that it runs, and settles only when the file `go` is there. */
const waiting = (inMain = '') => `
  import { existsSync, writeFileSync } from 'node:fs';
  import { setTimeout as sleep } from 'node:timers/promises';
  import { daemonize } from 'daemonry';
  import { tell } from './tell.cjs';
  const here = import.meta.dirname;
  daemonize({ pidFile: 'a.pid' }, async () => {
    ${inMain}
    tell();
    while (!existsSync(here + '/go')) await sleep(10);
  });
`;

/** Starts the launcher, and returns when its daemon has got to main. */
async function startWaiting({ path, told }: Bench, wrapper: readonly string[] = []) {
  const [command, ...args] = [...wrapper, process.execPath, 'app.mjs'];
  const launcher = start(command!, args, { cwd: path });
  const { pid } = await until('main runs', told);
  return { ...launcher, pid };
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  test(`a launcher that waits and gets ${signal} undoes the start and dies of that signal`, async (t) => {
    const app = bench(t, { 'app.mjs': waiting() });
    const { child, done, pid } = await startWaiting(app);
    t.is((await daemonStatus({ pidFile: app.at('a.pid') })).state, 'starting');
    child.kill(signal);
    const outcome = await done;
    t.is(outcome.signal, signal);
    t.is(outcome.stderr, `app.mjs did not start: the start was interrupted by ${signal} and rolled back\n`);
    t.true(hasEnded(pid));
    t.false(existsSync(app.at('a.pid')));
  });
}

test('a launcher that handles the signal itself gets a typed error, and lives on', async (t) => {
  const app = bench(t, {
    'app.mjs': `
      import { daemonize } from 'daemonry';
      import { tell } from './tell.cjs';
      process.on('SIGINT', () => console.log('its own listener'));
      try {
        daemonize({ pidFile: 'a.pid', waitFor: 'ready' });
        tell();
      } catch ({ code, signal }) {
        console.log(code, signal);
      }
    `,
  });
  const { child, done, pid } = await startWaiting(app);
  child.kill('SIGINT');
  const { code, stdout } = await done;
  t.is(stdout, 'ERR_START_INTERRUPTED SIGINT\n');
  t.is(code, 0);
  t.true(hasEnded(pid));
  t.false(existsSync(app.at('a.pid')));
});

test('a second Ctrl-C ends at once a daemon that does not heed the first', async (t) => {
  // Without it the daemon would be killed after two seconds; that one round of several is quicker shows that it counts.
  const rounds: number[] = [];
  while (rounds.length < 5 && !rounds.some((milliseconds) => milliseconds < 1000)) {
    const app = bench(t, {
      'app.mjs': waiting("process.on('SIGTERM', () => writeFileSync(here + '/heard', ''));"),
    });
    const { child, done, pid } = await startWaiting(app);
    child.kill('SIGINT');
    await until('the daemon has been asked to end', () => existsSync(app.at('heard')));
    const asked = performance.now();
    t.false(hasEnded(pid));
    child.kill('SIGINT');
    const { signal } = await done;
    rounds.push(performance.now() - asked);
    t.is(signal, 'SIGINT');
    t.true(hasEnded(pid));
    t.false(existsSync(app.at('a.pid')));
  }
  t.true(rounds.at(-1)! < 1000, `${rounds.join(', ')} ms`);
});

test('a daemon whose launcher was killed goes on, and completes its pidfile itself', async (t) => {
  const app = bench(t, { 'app.mjs': waiting() });
  const { child, done, pid } = await startWaiting(app);
  child.kill('SIGKILL');
  await done;
  t.is((await daemonStatus({ pidFile: app.at('a.pid') })).state, 'starting');
  writeFileSync(app.at('go'), '');
  await until('it is up', async () => (await daemonStatus({ pidFile: app.at('a.pid') })).state === 'running');
  t.like(await daemonStatus({ pidFile: app.at('a.pid') }), { pid });
  t.is(readFileSync(app.at('a.pid'), 'utf8'), `${pid}\n`);
});

for (const [how, main] of [
  ['throws', "throw new Error('after the helper')"],
  ['is interrupted', 'await new Promise(() => {})'],
] as const) {
  test(`a helper of a daemon that ${how} during its start is ended with it`, async (t) => {
    const app = bench(t, {
      'app.mjs': `
        import { spawn } from 'node:child_process';
        import { daemonize } from 'daemonry';
        import { tell } from './tell.cjs';
        daemonize({ pidFile: 'a.pid' }, async () => {
          const helper = spawn('sleep', ['1000'], { stdio: 'ignore' });
          tell({ helper: helper.pid });
          ${main};
        });
      `,
    });
    const launcher = start(process.execPath, ['app.mjs'], { cwd: app.path });
    const told = await until('the helper runs', app.told);
    if (how === 'is interrupted') launcher.child.kill('SIGINT');
    const { code, signal } = await launcher.done;
    t.deepEqual([code, signal], how === 'throws' ? [1, null] : [null, 'SIGINT']);
    t.true(hasEnded(told.pid));
    // SIGKILL is on its way to it, but nobody waits for a grandchild.
    await until('the helper has ended', () => hasEnded(told['helper'] as number));
    t.false(existsSync(app.at('a.pid')));
  });
}

testOnLinux('Ctrl-C in the terminal of a launcher that waits undoes the start', async (t) => {
  const app = bench(t, { 'app.mjs': waiting() });
  // The pseudo-terminal of script(1) turns the byte into SIGINT for its foreground processes.
  const launcher = start('script', ['-qec', `'${process.execPath}' app.mjs`, '/dev/null'], {
    cwd: app.path,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const { pid } = await until('main runs', app.told);
  launcher.child.stdin!.write('\u0003');
  const { code, stdout } = await launcher.done;
  t.is(code, 130);
  t.true(stdout.includes('app.mjs did not start: the start was interrupted by SIGINT'), stdout);
  t.true(hasEnded(pid));
  t.false(existsSync(app.at('a.pid')));
});

for (const form of ['with main', 'without'] as const) {
  test(`the launcher of a failed start leaves without its exit handlers: ${form}`, async (t) => {
    const { daemon, launch, notes } = bench(t);
    await daemon('daemonize(options); forever();');
    const main = form === 'without' ? '' : ', () => {}';
    const { code, stderr } = await launch(`process.on('exit', () => note('exit')); daemonize(options${main});`);
    t.is(code, 1);
    t.regex(stderr, /^program\.mjs is already running with pid \d+ .*\n$/);
    t.deepEqual(notes(), []);
  });
}

testUnless(noOtherUser)('a daemon that may start no thread any more fails before it is called up', async (t) => {
  const { path, at, call } = bench(t);
  chmodSync(path, 0o777);
  const body = `
    const { spawn } = await import('node:child_process');
    daemonize({ pidFile: args[0], waitFor: 'ready', onStarted: started });
    const limit = spawn('prlimit', ['--nproc=1', '--pid', String(process.pid)]);
    limit.on('exit', () => currentDaemon().ready());
    forever();
  `;
  const { error } = await call(body, { args: [at('a.pid')], ...nobody, cwd: '/' });
  t.is(error?.code, 'ERR_START_FAILED');
  t.regex(error!.message, /cannot take over the start: .*EAGAIN/);
  t.false(existsSync(at('a.pid')));
});
