/** Every process of a start killed at each of its system calls, and at random moments; and what is so afterwards. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { status, type DaemonStatus } from '../dist/index.js';
import { run, start, type Outcome } from '../__test__/helpers/run.js';
import { until } from '../__test__/helpers/until.js';
import { alive, ended } from './judge.js';
import { callsOf, inParallel, inPlace } from './rounds.js';
import { scenarios, type Place, type Scenario } from './scenarios.js';
import { nameOf, traced } from './trace.js';
import type { Choice } from './faults.js';

/** How one crash was survived. */
export interface Crash {
  readonly scenario: Scenario;
  /** At which call, or `at random`. */
  readonly where: string;
  /** What there was afterwards. */
  readonly state: 'nothing' | 'a pidfile that nobody holds' | 'the daemon' | 'wrong';
}

/** The longest that a start without a fault takes on a busy machine, roughly, in ms: random kills come earlier. */
const longestStart = 400;

const starts = scenarios.filter(({ isStart }) => isStart);

/** What is wrong when the dust has settled, and what there is then. Starts it once more. */
async function judge(place: Place, { code, stderr }: Outcome): Promise<{ state: Crash['state']; problems: string[] }> {
  const problems: string[] = [];
  const state = () => status({ pidFile: place.pidFile });
  const others = (found: DaemonStatus) => alive(place).filter(({ pid }) => !('pid' in found) || pid !== found.pid);
  // A daemon whose launcher was killed goes on, and locks its pidfile only then, where that is its own affair.
  const isSettled = (found = state()) => !['starting', 'stopping'].includes(found.state) && others(found).length === 0;
  await until('it is settled', () => isSettled(), 20_000).catch(() => {});
  const found = state();
  for (const process of others(found)) problems.push(`process ${process} is left`);
  if (!['stopped', 'dead', 'running'].includes(found.state)) problems.push(`the pidfile says ${found.state}`);
  // One that was killed after it had said that it is up was up.
  const wasUp = found.state === 'dead' && readFileSync(place.pidFile, 'utf8').endsWith('\n');
  if (code === 0 && found.state !== 'running' && !wasUp)
    problems.push(`the launcher says that it is up, but it is ${found.state}`);
  if (code !== null && code !== 0 && stderr.trim() === '')
    problems.push(`the launcher exits with ${code} without a word`);

  if (found.state === 'running') problems.push(...(await ended(place, found)));
  const again = await run(place.starts[0]!, place.starts.slice(1));
  const now = state();
  if (again.code !== 0 || now.state !== 'running') problems.push(`the next start fails: ${again.stderr}`);
  problems.push(...(await ended(place, now)));
  const states = { stopped: 'nothing', dead: 'a pidfile that nobody holds', running: 'the daemon' } as const;
  return { state: problems.length > 0 ? 'wrong' : states[found.state as keyof typeof states], problems };
}

/** Kills the process that makes a call, for each call of a start. */
export async function tryCrashes({ every, only }: Choice): Promise<Crash[]> {
  const crashes: Crash[] = [];
  for (const scenario of starts) {
    const calls = (await callsOf(scenario))
      .map((call) => ({ call, action: 'kill' }))
      .filter((fault) => `${scenario.name}: ${nameOf(fault)}`.includes(only))
      .filter((_, index) => index % every === 0);
    console.log(`${scenario.name}: ${calls.length} crashes`);
    await inParallel(calls, async (fault) => {
      const where = nameOf(fault);
      const kill = async (place: Place) => judge(place, await traced(place.command, `${place.path}/trace`, fault));
      crashes.push({ scenario, where, ...(await survived(scenario, where, kill)) });
    });
  }
  return crashes;
}

/** Kills some process of a start at some moment, `count` times. */
export async function tryRandomCrashes(count: number, seed: number): Promise<Crash[]> {
  const crashes: Crash[] = [];
  const random = generator(seed);
  console.log(`${count} random crashes, seed ${seed}`);
  const rounds = Array.from({ length: count }, (_, round) => ({
    scenario: starts[round % starts.length]!,
    delay: random() * longestStart,
    victim: random(),
  }));
  await inParallel(rounds, async ({ scenario, delay, victim }) => {
    const kill = async (place: Place) => {
      const launcher = start(place.starts[0]!, place.starts.slice(1));
      await sleep(delay);
      const processes = alive(place);
      const killed = processes[Math.floor(victim * processes.length)];
      killed?.kill();
      const outcome = await launcher.done;
      // It takes a moment to die, and looks alive until then.
      const isHolder = () => {
        const found = status({ pidFile: place.pidFile });
        return 'pid' in found && found.pid === killed?.pid;
      };
      await until('the killed one has let go', () => !isHolder());
      return judge(place, outcome);
    };
    crashes.push({ scenario, where: 'at random', ...(await survived(scenario, `after ${delay} ms`, kill)) });
  });
  return crashes;
}

async function survived(scenario: Scenario, where: string, kill: (place: Place) => ReturnType<typeof judge>) {
  const { state, problems } = await inPlace(scenario, kill).catch((error: unknown) => ({
    state: 'wrong' as const,
    problems: [String(error)],
  }));
  if (state === 'wrong') console.log(`WRONG ${scenario.name}: killed ${where}: ${problems.join('; ')}`);
  return { state };
}

/** Numbers from 0 to 1 that a seed repeats (mulberry32). */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
