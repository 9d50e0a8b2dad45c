/**
 * Makes every system call of a start, of status, sendSignal and stop fail, one at a time, with each error that it can have, fall short,
 * or come late; kills the processes of a start at each of their calls, and at random moments. Prints what was wrong, and counts.
 *
 * `--every N` takes one fault in N, `--only TEXT` those whose name has it, `--random N` so many random kills (`--seed N`); `--docs`
 * writes the counts into docs/reliability.md.
 */
import { parseArgs } from 'node:util';
import { tryCrashes, tryRandomCrashes } from './crashes.js';
import { tryFaults } from './faults.js';
import { tally, writePage } from './report.js';

const text = { type: 'string' } as const;
const { values } = parseArgs({
  options: { every: text, only: text, random: text, seed: text, docs: { type: 'boolean' } },
});
const choice = { every: Number(values.every ?? 1), only: values.only ?? '' };

const seed = Number(values.seed ?? Date.now() % 2 ** 32);

const verdicts = await tryFaults(choice);
const crashes = [...(await tryCrashes(choice)), ...(await tryRandomCrashes(Number(values.random ?? 500), seed))];

const outcomes = tally(verdicts.map(({ outcome }) => outcome));
const states = tally(crashes.map(({ state }) => state));
const counts = (kinds: ReadonlyMap<string, number>) => [...kinds].map(([kind, count]) => `${count} ${kind}`).join(', ');
console.log(`${verdicts.length} faults: ${counts(outcomes)}`);
console.log(`${crashes.length} crashes: ${counts(states)}`);
const options = process.argv.slice(2).filter((argument) => argument !== '--docs');
if (values.docs) await writePage(verdicts, crashes, options);
process.exitCode = outcomes.has('wrong') || states.has('wrong') ? 1 : 0;
