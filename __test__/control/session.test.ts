/** What a stop ends besides the main process: what is left of the session that the start made. */
import { chmodSync, existsSync } from 'node:fs';
import { daemonPaths, daemonStatus, spawnDaemon, stopDaemon, type SpawnDaemonOptions } from '../../dist/index.js';
import { bench, type Bench } from '../helpers/bench.js';
import { daemonry } from '../helpers/command.js';
import { read } from '../helpers/files.js';
import { eventsOf, named } from '../helpers/named.js';
import { isRoot, nobody, noLinux, noOtherUser, testOnLinux, testUnless } from '../helpers/privileges.js';
import { descriptors, hasEnded, kill } from '../helpers/processes.js';
import { start } from '../helpers/run.js';
import { until } from '../helpers/until.js';

/** What closes the descriptors of a shell that lead to files with these endings. */
const closing = (...endings: string[]) =>
  `for n in /proc/$$/fd/*; do case $(readlink $n) in ${endings.map((ending) => `*.${ending}`).join('|')}) eval "exec \${n##*/}>&-";; esac; done`;

const deaf = 'trap : TERM; while :; do sleep 0.1; done';

/** A shell that runs a server and has more to do after it; returns the server's pid. */
async function shell(place: Bench, options: SpawnDaemonOptions = {}, server = 'sleep 1000') {
  const { at } = place;
  if (place.entries().includes('helper')) place.remove('helper');
  const script = `${server} & echo $! >helper.new; mv helper.new helper; wait; echo more`;
  const where = options.name === undefined ? { pidFile: place.pidFile } : {};
  const { pid } = await spawnDaemon('sh', ['-c', script], { ...where, cwd: at('.'), ...options });
  await until('the helper runs', () => place.entries().includes('helper'));
  return { pid, helper: Number(read(at('helper'))) };
}

testOnLinux('a stop ends what a shell has run, and says how many', async (t) => {
  const place = bench(t);
  const { pid, helper } = await shell(place);
  t.deepEqual(await stopDaemon({ pidFile: place.pidFile }), { outcome: 'stopped', pid, othersEnded: 1 });
  t.true(hasEnded(helper));
});

testOnLinux('helpers that ignore SIGTERM are killed when the time is over', async (t) => {
  const place = bench(t);
  const { helper } = await shell(place, { stopTimeout: 100 }, "sh -c 'trap : TERM; while :; do sleep 0.1; done'");
  t.like(await stopDaemon({ pidFile: place.pidFile }), { outcome: 'stopped', othersLeft: undefined });
  t.true(hasEnded(helper));
});

testOnLinux('with force: false a helper that does not end is an error, with its pid', async (t) => {
  const place = bench(t);
  const { helper } = await shell(place, {}, "sh -c 'trap : TERM; while :; do sleep 0.1; done'");
  const error = await t.throwsAsync(stopDaemon({ pidFile: place.pidFile }, { timeout: 500, force: false }));
  t.like(error, { code: 'ERR_STOP_TIMEOUT', pid: helper });
  t.is((await stopDaemon({ pidFile: place.pidFile }, { timeout: 500 })).outcome, 'not-running');
  t.true(hasEnded(helper));
});

testOnLinux('a main process that makes a session of its own takes its helpers along', async (t) => {
  const place = bench(t);
  const { pidFile, at } = place;
  const script = 'sleep 1000 & echo $! >helper.new; mv helper.new helper; wait';
  await spawnDaemon('setsid', ['sh', '-c', script], { pidFile, cwd: at('.') });
  await until('the helper runs', () => place.entries().includes('helper'));
  t.like(await stopDaemon({ pidFile }), { outcome: 'stopped', othersEnded: 1, othersLeft: undefined });
  t.true(hasEnded(Number(read(at('helper')))));
});

testOnLinux("with killMode 'process' they run on", async (t) => {
  const place = bench(t);
  const { helper } = await shell(place, { killMode: 'process' });
  t.like(await stopDaemon({ pidFile: place.pidFile }), {
    outcome: 'stopped',
    othersEnded: undefined,
    othersLeft: undefined,
  });
  t.false(hasEnded(helper));
  await kill(helper);
});

testOnLinux(
  'a helper that has cleared its environment is ended, for it was seen while the main process lived',
  async (t) => {
    const place = bench(t);
    const { helper } = await shell(place, {}, 'env -i sleep 1000');
    t.like(await stopDaemon({ pidFile: place.pidFile }), { othersEnded: 1, othersLeft: undefined });
    t.true(hasEnded(helper));
  },
);

