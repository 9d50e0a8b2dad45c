/** Starting, stopping, looking and removing at the same moment, by processes that live on. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { spawn } from 'node:child_process';
import anyTest, { type ExecutionContext } from 'ava';
import {
  daemonPaths,
  daemonStatus,
  signalDaemon,
  spawnDaemon,
  stopDaemon,
  type SpawnDaemonOptions,
} from '../../dist/index.js';
import { count, countedRace, type Counts } from '../helpers/counts.js';
import { named } from '../helpers/named.js';
import { racers, type Move, type Outcome } from '../helpers/racers.js';
import { flaws, isTrue, runningAt, tally, track } from '../helpers/track.js';
import { until } from '../helpers/until.js';

const test = anyTest.serial;
const rounds = Number(process.env['DAEMONRY_TEST_ROUNDS'] ?? 10);
/** Where Node.js has to boot each time. */
const few = Math.ceil(rounds / 5);
const size = 32;

/** A daemon that ends by itself in the way and after the milliseconds that it is told. */
const ending = `
  import { daemonize } from '${new URL('../../dist/index.js', import.meta.url).href}';
  const [way, after] = process.argv.slice(2);
  const daemon = daemonize({});
  const ways = {
    exit: () => process.exit(0),
    stop: () => daemon.stop(),
    signal: () => process.kill(process.pid, 'SIGTERM'),
    throw: () => { throw new Error('ends'); },
  };
  daemon.ready();
  setTimeout(ways[way], after);
`;

const field = racers(size);
anyTest.after.always(async () => (await field).end());

const chance = (below: number) => Math.random() * below;
const pick = <T>(choices: readonly T[]): T => choices[Math.floor(chance(choices.length))]!;
const repeat = <T>(times: number, make: (index: number) => T): T[] => Array.from({ length: times }, (_, i) => make(i));

/** Runs a race that many times, and notes what it came to. */
async function races(t: ExecutionContext, times: number, run: (counts: Counts, round: number) => Promise<string[]>) {
  t.timeout(120_000 + rounds * 2_000);
  const counts: Counts = {};
  for (let round = 0; round < times; round++) {
    const wrong = await run(counts, round);
    if (wrong.length > 0) return t.fail(`round ${round}: ${wrong.join('\n')}`);
  }
  t.log(counts);
  countedRace(t, times, counts);
  return t.pass();
}

test(`of ${size} simultaneous starts one runs and the others are told its pid, ${rounds} times`, async (t) => {
  const ground = track(t);
  const { pidFile } = ground;
  const stranger = spawn('sleep', ['100000'], { stdio: 'ignore' });
  t.teardown(() => stranger.kill('SIGKILL'));
  const { race } = await field;
  // What the daemon before has left: nothing; its pid, while it may still be dying; a stranger's pid; an empty file.
  const leave = [
    () => stopDaemon({ pidFile }),
    () => signalDaemon({ pidFile }, 'SIGKILL'),
    async () => (await stopDaemon({ pidFile }), writeFileSync(pidFile, `${stranger.pid}\n`)),
    async () => (await stopDaemon({ pidFile }), writeFileSync(pidFile, '')),
  ];
  let before: number[] = [];
  await races(t, rounds, async (counts, round) => {
    const told = await race(repeat(size, () => ground.start()));
    tally(counts, told);
    const wrong = await flaws(ground, before, told, { ends: 1 });
    const [pid, ...others] = told.flatMap(({ returned }) => returned?.pid ?? []);
    if (pid === undefined || others.length > 0) wrong.push(`started: ${[pid, ...others].join()}`);
    if (told.some(({ error }) => error !== undefined && error.pid !== pid)) wrong.push('another pid was told');
    if (readFileSync(pidFile, 'utf8') !== `${pid}\n`) wrong.push('the pidfile has another pid');
    await leave[round % leave.length]!();
    before = round % leave.length === 1 ? [pid!] : [];
    return wrong;
  });
  t.is(stranger.signalCode, null);
});

