/** What a stop ends besides the main process: what is left of the session that the start made. */
import { spawnDaemon, status, stop, type SpawnDaemonOptions } from '../dist/index.js';
import { testOnLinux } from './helpers/privileges.js';
import { hasEnded } from './helpers/processes.js';
import { bench, read, type Bench } from './helpers/program.js';
import { until } from './helpers/until.js';

/** A shell that runs a server and has more to do after it; returns the server's pid. */
async function shell(place: Bench, options: SpawnDaemonOptions = {}, server = 'sleep 1000') {
  const { pidFile, at } = place;
  if (place.entries().includes('helper')) place.remove('helper');
  const script = `${server} & echo $! >helper.new; mv helper.new helper; wait; echo more`;
  const { pid } = await spawnDaemon('sh', ['-c', script], { pidFile, cwd: at('.'), ...options });
  await until('the helper runs', () => place.entries().includes('helper'));
  return { pid, helper: Number(read(at('helper'))) };
}

async function endHelper(pid: number): Promise<void> {
  process.kill(pid, 'SIGKILL');
  await until('the helper has ended', () => hasEnded(pid));
}

testOnLinux('a stop ends what a shell has run, and says how many', async (t) => {
  const place = bench(t);
  const { pid, helper } = await shell(place);
  t.deepEqual(await stop({ pidFile: place.pidFile }), { outcome: 'stopped', pid, othersEnded: 1 });
  t.true(hasEnded(helper));
});

testOnLinux('helpers that ignore SIGTERM are killed when the time is over', async (t) => {
  const place = bench(t);
  const { helper } = await shell(place, { stopTimeout: 100 }, "sh -c 'trap : TERM; while :; do sleep 0.1; done'");
  t.like(await stop({ pidFile: place.pidFile }), { outcome: 'stopped', othersLeft: undefined });
  t.true(hasEnded(helper));
});

testOnLinux('with force: false a helper that does not end is an error, with its pid', async (t) => {
  const place = bench(t);
  const { helper } = await shell(place, {}, "sh -c 'trap : TERM; while :; do sleep 0.1; done'");
  const error = await t.throwsAsync(stop({ pidFile: place.pidFile }, { timeout: 500, force: false }));
  t.like(error, { code: 'ERR_STOP_TIMEOUT', pid: helper });
  t.is((await stop({ pidFile: place.pidFile }, { timeout: 500 })).outcome, 'stopped');
  t.true(hasEnded(helper));
});

testOnLinux('a main process that makes a session of its own takes its helpers along', async (t) => {
  const place = bench(t);
  const { pidFile, at } = place;
  const script = 'sleep 1000 & echo $! >helper.new; mv helper.new helper; wait';
  await spawnDaemon('setsid', ['sh', '-c', script], { pidFile, cwd: at('.') });
  await until('the helper runs', () => place.entries().includes('helper'));
  t.like(await stop({ pidFile }), { outcome: 'stopped', othersEnded: 1, othersLeft: undefined });
  t.true(hasEnded(Number(read(at('helper')))));
});

testOnLinux("with killMode 'process' they run on", async (t) => {
  const place = bench(t);
  const { helper } = await shell(place, { killMode: 'process' });
  t.like(await stop({ pidFile: place.pidFile }), { outcome: 'stopped', othersEnded: undefined, othersLeft: undefined });
  t.false(hasEnded(helper));
  await endHelper(helper);
});

testOnLinux(
  'a helper that has cleared its environment is ended, for it was seen while the main process lived',
  async (t) => {
    const place = bench(t);
    const { helper } = await shell(place, {}, 'env -i sleep 1000');
    t.like(await stop({ pidFile: place.pidFile }), { othersEnded: 1, othersLeft: undefined });
    t.true(hasEnded(helper));
  },
);

testOnLinux('a helper in a session of its own is none of the service', async (t) => {
  const place = bench(t);
  const { helper } = await shell(place, {}, 'setsid sleep 1000');
  t.like(await stop({ pidFile: place.pidFile }), { othersEnded: undefined, othersLeft: undefined });
  t.false(hasEnded(helper));
  await endHelper(helper);
});

for (const how of ['stop', 'start'] as const) {
  testOnLinux(
    `what a killed main process has left behind is ended by the next ${how}, though it holds the lock`,
    async (t) => {
      const place = bench(t);
      const { pid, helper } = await shell(place);
      process.kill(pid, 'SIGKILL');
      await until('it is dead', () => status({ pidFile: place.pidFile }).state === 'dead');
      t.false(hasEnded(helper));
      if (how === 'start') {
        const next = await shell(place);
        t.true(hasEnded(helper));
        t.is((await stop({ pidFile: place.pidFile })).outcome, 'stopped');
        t.true(hasEnded(next.helper));
      } else t.like(await stop({ pidFile: place.pidFile }), { outcome: 'stopped', pid, othersEnded: 1 });
      t.true(hasEnded(helper));
      t.is(status({ pidFile: place.pidFile }).state, how === 'start' ? 'stopped' : 'dead');
    },
  );
}

testOnLinux('a stop from inside the session ends the others, and itself goes on', async (t) => {
  const place = bench(t);
  const program = place.write(`
    await exists('go');
    const outcome = await daemonry.stop({ pidFile: options.pidFile });
    fs.writeFileSync(at('outcome'), JSON.stringify(outcome));
  `);
  const { pid } = await shell(place, {}, `'${process.execPath}' '${program}'`);
  place.write('', 'go');
  await until('it has stopped', () => read(place.at('outcome')) !== '');
  t.deepEqual(JSON.parse(read(place.at('outcome'))), { outcome: 'stopped', pid });
});
