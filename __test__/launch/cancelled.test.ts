/** A stop cancels a restart that is under way, and of several restarts at once all get the same daemon. */
import { existsSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import anyTest, { type ExecutionContext } from 'ava';
import { daemonStatus, stopDaemon } from '../../dist/index.js';
import { bench, type Bench } from '../helpers/bench.js';
import { daemonry, startDaemonry } from '../helpers/command.js';
import { eventsOf, named } from '../helpers/named.js';
import { noLinux, testUnless } from '../helpers/privileges.js';
import { start } from '../helpers/run.js';
import { until } from '../helpers/until.js';

// Each boots Node.js several times.
const test = anyTest.serial;

/** Two ways to start the same program: the command starts it, or it makes itself a daemon. */
const ways = {
  'a program of the command': async (t: ExecutionContext, name: string, { path, at }: Bench) => {
    const args = ['-n', name, '-w', 'ready', '--stop-timeout', '60000', at('program.mjs')];
    const { code, stderr } = await daemonry(['start', ...args], { cwd: path });
    t.is(code, 0, stderr);
  },
  'a program that makes itself a daemon': async (t: ExecutionContext, _name: string, { at }: Bench) => {
    const { code, stderr } = await start(process.execPath, [at('program.mjs')]).done;
    t.is(code, 0, stderr);
  },
};

interface Failure {
  readonly code: string;
  readonly message: string;
  readonly isDown?: true;
}

/** The restart was cancelled and says so, and nothing runs. */
async function isCancelled(
  t: ExecutionContext,
  name: string,
  { code, stdout, stderr }: Awaited<ReturnType<typeof daemonry>>,
) {
  t.is(code, 1, stderr);
  const failure = JSON.parse(stdout) as Failure;
  t.is(failure.code, 'ERR_START_CANCELLED', stdout);
  t.true(failure.isDown);
  const sentence = `${name} did not start: a stop was requested meanwhile, which cancelled the start`;
  t.true(failure.message.startsWith(sentence), failure.message);
  t.true(stderr.includes(`daemonry: ${sentence}`), stderr);
  t.is((await daemonStatus(name)).state, 'stopped');
}

for (const [what, launch] of Object.entries(ways)) {
  test(`${what}: a stop while the former daemon stops cancels the restart`, async (t) => {
    const tools = bench(t);
    const name = named(t);
    tools.write(`daemonize({ name: '${name}', stopTimeout: 60_000 }, (daemon) => {
      forever();
      daemon.onStop(async () => { note('stops'); await exists('go'); });
    });`);
    await launch(t, name, tools);
    const restart = daemonry(['restart', '--json', name]);
    await tools.noted('stops');
    const stopping = daemonry(['stop', name]);
    await until('the stop has taken over', async () => (await eventsOf(name)).some(({ event }) => event === 'stop'));
    writeFileSync(tools.at('go'), '');
    t.is((await stopping).code, 0);
    await isCancelled(t, name, await restart);
    const found = await daemonStatus(name);
    t.is('ended' in found ? found.ended?.reason : undefined, 'stopped');
  });

  test(`${what}: a stop while the next daemon starts cancels the restart`, async (t) => {
    const tools = bench(t);
    const name = named(t);
    tools.write(`daemonize({ name: '${name}' }, async () => {
      forever();
      if (fs.existsSync(at('hold'))) { note('starts'); await never(); }
    });`);
    await launch(t, name, tools);
    writeFileSync(tools.at('hold'), '');
    const restart = daemonry(['restart', '--json', name]);
    await tools.noted('starts');
    t.is((await stopDaemon(name)).outcome, 'stopped');
    await isCancelled(t, name, await restart);
  });
}

test('a stop between the end of the former daemon and the start of the next cancels the restart', async (t) => {
  const tools = bench(t);
  const name = named(t);
  tools.write(`
    note('boots');
    if (fs.existsSync(at('hold'))) await exists('go');
    daemonize({ name: '${name}' }, forever);
  `);
  await ways['a program that makes itself a daemon'](t, name, tools);
  const boots = tools.notes().length;
  writeFileSync(tools.at('hold'), '');
  const restart = daemonry(['restart', '--json', name]);
  await until('the next launcher runs', () => tools.notes().length > boots);
  t.is((await stopDaemon(name)).outcome, 'not-running');
  writeFileSync(tools.at('go'), '');
  await isCancelled(t, name, await restart);
});

test('a stop before a restart does not cancel it', async (t) => {
  const tools = bench(t);
  const name = named(t);
  tools.write(`daemonize({ name: '${name}' }, () => {
    note(process.env.DAEMONRY_RESTART ?? 'clean');
    forever();
  });`);
  await ways['a program that makes itself a daemon'](t, name, tools);
  await stopDaemon(name);
  await stopDaemon(name);
  for (const _ of [1, 2]) {
    const { code, stderr } = await daemonry(['restart', name]);
    t.is(code, 0, stderr);
    t.is((await daemonStatus(name)).state, 'running');
  }
  t.deepEqual(tools.notes(), ['clean', 'clean', 'clean']);
});

/** Whether a command waits for the end of a daemon that it stops. */
function waitsForEnd(pid: number): boolean {
  const inProc = (place: string) => readdirSync(`/proc/${pid}/${place}`);
  const orGone = (read: () => string) => {
    try {
      return read();
    } catch {
      return 'gone since';
    }
  };
  const threads = inProc('task').map((task) => orGone(() => readFileSync(`/proc/${pid}/task/${task}/comm`, 'utf8')));
  const opened = inProc('fd').map((fd) => orGone(() => readlinkSync(`/proc/${pid}/fd/${fd}`)));
  return threads.includes('daemonry\n') && opened.includes('anon_inode:[pidfd]');
}

for (const [what, launch] of Object.entries(ways)) {
  testUnless(noLinux)(
    `${what}: of restarts at once all succeed with the pid of the daemon that comes up`,
    async (t) => {
      const tools = bench(t);
      const name = named(t);
      tools.write(`daemonize({ name: '${name}', stopTimeout: 60_000 }, (daemon) => {
      forever();
      daemon.onStop(() => exists('go'));
    });`);
      await launch(t, name, tools);
      const restarts = [1, 2, 3].map(() => startDaemonry(['restart', '--json', name]));
      await until('all wait', () => restarts.every(({ child }) => waitsForEnd(child.pid!)));
      t.false(existsSync(tools.at('go')));
      writeFileSync(tools.at('go'), '');
      const told = await Promise.all(restarts.map(({ done }) => done));
      const found = await daemonStatus(name);
      for (const { code, stdout, stderr } of told) {
        t.is(code, 0, stderr);
        // The program says something, too.
        const result = JSON.parse(stdout.slice(stdout.indexOf('{'))) as { outcome: string; pid: number };
        t.like(found, { state: 'running', pid: result.pid });
        t.is(result.outcome, 'restarted');
      }
    },
  );
}
