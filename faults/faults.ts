/** Every system call made to fail, to fall short or to come late, one at a time. */
import { status } from '../dist/index.js';
import { run } from '../__test__/helpers/run.js';
import { until } from '../__test__/helpers/until.js';
import { canFallShort, errnosOf, mapStack } from './errnos.js';
import { alive, ended, facts, leftovers, wrongs, type Facts } from './judge.js';
import { callsOf, inParallel, inPlace } from './rounds.js';
import { scenarios, type Place, type Scenario } from './scenarios.js';
import { nameOf, traced, type Call, type Fault, type Traced } from './trace.js';

/** How a run with a fault has come out. */
export interface Verdict {
  readonly scenario: Scenario;
  readonly fault: Fault;
  /**
   * `told`: it failed, and said so with the errno; `generic`: it failed and said something else; `right`: it did what it should;
   * `missed`: this time the call was not made, as of two that wait for the same thing.
   */
  readonly outcome: 'told' | 'generic' | 'right' | 'wrong' | 'missed';
  readonly problems: readonly string[];
}

async function judgeStart(
  place: Place,
  fault: Fault,
  told: Traced,
  right: Facts,
): Promise<Omit<Verdict, 'scenario' | 'fault'>> {
  const { code, signal, stderr } = told;
  if (code === 0) {
    const isRight = (found: Facts) =>
      Object.keys(right).flatMap((key) =>
        found[key] === right[key] ? [] : [`${key} is ${found[key]} and not ${right[key]}`],
      );
    const problems = await wrongs(place, isRight);
    return { outcome: problems.length === 0 ? 'right' : 'wrong', problems };
  }
  await until('the processes have ended', () => alive(place).length === 0, 5000).catch(() => {});
  const problems = leftovers(place);
  const isOne = stderr.trimEnd().split('\n').length === 1 && stderr.trim() !== '';
  if (signal !== null) problems.push(`the launcher was ended by ${signal}`);
  if (!isOne) problems.push(`it is not told in one sentence: ${JSON.stringify(stderr)}`);
  const outcome = stderr.includes(`(${fault.action})`) ? 'told' : 'generic';
  return { outcome: problems.length === 0 ? outcome : 'wrong', problems };
}

async function judgeClient(
  place: Place,
  { name }: Scenario,
  fault: Fault,
  told: Traced,
): Promise<Omit<Verdict, 'scenario' | 'fault'>> {
  const { code, signal, stdout, stderr } = told;
  const problems: string[] = [];
  const now = status({ pidFile: place.pidFile });
  if (signal !== null) problems.push(`it was ended by ${signal}`);
  else if (code === 0) {
    const said = JSON.parse(stdout || 'null') as { state?: string; outcome?: string; pid?: number } | null;
    const pid = 'pid' in now ? now.pid : undefined;
    if (name === 'status' && (said?.state !== 'running' || said.pid !== pid)) problems.push(`it says ${stdout.trim()}`);
    // Told that there is no such process it sends no other SIGTERM, and in the end SIGKILL.
    const wasKilled = said?.outcome === 'killed' && fault.action === 'ESRCH';
    if (name === 'stop' && said?.outcome !== 'stopped' && !wasKilled) problems.push(`it says ${stdout.trim()}`);
    if (name === 'stop' && now.state !== 'stopped') problems.push(`it says stopped, but it is ${now.state}`);
  } else if (stderr.trimEnd().split('\n').length !== 1 || stderr.trim() === '') {
    problems.push(`it is not told in one sentence: ${JSON.stringify(stderr)}`);
  }
  const isGone = name === 'stop' && now.state !== 'running';
  if (!isGone && now.state !== 'running') problems.push(`the daemon is ${now.state}`);
  problems.push(...(await ended(place, now)));
  if (problems.length > 0) return { outcome: 'wrong', problems };
  return { outcome: code === 0 ? 'right' : stderr.includes(`(${fault.action})`) ? 'told' : 'generic', problems };
}

/** Every fault of a scenario, by the calls of a clean run. */
function faultsOf(calls: readonly Call[], isStart: boolean): Fault[] {
  const paths = new Map<number, string>();
  const stacks: { begin: number; end: number }[] = [];
  return calls.flatMap((call) => {
    const { name, details, result } = call;
    const [first, length, , flags] = details.split(' ').map(Number);
    if (name === 'mmap' && (flags! & mapStack) !== 0) stacks.push({ begin: result, end: result + length! });
    const isOfStack = stacks.some(({ begin, end }) => begin <= first! && first! < end);
    const actions = [...errnosOf(call, paths.get(first!), isOfStack)];
    if (result >= 0 && name === 'openat') paths.set(result, details);
    if (result >= 0 && name !== 'openat') paths.delete(result);
    if (actions.length === 0) return [];
    if (canFallShort.has(name) && Number(details.split(' ')[2]) > 1) actions.push('short');
    actions.push('delay=100');
    // That there is no pidfile is an answer for whoever only looks, and the right one then.
    const isAnswer = (action: string) => action === 'ENOENT' && !isStart && details.endsWith('app.pid"');
    return actions.filter((action) => !isAnswer(action)).map((action) => ({ call, action }));
  });
}

/** What a daemon of this scenario is when nothing fails. */
function factsOf(scenario: Scenario): Promise<Facts> {
  return inPlace(scenario, async ({ starts, pidFile }) => {
    const { code, stderr } = await run(starts[0]!, starts.slice(1));
    const found = status({ pidFile });
    if (code !== 0 || found.state !== 'running') throw new Error(`"${scenario.name}" does not start: ${stderr}`);
    const right = facts(found.pid);
    return right;
  });
}

/** Which faults are tried. */
export interface Choice {
  /** One in so many. */
  readonly every: number;
  /** Only those whose name has this text. */
  readonly only: string;
}

/** Tries them all, and prints what was wrong. */
export async function tryFaults({ every, only }: Choice): Promise<Verdict[]> {
  const verdicts: Verdict[] = [];
  for (const scenario of scenarios) {
    const calls = await callsOf(scenario);
    const right = scenario.isStart ? await factsOf(scenario) : {};
    const faults = faultsOf(calls, scenario.isStart)
      .filter((fault) => `${scenario.name}: ${nameOf(fault)}`.includes(only))
      .filter((_, index) => index % every === 0);
    console.log(`${scenario.name}: ${calls.length} calls, ${faults.length} faults`);
    await inParallel(faults, async (fault) => {
      const verdict = await inPlace(scenario, async (place) => {
        const told = await traced(place.command, `${place.path}/trace`, fault);
        const isIt = ({ role, name, number }: Call) =>
          role === fault.call.role && name === fault.call.name && number === fault.call.number;
        if (!told.calls.some(isIt)) return { outcome: 'missed' as const, problems: [] };
        return scenario.isStart ? judgeStart(place, fault, told, right) : judgeClient(place, scenario, fault, told);
      }).catch((error: unknown) => ({ outcome: 'wrong' as const, problems: [String(error)] }));
      verdicts.push({ scenario, fault, ...verdict });
      if (verdict.outcome !== 'wrong') return;
      console.log(
        `WRONG ${scenario.name}: ${nameOf(fault)} ${fault.call.details}: ${verdict.problems.join('; ').slice(0, 500)}`,
      );
    });
  }
  return verdicts;
}