testOnLinux('a helper in a session of its own is none of the service', async (t) => {
  const place = bench(t);
  const { helper } = await shell(place, {}, 'setsid sleep 1000');
  t.like(await stopDaemon({ pidFile: place.pidFile }), { othersEnded: undefined, othersLeft: undefined });
  t.false(hasEnded(helper));
  await kill(helper);
});

for (const how of ['stop', 'start'] as const) {
  testOnLinux(
    `what a killed main process has left behind is ended by the next ${how}, though it holds the lock`,
    async (t) => {
      const place = bench(t);
      const { pid, helper } = await shell(place);
      process.kill(pid, 'SIGKILL');
      await until('it is dead', async () => (await daemonStatus({ pidFile: place.pidFile })).state === 'dead');
      t.false(hasEnded(helper));
      if (how === 'start') {
        const next = await shell(place);
        t.true(hasEnded(helper));
        t.is((await stopDaemon({ pidFile: place.pidFile })).outcome, 'stopped');
        t.true(hasEnded(next.helper));
      } else {
        const result = await stopDaemon({ pidFile: place.pidFile });
        t.deepEqual(result, { outcome: 'not-running', lastPid: pid, othersEnded: 1 });
        t.false(existsSync(place.pidFile));
      }
      t.true(hasEnded(helper));
      t.is((await daemonStatus({ pidFile: place.pidFile })).state, how === 'start' ? 'stopped' : 'dead');
    },
  );
}

testOnLinux('a stop from inside the session ends the others, and itself goes on', async (t) => {
  const place = bench(t);
  const program = place.write(`
    await exists('go');
    const outcome = await daemonry.stopDaemon({ pidFile: options.pidFile });
    fs.writeFileSync(at('outcome'), JSON.stringify(outcome));
  `);
  const { pid } = await shell(place, {}, `'${process.execPath}' '${program}'`);
  place.write('', 'go');
  await until('it has stopped', () => read(place.at('outcome')) !== '');
  t.deepEqual(JSON.parse(read(place.at('outcome'))), { outcome: 'stopped', pid });
});

for (const [who, ids, obstacle] of [
  ['root', {}, isRoot ? noLinux : 'this is no root'],
  ['an ordinary user', isRoot ? nobody : {}, isRoot ? noOtherUser : noLinux],
] as const) {
  for (const [what, closed] of [
    ['the lock and the pidfile', []],
    ['only the pidfile', ['lock', 'phase']],
  ] as const) {
    testUnless(obstacle)(`a stop by ${who} ends what holds ${what} of a killed main process`, async (t) => {
      const place = bench(t);
      chmodSync(place.at('.'), 0o777);
      const close = closed.length === 0 ? ':' : closing(...closed);
      const program = `
        const { pidFile } = options;
        const script = ${JSON.stringify(`sh -c '${close}; exec sleep 1000' & echo $! >helper.new; mv helper.new helper; wait`)};
        const { pid } = await daemonry.spawnDaemon('sh', ['-c', script], { pidFile, cwd: at('.') });
        await exists('helper');
        const helper = Number(fs.readFileSync(at('helper')));
        const has = (end) => fs.readdirSync('/proc/' + helper + '/fd').some((fd) => fs.readlinkSync('/proc/' + helper + '/fd/' + fd).endsWith(end));
        while (!fs.readFileSync('/proc/' + helper + '/cmdline', 'utf8').startsWith('sleep')) await sleep(10);
        const held = ['.lock', '.pid'].filter(has);
        process.kill(pid, 'SIGKILL');
        while ((await daemonry.daemonStatus({ pidFile })).state !== 'dead') await sleep(10);
        const refused = await daemonry.forgetDaemon({ pidFile }).catch(({ message }) => message);
        const stopped = await daemonry.stopDaemon({ pidFile });
        const forgotten = await daemonry.forgetDaemon({ pidFile });
        console.log(JSON.stringify({ pid, helper, held, refused, stopped, forgotten }));
      `;
      const { code, stdout, stderr } = await place.launch(program, { ...ids, cwd: '/' });
      t.is(code, 0, stderr);
      const { pid, helper, ...told } = JSON.parse(stdout) as { pid: number; helper: number; refused: string };
      t.true(hasEnded(helper));
      t.regex(told.refused, new RegExp(`it has left process ${helper} behind, which is still running: stop it first$`));
      t.like(told, {
        held: closed.length === 0 ? ['.lock', '.pid'] : ['.pid'],
        stopped: { outcome: 'not-running', lastPid: pid, othersEnded: 1 },
        forgotten: { outcome: 'forgotten' },
      });
      t.false(existsSync(place.pidFile));
    });
  }
}