test(`starts against stops: whoever is not stopped runs, alone, ${rounds} times`, async (t) => {
  const ground = track(t);
  const { race } = await field;
  let before: number[] = [];
  await races(t, rounds, async (counts) => {
    if (before.length === 0 && chance(2) < 1) before = [await ground.given()];
    const moves = repeat(3, () => [ground.start(), ground.stop()]).flat();
    const told = await race(moves.map((move) => ({ ...move, delay: chance(4) })));
    tally(counts, told);
    const wrong = await flaws(ground, before, told);
    before = await runningAt(ground.pidFile);
    return wrong;
  });
});

test(`stops, starts and looks against a daemon's own end: told as it is, ${rounds} times`, async (t) => {
  const ground = track(t);
  const { pidFile } = ground;
  const { race } = await field;
  await races(t, rounds, async (counts) => {
    const old = await ground.given(0.004 + chance(0.004)).catch(endedEarly);
    if (old === undefined) return [];
    const look: Move = { call: 'look', args: [{ pidFile }, 20] };
    const moves = [ground.stop(), ground.stop(), look, ground.start()];
    const told = await race(moves.map((move) => ({ ...move, delay: chance(5) })));
    tally(counts, told);
    const wrong = await flaws(ground, [old], told, { ends: 1, leavesFile: true });
    await stopDaemon({ pidFile });
    return wrong;
  });
});

test(`stops and starts against the orderly end of a daemon: its pidfile goes with it, ${few} times`, async (t) => {
  const ground = track(t);
  const { race } = await field;
  const program = ground.at('program.mjs');
  writeFileSync(program, ending);
  await races(t, few, async (counts) => {
    const args = [program, pick(['exit', 'stop', 'signal', 'throw']), String(chance(8))];
    const daemon = await spawnDaemon(process.execPath, args, ground.options({ waitFor: 'ready' })).catch(endedEarly);
    if (daemon === undefined) return [];
    const moves = [ground.stop(), ground.stop(), ground.start()];
    const told = await race(moves.map((move) => ({ ...move, delay: chance(12) })));
    tally(counts, told);
    const wrong = await flaws(ground, [daemon.pid], told, { ends: 1 });
    await stopDaemon({ pidFile: ground.pidFile });
    return wrong;
  });
});

test(`looks never make a start fail, and tell what is so, ${rounds * 10} times`, async (t) => {
  const ground = track(t);
  const { pidFile } = ground;
  const { race } = await field;
  const look: Move = { call: 'look', args: [{ pidFile }, 600] };
  await races(t, rounds, async (counts) => {
    const pids: number[] = [];
    const looking = race(repeat(4, () => look));
    for (let start = 0; start < 10; start++) {
      pids.push(await ground.given());
      await stopDaemon({ pidFile });
    }
    const told = await looking;
    tally(counts, told);
    count(counts, 'started', pids.length);
    return told.filter((outcome) => !isTrue(outcome, pids, pids)).map((outcome) => JSON.stringify(outcome));
  });
});

test(`starts against rm: each is told as it is, and the pidfile that is there is right, ${rounds} times`, async (t) => {
  const ground = track(t);
  const { pidFile, isAlive } = ground;
  const { race } = await field;
  const remove: Move = { call: 'unlinkSync', args: [pidFile] };
  await races(t, rounds, async (counts) => {
    const moves = [ground.start(), remove, ground.start(), remove, ground.start()];
    const told = await race(moves.map((move) => ({ ...move, delay: chance(4) })));
    tally(counts, told);
    const started = told.flatMap(({ returned }) => returned?.pid ?? []);
    const removed = told.filter(({ move, error }) => move.call === 'unlinkSync' && error === undefined);
    const wrong = told.filter((outcome) => !isTrue(outcome, started, [])).map((outcome) => JSON.stringify(outcome));
    // A lock without a name keeps nobody from starting: as many more can run as files were removed.
    if (!started.every(isAlive)) wrong.push(`started, and not alive: ${started.join()}`);
    if (started.length > 1 + removed.length) wrong.push(`${started.length} run, ${removed.length} files were removed`);
    const found = await daemonStatus({ pidFile });
    const isRight = found.state === 'running' ? started.includes(found.pid) : found.state === 'stopped';
    if (!isRight) wrong.push(JSON.stringify(found));
    for (const pid of started.filter(isAlive)) process.kill(pid, 'SIGKILL');
    await until('they have ended', () => !started.some(isAlive));
    rmSync(pidFile, { force: true });
    return wrong.length === 0 ? [] : [...wrong, ...told.map((outcome) => JSON.stringify(outcome))];
  });
});

