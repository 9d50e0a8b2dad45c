/** Every process of a start killed at each of its system calls, and at random moments; and what is so afterwards. */
import { setTimeout as sleep } from 'node:timers/promises';
import { daemonStatus, type DaemonStatus } from '../../dist/index.js';
import { start, type Outcome } from '../../__test__/helpers/run.js';
import { until } from '../../__test__/helpers/until.js';
import { alive, ended } from './judge.js';
import type { Part, Result } from '../reliability/suite.js';
import { callsOf, concerns, inPlace } from './rounds.js';
import { scenarios, wasUp, type Place, type Scenario } from './scenarios.js';
import { nameOf, traced, untraced } from './trace.js';

/** How one crash was survived. */
export interface Crash extends Result {
  readonly kind: 'crash';
  /** In which start, which process, and when. */
  readonly where: string;
  /** What there was afterwards. */
  readonly state: 'nothing' | 'a pidfile that nobody holds' | 'the daemon' | 'wrong';
}

/** The longest that a start without a fault takes on a busy machine, roughly, in ms: random kills come earlier. */
const longestStart = 400;

// What becomes of helpers and of failed starts is another question.
const starts = scenarios.filter(({ isStart, hasHelper, fails }) => isStart && !hasHelper && !fails);

/** What is wrong when the dust has settled, and what there is then. Starts it once more. */
async function judge(place: Place, { code, stderr }: Outcome): Promise<{ state: Crash['state']; problems: string[] }> {
  const problems: string[] = [];
  const state = () => daemonStatus({ pidFile: place.pidFile });
  const others = (found: DaemonStatus) => alive(place).filter(({ pid }) => !('pid' in found) || pid !== found.pid);
  // A daemon whose launcher was killed goes on, and locks its pidfile only then, where that is its own affair.
  const isSettled = async () => {
    const found = await state();
    return !['starting', 'stopping'].includes(found.state) && others(found).length === 0;
  };
  await until('it is settled', isSettled, 20_000).catch(() => {});
  const found = await state();
  for (const process of others(found)) problems.push(`process ${process} is left`);
  if (!['stopped', 'dead', 'running'].includes(found.state)) problems.push(`the pidfile says ${found.state}`);
  // One that was killed after it had said that it is up was up.
  if (code === 0 && found.state !== 'running' && !(found.state === 'dead' && wasUp(place)))
    problems.push(`the launcher says that it is up, but it is ${found.state}`);
  if (code !== null && code !== 0 && stderr.trim() === '')
    problems.push(`the launcher exits with ${code} without a word`);

  if (found.state === 'running') problems.push(...(await ended(place, found)));
  const again = await untraced(place.starts);
  const now = await state();
  if (again.code !== 0 || now.state !== 'running') problems.push(`the next start fails: ${again.stderr}`);
  problems.push(...(await ended(place, now)));
  const states = { stopped: 'nothing', dead: 'a pidfile that nobody holds', running: 'the daemon' } as const;
  return { state: problems.length > 0 ? 'wrong' : states[found.state as keyof typeof states], problems };
}

/** Kills the process that makes a call, for each call of each start: a group for each. */
export async function* crashParts(): AsyncGenerator<Part<Crash>[]> {
  for (const scenario of starts) {
    const calls = (await callsOf(scenario)).filter((call) => concerns(scenario, call));
    const kills = calls.map((call) => ({ call, action: 'kill' }));
    console.log(`${scenario.name}: ${kills.length} crashes`);
    yield kills.map((fault) => ({
      name: `${scenario.name}: ${nameOf(fault)}`,
      run: () =>
        survived(scenario, `${fault.call.role}, at each of its calls`, async (place) =>
          judge(place, await traced(place.command, `${place.path}/trace`, fault)),
        ),
    }));
  }
}

/** Kills some process of a start at some moment, `count` times. */
export function randomCrashParts(count: number, seed: number): Part<Crash>[] {
  console.log(`${count} random crashes, seed ${seed}`);
  return Array.from({ length: count }, (_, round) => {
    const scenario = starts[round % starts.length]!;
    return {
      name: `${scenario.name}: any process, at random ${round}`,
      run: () => survived(scenario, 'any, at random', (place) => killAtRandom(place, generator(seed + round))),
    };
  });
}

async function killAtRandom(place: Place, random: () => number) {
  const launcher = start(place.starts[0]!, place.starts.slice(1));
  const delay = random() * longestStart;
  await sleep(delay);
  const processes = alive(place);
  const killed = processes[Math.floor(random() * processes.length)];
  killed?.kill();
  const outcome = await launcher.done;
  // It takes a moment to die, and looks alive until then.
  const isHolder = async () => {
    const found = await daemonStatus({ pidFile: place.pidFile });
    return 'pid' in found && found.pid === killed?.pid;
  };
  await until('the killed one has let go', async () => !(await isHolder()));
  const { state, problems } = await judge(place, outcome);
  return { state, problems: problems.map((problem) => `killed after ${delay} ms: ${problem}`) };
}

async function survived(
  scenario: Scenario,
  where: string,
  kill: (place: Place) => ReturnType<typeof judge>,
): Promise<Crash> {
  const { state, problems } = await inPlace(scenario, kill).catch((error: unknown) => ({
    state: 'wrong' as const,
    problems: [String(error)],
  }));
  return { kind: 'crash', where: `${scenario.name}: ${where}`, state, wrong: problems };
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
