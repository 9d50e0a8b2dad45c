/** `npm run test:soak`: 10,000 cycles of start and stop in one process, so it is one part. */
import { avaPart, rowsOf, type Rows } from './ava.js';
import { table } from '../docs/generated.mjs';
import { number } from './page.js';
import type { Suite } from './suite.js';

const cycles = 10_000;
const megabytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MB`;

export const soak: Suite<Rows> = {
  name: 'soak',
  sources: ['__test__/fixtures/soak.mjs', '__test__/helpers', '__test__/reliability/soak.test.ts'],
  atOnce: 1,
  groups: () => [
    [
      avaPart(`${cycles} cycles`, 'reliability/soak.test.ts', {
        env: { DAEMONRY_TEST_CYCLES: String(cycles) },
        key: 0,
      }),
    ],
  ],
  summary: (results) => `${number(results.filter(({ wrong }) => wrong.length === 0).length * cycles)} cycles`,
  tables: (results) => ({
    soak: table(
      ['Cycles', 'Descriptors', 'Threads', 'Children', 'Zombies', 'Files', 'Objects of V8', 'Resident'],
      (rowsOf(results, 'soak')[0]!['looks'] as Record<string, number>[]).map((look) => [
        ...['cycle', 'descriptors', 'threads', 'children', 'zombies', 'files'].map((what) => number(look[what]!)),
        ...['heap', 'resident'].map((what) => megabytes(look[what]!)),
      ]),
    ),
  }),
};
