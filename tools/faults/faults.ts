/** Every system call made to fail, to fall short or to come late, one at a time. */
import { daemonStatus, stopDaemon } from '../../dist/index.js';
import { until } from '../../__test__/helpers/until.js';
import { canFallShort, errnosOf, mapStack } from './errnos.js';
import { alive, ended, facts, leftovers, wrongs, type Facts } from './judge.js';
import type { Part, Result } from '../reliability/suite.js';
import { callsOf, concerns, inPlace } from './rounds.js';
import { scenarios, type Place, type Scenario } from './scenarios.js';
import { nameOf, traced, untraced, type Call, type Fault, type Traced } from './trace.js';

/** How a run with a fault has come out. */
export interface Verdict extends Result {
  readonly kind: 'fault';
  readonly call: string;
  readonly action: string;
  /**
   * `told`: it failed, and said so with the errno; `generic`: it failed and said something else; `right`: it did what it should;
   * `missed`: this time the call was not made, as of two that wait for the same thing.
   */
  readonly outcome: 'told' | 'generic' | 'right' | 'wrong' | 'missed';
}

interface Judgement {
  readonly outcome: Verdict['outcome'];
  readonly problems: readonly string[];
}

async function judgeStart(
  place: Place,
  { fails = false }: Scenario,
  fault: Fault,
  told: Traced,
  right: Facts,
): Promise<Judgement> {
  const { code, signal, stderr } = told;
  if (code === 0 && fails) return { outcome: 'wrong', problems: ['it says that it is up'] };
  if (code === 0) {
    const isRight = (found: Facts) =>
      Object.keys(right).flatMap((key) =>
        found[key] === right[key] ? [] : [`${key} is ${found[key]} and not ${right[key]}`],
      );
    const problems = await wrongs(place, isRight);
    return { outcome: problems.length === 0 ? 'right' : 'wrong', problems };
  }
  const now = () => daemonStatus({ pidFile: place.pidFile });
  const isFormer = async () => place.replaces && (await now()).state === 'running' && alive(place).length === 1;
  // A start that fails before it gets there leaves what it has found.
  if (place.crashed !== undefined) await stopDaemon({ pidFile: place.pidFile });
  await until('the processes have ended', async () => alive(place).length === 0 || (await isFormer()), 5000).catch(
    () => {},
  );
  const problems = (await isFormer()) ? await ended(place, await now()) : await leftovers(place);
  const isOne = stderr.trimEnd().split('\n').length === 1 && stderr.trim() !== '';
  if (signal !== null) problems.push(`the launcher was ended by ${signal}`);
  if (!isOne) problems.push(`it is not told in one sentence: ${JSON.stringify(stderr)}`);
  const outcome = stderr.includes(`(${fault.action})`) ? 'told' : 'generic';
  return { outcome: problems.length === 0 ? outcome : 'wrong', problems };
}

async function judgeClient(place: Place, { name }: Scenario, fault: Fault, told: Traced): Promise<Judgement> {
  const { code, signal, stdout, stderr } = told;
  const problems: string[] = [];
  const now = await daemonStatus({ pidFile: place.pidFile });
  const isStop = name.startsWith('stop');
  if (signal !== null) problems.push(`it was ended by ${signal}`);
  else if (code === 0) {
    const said = JSON.parse(stdout || 'null') as {
      state?: string;
      outcome?: string;
      pid?: number;
      othersLeft?: number;
    } | null;
    const pid = 'pid' in now ? now.pid : undefined;
    if (name === 'status' && (said?.state !== 'running' || said.pid !== pid)) problems.push(`it says ${stdout.trim()}`);
    // Told that there is no such process it sends no other SIGTERM, and in the end SIGKILL.
    const wasKilled = said?.outcome === 'killed' && fault.action === 'ESRCH';
    if (name === 'reload' && !['reloaded', 'signalled'].includes(said?.outcome ?? ''))
      problems.push(`it says ${stdout.trim()}`);
    if (isStop && said?.outcome !== 'stopped' && !wasKilled) problems.push(`it says ${stdout.trim()}`);
    if (isStop && alive(place).length > 0 && said?.othersLeft === undefined)
      problems.push(`it leaves ${alive(place).join()} and does not say so`);
    if (isStop && now.state !== 'stopped' && !(wasKilled && now.state === 'dead'))
      problems.push(`it says stopped, but it is ${now.state}`);
  } else if (stderr.trimEnd().split('\n').length !== 1 || stderr.trim() === '') {
    problems.push(`it is not told in one sentence: ${JSON.stringify(stderr)}`);
  }
  const isGone = isStop && now.state !== 'running';
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
    const { code, stderr } = await untraced(starts);
    const found = await daemonStatus({ pidFile });
    if (code !== 0 || found.state !== 'running') throw new Error(`"${scenario.name}" does not start: ${stderr}`);
    const right = facts(found.pid);
    return right;
  });
}

/** Every fault of every scenario: a group for each. */
export async function* faultParts(): AsyncGenerator<Part<Verdict>[]> {
  for (const scenario of scenarios) {
    const calls = await callsOf(scenario);
    const right = scenario.isStart && !scenario.fails ? await factsOf(scenario) : {};
    const faults = faultsOf(calls, scenario.isStart).filter(({ call }) => concerns(scenario, call));
    console.log(`${scenario.name}: ${calls.length} calls, ${faults.length} faults`);
    yield faults.map((fault) => ({
      name: `${scenario.name}: ${nameOf(fault)}`,
      run: () => tried(scenario, fault, right),
    }));
  }
}

async function tried(scenario: Scenario, fault: Fault, right: Facts): Promise<Verdict> {
  const { outcome, problems } = await inPlace(scenario, async (place) => {
    const told = await traced(place.command, `${place.path}/trace`, fault);
    const isIt = ({ role, name, number }: Call) =>
      role === fault.call.role && name === fault.call.name && number === fault.call.number;
    if (!told.calls.some(isIt)) return { outcome: 'missed' as const, problems: [] };
    return scenario.isStart
      ? judgeStart(place, scenario, fault, told, right)
      : judgeClient(place, scenario, fault, told);
  }).catch((error: unknown) => ({ outcome: 'wrong' as const, problems: [String(error)] }));
  const { name, details } = fault.call;
  const wrong = problems.length > 0 ? [`${details}: ${problems.join('; ').slice(0, 500)}`] : [];
  return { kind: 'fault', call: name, action: fault.action, outcome, wrong };
}
