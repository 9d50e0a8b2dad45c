/**
 * `npm run test:faults`: makes every system call of a start, of status, signal, reload and stop fail, one at a time, with each error that it
 * can have, fall short, or come late; kills the processes of a start at each of their calls, and at random moments.
 */
import { availableParallelism } from 'node:os';
import { tally } from '../reliability/page.js';
import type { Suite } from '../reliability/suite.js';
import { crashParts, randomCrashParts, type Crash } from './crashes.js';
import { faultParts, type Verdict } from './faults.js';
import { crashTable, faultTable } from './report.js';

const verdictsIn = (results: readonly (Verdict | Crash)[]) => results.filter((result) => result.kind === 'fault');
const crashesIn = (results: readonly (Verdict | Crash)[]) => results.filter((result) => result.kind === 'crash');

function counts(kinds: readonly string[]): string {
  return [...tally(kinds)].map(([kind, count]) => `${count} ${kind}`).join(', ');
}

/** `random` kills at a random moment; a seed repeats the moments. */
export function faults({ random, seed }: { random: number; seed: number }): Suite<Verdict | Crash> {
  return {
    name: 'faults',
    sources: ['__test__/helpers', 'tools/faults'],
    atOnce: availableParallelism(),
    async *groups() {
      yield* faultParts();
      yield* crashParts();
      yield randomCrashParts(random, seed);
    },
    summary(results) {
      const [verdicts, crashes] = [verdictsIn(results), crashesIn(results)];
      const tried = [
        `${verdicts.length} faults: ${counts(verdicts.map(({ outcome }) => outcome))}`,
        `${crashes.length} crashes: ${counts(crashes.map(({ state }) => state))}`,
      ];
      return tried.join('; ');
    },
    tables: (results) => ({ faults: faultTable(verdictsIn(results)), crashes: crashTable(crashesIn(results)) }),
  };
}