test(`of ${size} callers that reuse one starts the daemon and all get its pid, ${rounds} times`, async (t) => {
  const ground = track(t);
  const { race } = await field;
  await races(t, rounds, async (counts) => {
    const told = await race(repeat(size, () => ground.start({ ifRunning: 'reuse' })));
    tally(counts, told);
    const wrong = await flaws(ground, [], told);
    if (outcomes(told) !== `reused ${size - 1}, started 1`) wrong.push(outcomes(told));
    await stopDaemon({ pidFile: ground.pidFile });
    return wrong;
  });
});

test(`of ${size} callers of a new version one replaces the old one and all get its pid, ${rounds} times`, async (t) => {
  const ground = track(t);
  const name = named(t);
  const { pidFile } = daemonPaths(name);
  const { race } = await field;
  const options = (version: string) => ({ name, version, env: ground.options().env!, ifRunning: 'reuse' as const });
  let { pid: old } = await spawnDaemon('sleep', ['1000'], options('0'));
  await races(t, rounds, async (counts, round) => {
    const start: Move = { call: 'spawnDaemon', args: ['sleep', ['1000'], options(String(round + 1))] };
    const told = await race(repeat(size, () => start));
    tally(counts, told);
    const wrong = await flaws({ ...ground, pidFile }, [old], told, { ends: 1 });
    const [pid] = await runningAt(pidFile);
    // Whoever ends the old one may lose the lock to somebody who has not met that.
    if (!new RegExp(`^(replaced 1, reused ${size - 1}|reused ${size - 1}, started 1)$`).test(outcomes(told))) {
      wrong.push(outcomes(told));
    }
    if (told.some(({ returned }) => returned?.pid !== pid)) wrong.push('another pid was told');
    old = pid!;
    return wrong;
  });
});

test(`of ${size} callers that replace each replaces what it met or reuses what came after it, ${rounds} times`, async (t) => {
  const ground = track(t);
  const { race } = await field;
  let old = await ground.given();
  await races(t, rounds, async (counts) => {
    const told = await race(repeat(size, () => ground.start({ ifRunning: 'replace' })));
    tally(counts, told);
    const starts = told.filter(({ returned }) => returned?.outcome !== 'reused').length;
    const wrong = await flaws(ground, [old], told, { ends: starts });
    const [pid] = await runningAt(ground.pidFile);
    if (told.some(({ returned }) => returned?.pid === old)) wrong.push('the old one was reused');
    old = pid!;
    return wrong;
  });
});

test(`everything at once, ${rounds} times`, async (t) => {
  const ground = track(t);
  const { pidFile } = ground;
  const { race } = await field;
  const kill: Move = { call: 'signalDaemon', args: [{ pidFile }, 'SIGKILL'] };
  const look: Move = { call: 'look', args: [{ pidFile }, 10] };
  let before: number[] = [];
  await races(t, rounds, async (counts) => {
    const moves = Array.from({ length: 16 }, (): Move => {
      const kinds = ['error', 'reuse', 'replace'] as const;
      const move = pick([...kinds.map((ifRunning) => ground.start({ ifRunning })), ground.stop(), kill, look]);
      return { ...move, delay: chance(20) };
    });
    const told = await race(moves);
    tally(counts, told);
    const replacers = moves.filter(({ args }) => (args[2] as SpawnDaemonOptions | undefined)?.ifRunning === 'replace');
    const wrong = await flaws(ground, before, told, { ends: replacers.length, leavesFile: true });
    before = await runningAt(ground.pidFile);
    return wrong;
  });
});

/** The outcomes of starts and how often each was told, in the order of their names. */
function outcomes(told: readonly Outcome[]): string {
  const counts: Counts = {};
  tally(counts, told);
  return Object.keys(counts)
    .sort()
    .map((outcome) => `${outcome} ${counts[outcome]}`)
    .join(', ');
}

/** On a slow machine a daemon may end before it is seen to be up, which is told: then there is nothing to race for. */
function endedEarly(error: { code?: string }): undefined {
  if (error.code !== 'ERR_START_FAILED') throw error;
}
