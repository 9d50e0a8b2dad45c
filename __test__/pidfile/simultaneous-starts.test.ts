import { spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import test from 'ava';
import { daemonStatus } from '../../dist/index.js';
import { bench, type Answer } from '../helpers/bench.js';
import { count, countedRace, type Counts } from '../helpers/counts.js';
import { until } from '../helpers/until.js';

const rounds = Number(process.env.DAEMONRY_TEST_ROUNDS ?? 10);
const starters = 8;
const probers = 4;

const starter = `
  const [pidFile, ready, go] = args;
  fs.writeFileSync(ready, '');
  await until(() => fs.existsSync(go));
  daemonize({ pidFile, onStarted: started });
  forever();`;

/** Looks again and again until told to end, and then tells every state that it saw, with the pids and how often. */
const prober = `
  const [pidFile, end] = args;
  const seen = {};
  while (!fs.existsSync(end)) {
    for (let look = 0; look < 50; look++) {
      let told;
      try {
        const { state, pid = null, heldBy = null } = await daemonStatus({ pidFile });
        told = [state, pid, heldBy].join(' ');
      } catch ({ message }) {
        told = message;
      }
      seen[told] = (seen[told] ?? 0) + 1;
    }
    await new Promise(setImmediate);
  }
  return seen;`;

test(`of eight simultaneous starts one runs and seven are told its pid, ${rounds} times`, async (t) => {
  t.timeout(60_000 + rounds * 10_000);
  const { at, call } = bench(t);
  const { call: probe } = bench(t);
  const [pidFile, end] = [at('a.pid'), at('end')];
  const stranger = spawn('sleep', ['100000'], { stdio: 'ignore' });
  t.teardown(() => stranger.kill('SIGKILL'));
  writeFileSync(pidFile, `${stranger.pid}\n`);
  const probing = Array.from({ length: probers }, () => probe(prober, { args: [pidFile, end], deadline: 2 ** 31 - 1 }));

  const daemons: number[] = [];
  const counts: Counts = {};
  for (let round = 0; round < rounds; round++) {
    const ready = Array.from({ length: starters }, (_, index) => at(`ready-${index}`));
    const starting = ready.map((file) => call(starter, { args: [pidFile, file, at('go')] }));
    await until('all starters wait', () => ready.every((file) => existsSync(file)));
    writeFileSync(at('go'), '');
    const told = await Promise.all(starting);
    const [pid, ...others] = told
      .filter(({ returned }) => returned !== undefined)
      .map(({ returned }) => returned as number);
    t.deepEqual(others, [], `round ${round}: one start succeeds`);
    t.false(daemons.includes(pid!), `round ${round}: a new daemon`);
    daemons.push(pid!);
    count(counts, 'started');
    const refused = told.filter(({ returned }) => returned === undefined).map(reasonOf);
    t.deepEqual(
      refused,
      Array(starters - 1).fill(`ERR_ALREADY_RUNNING ${pid}`),
      `round ${round}: seven are told its pid`,
    );
    count(counts, 'ERR_ALREADY_RUNNING', refused.length);
    t.is(readFileSync(pidFile, 'utf8'), `${pid}\n`);
    t.like(await daemonStatus({ pidFile }), { state: 'running', pid });

    process.kill(pid!, 'SIGKILL');
    await until('the lock is free', async () => (await daemonStatus({ pidFile })).state === 'dead');
    // Stale content: now of the daemon before, now of a living stranger.
    if (round % 2 === 0) writeFileSync(pidFile, `${stranger.pid}\n`);
    for (const file of [at('go'), ...ready]) rmSync(file);
  }

  writeFileSync(end, '');
  const seen = new Map<string, number>();
  for (const { returned } of await Promise.all(probing)) {
    for (const [state, times] of Object.entries<number>(returned)) seen.set(state, (seen.get(state) ?? 0) + times);
  }
  for (const [told, times] of seen) {
    const [state, pid] = told.split(' ');
    count(counts, `seen ${state}`, times);
    // Between a lock and its text a starter has no name yet.
    const isTrue =
      told.trimEnd() === 'unknown' ||
      ['dead', 'stopped'].includes(state!) ||
      (state === 'starting' && pid === '') ||
      (['starting', 'running', 'stopping'].includes(state!) && daemons.includes(Number(pid)));
    t.true(isTrue, `${times} times a prober was told: ${told}`);
  }
  t.log(counts);
  t.true(counts['seen running']! > 0);
  t.is(stranger.signalCode, null);
  countedRace(t, rounds, counts);
});

function reasonOf({ error }: Answer): string {
  return error?.code === 'ERR_ALREADY_RUNNING' ? `${error.code} ${error.pid}` : `${error?.code} ${error?.message}`;
}
