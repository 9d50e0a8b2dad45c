/**
 * Runs one of the long suites: `faults`, `races` or `soak`.
 *
 * `--shard K/N` runs the K-th of N shards. Results are kept in target/reliability until the sources change: a run that was interrupted
 * continues by itself, and `--fresh` starts over. When all shards are done and nothing is wrong, their tables are written into
 * docs/reliability.md. `--only TEXT` runs the parts whose name contains TEXT, `--every N` one part in N; `faults` also has `--random N`,
 * the number of kills at a random moment, and `--seed N`. With any of these four no result is kept.
 */
import { parseArgs } from 'node:util';
import { faults } from '../faults/suite.js';
import { writeTables } from './page.js';
import { races } from './races.js';
import { soak } from './soak.js';
import { runShard, wholeSuite, type Shard, type Suite } from './suite.js';

const text = { type: 'string' } as const;
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { shard: text, only: text, every: text, random: text, seed: text, fresh: { type: 'boolean' } },
});
const { only, every, random, seed, fresh } = values;

const suites: Readonly<Record<string, () => Suite<any>>> = {
  faults: () => faults({ random: Number(random ?? 500), seed: Number(seed ?? Date.now() % 2 ** 32) }),
  races: () => races,
  soak: () => soak,
};

function shardOf(option: string): Shard {
  const [, number = 0, of = 0] = (/^(\d+)\/(\d+)$/.exec(option) ?? []).map(Number);
  if (number < 1 || number > of) throw new Error(`--shard must be K/N with K from 1 to N, not ${option}`);
  return { number, of };
}

const suite = suites[positionals[0] ?? '']?.();
if (suite === undefined) throw new Error(`the suites are ${Object.keys(suites).join(', ')}`);
const shard = shardOf(values.shard ?? '1/1');
const keeps = [only, every, random, seed].every((option) => option === undefined);
const results = await runShard(suite, {
  shard,
  only: only ?? '',
  every: Number(every ?? 1),
  keeps,
  isFresh: fresh ?? false,
});

if (keeps) {
  const whole = wholeSuite(suite, shard.of);
  if (typeof whole === 'string') console.log(`docs/reliability.md is left as it is, because ${whole}`);
  else await writeTables(suite, whole, shard.of);
}
process.exitCode = results.some(({ wrong }) => wrong.length > 0) ? 1 : 0;