testOnLinux(
  'a main process has stopped also where another one of its session does not, and stop says so later',
  async (t) => {
    const place = bench(t);
    const name = named(t);
    const { pid, helper } = await shell(place, { name }, `sh -c '${closing('lock', 'phase', 'pid')}; ${deaf}'`);
    const isClosed = () => ![...descriptors(helper).values()].some((file) => file.endsWith('.pid'));
    await until('it has closed them', isClosed);
    const error = await t.throwsAsync(stopDaemon(name, { timeout: 500, force: false }));
    t.like(error, { code: 'ERR_STOP_TIMEOUT', pid: helper });
    t.true(hasEnded(pid));
    t.like(await daemonStatus(name), { state: 'dead', lastPid: pid, ended: { reason: 'stopped' } });
    t.false(existsSync(daemonPaths(name).pidFile));
    const kinds = async () => (await eventsOf(name)).map(({ event }) => event);
    t.deepEqual(await kinds(), ['start', 'up', 'stop', 'exit']);
    t.is((await eventsOf(name)).at(-1)!.unseen, undefined);

    const { code, stdout } = await daemonry(['stop', '--timeout', '100', name]);
    t.is(code, 0);
    // Each sleep of the loop is one, too.
    const others = '1 other process|\\d+ other processes';
    t.regex(
      stdout,
      new RegExp(
        `^${name} is not running: it had exited already \\(pid ${pid}; (${others}) of its session ended\\)\n$`,
      ),
    );
    t.true(hasEnded(helper));
    t.like(await daemonStatus(name), { state: 'stopped', ended: { reason: 'stopped' } });
    t.deepEqual(await kinds(), ['start', 'up', 'stop', 'exit', 'cleanup']);
    t.like((await eventsOf(name)).at(-1), { pid, by: { uid: process.getuid!() } });
    t.deepEqual(await stopDaemon(name), { outcome: 'not-running' });
  },
);

testOnLinux('a start writes down that it has ended what its predecessor had left behind', async (t) => {
  const place = bench(t);
  const name = named(t);
  const { pid, helper } = await shell(place, { name });
  await kill(pid);
  await shell(place, { name });
  t.true(hasEnded(helper));
  const events = await eventsOf(name);
  t.deepEqual(
    events.map(({ event }) => event),
    ['start', 'up', 'exit', 'cleanup', 'start', 'up'],
  );
  t.like(events[3], { pid, othersEnded: 1 });
  const { stdout } = await daemonry(['events', name]);
  t.regex(stdout, new RegExp(`  ${name}  cleanup  1 process left by pid ${pid} ended by \\w+.*: `));
});

testOnLinux('who takes the place of another ends also a helper that has cleared its environment', async (t) => {
  const place = bench(t);
  const { helper } = await shell(place, {}, 'env -i sleep 1000');
  await shell(place, { ifRunning: 'replace' });
  t.true(hasEnded(helper));
  t.is((await stopDaemon({ pidFile: place.pidFile })).outcome, 'stopped');
});

testOnLinux('a stop removes the pidfile that a killed daemon has left, unless another process holds it', async (t) => {
  const { pidFile, at, ...place } = bench(t);
  const { pid } = await spawnDaemon('sleep', ['1000'], { pidFile });
  await kill(pid);
  if (isRoot) {
    const holder = start('flock', ['--no-fork', pidFile, 'sh', '-c', `: >'${at('held')}'; exec sleep 1000`]);
    await until('it is held', () => place.entries().includes('held'));
    t.deepEqual(await stopDaemon({ pidFile }), { outcome: 'not-running' });
    t.true(existsSync(pidFile));
    holder.child.kill('SIGKILL');
    await holder.done;
  }
  const { code, stdout } = await daemonry(['stop', '-p', pidFile]);
  t.deepEqual([code, stdout], [0, `${pidFile} is not running\n`]);
  t.false(existsSync(pidFile));
  t.like(await daemonStatus({ pidFile }), { state: 'dead', lastPid: pid, ended: { reason: 'vanished' } });
});
