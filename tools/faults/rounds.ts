/** Rounds in places of their own. */
import { until } from '../../__test__/helpers/until.js';
import { alive } from './judge.js';
import { remove, type Place, type Scenario } from './scenarios.js';
import { traced, type Call } from './trace.js';

/** Prepares a place, runs what is to be traced, judges, and removes the place with whatever is left in it. */
export async function inPlace<T>(scenario: Scenario, work: (place: Place) => Promise<T>): Promise<T> {
  const place = await scenario.prepare();
  active.add(place);
  try {
    return await work(place);
  } finally {
    kill(place);
    await until('the processes have ended', () => alive(place).length === 0);
    remove(place);
    active.delete(place);
  }
}

const active = new Set<Place>();

function kill(place: Place): void {
  for (const process of alive(place)) process.kill();
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    for (const place of active) {
      kill(place);
      remove(place);
    }
    process.kill(process.pid, signal);
  });
}

/** The calls of a run in which nothing fails. */
export function callsOf(scenario: Scenario): Promise<readonly Call[]> {
  return inPlace(scenario, async (place) => {
    const { code, stderr, calls } = await traced(place.command, `${place.path}/trace`);
    if ((code !== 0) !== (scenario.fails ?? false))
      throw new Error(`"${scenario.name}" exits with ${code} without a fault: ${stderr}`);
    return calls;
  });
}

/** Whether a call is one that a scenario is there for. */
export function concerns({ roles, names }: Scenario, { role, name }: Call): boolean {
  return (roles?.includes(role) ?? true) && (names?.includes(name) ?? true);
}
