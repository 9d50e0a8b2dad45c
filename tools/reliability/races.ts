/** `npm run test:races`: the tests of races in thousands of rounds, a few rounds a part. */
import { spawnSync } from 'node:child_process';
import type { Counts } from '../../__test__/helpers/counts.js';
import { avaPart, rowsOf, type Rows } from './ava.js';
import { table } from '../docs/generated.mjs';
import { listed, number } from './page.js';
import type { Suite } from './suite.js';

interface Plan {
  readonly file: string;
  readonly rounds: number;
  /** How many rounds a part has. */
  readonly each: number;
  readonly match?: string;
  readonly inNamespace?: boolean;
}

const plans: readonly Plan[] = [
  { file: 'pidfile/races.test.ts', rounds: 1500, each: 100 },
  // Where Node.js boots for each launcher and each daemon.
  { file: 'pidfile/simultaneous-starts.test.ts', rounds: 100, each: 20 },
  { file: 'launch/reuse.test.ts', rounds: 10, each: 5 },
  { file: 'control/recycled-pids.test.ts', rounds: 1000, each: 100 },
  // A control that shows nothing in fewer rounds.
  { file: 'control/recycled-pids.test.ts', rounds: 1000, each: 1000, match: 'strangers are hit even *' },
  // Each attack has several rounds for one of these.
  { file: 'pidfile/hostile-user.test.ts', rounds: 500, each: 50 },
  // Where the kernel's list of locks is not complete.
  { file: 'pidfile/races.test.ts', rounds: 300, each: 60, inNamespace: true },
];

// The first process of the namespace has to reap.
const user = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'];
const unshare = ['unshare', ...user, '--pid', '--fork', '--mount-proc', '--kill-child'];
const namespace = [...unshare, 'sh', '-c', '"$@" & wait $!', 'sh'];

function partsOf({ file, rounds, each, match, inNamespace = false }: Plan) {
  const count = rounds / each;
  const env = { DAEMONRY_TEST_ROUNDS: String(each), ...(inNamespace ? { DAEMONRY_TEST_PLACE: 'PID namespace' } : {}) };
  const what = [match, inNamespace ? 'in a PID namespace' : undefined, `${each} rounds`].filter(Boolean).join(', ');
  return Array.from({ length: count }, (_, index) => ({
    name: `${what} (${index + 1} of ${count})`,
    file,
    options: { env, ...(match === undefined ? {} : { match }), via: inNamespace ? namespace : [] },
  }));
}

const ways: Readonly<Record<string, string>> = {
  daemonry: '`stopDaemon` and `signalDaemon`',
  killByContent: 'control: `kill` of the pid in the file',
  killByStatus: 'control: `daemonStatus`, then `kill` of its pid',
};

/** Figures of a row, whose names its test knows. */
const figure = (row: Readonly<Record<string, unknown>>, name: string) => number(row[name] as number);
const countsOf = (row: Readonly<Record<string, unknown>>, name: string) => listed(row[name] as Counts);

export const races: Suite<Rows> = {
  name: 'races',
  sources: ['__test__/fixtures', '__test__/helpers', ...new Set(plans.map(({ file }) => `__test__/${file}`))],
  atOnce: 1,
  groups() {
    const isAllowed = spawnSync(namespace[0]!, [...namespace.slice(1), 'true']).status === 0;
    if (!isAllowed) console.log('no races in a PID namespace of their own: this machine does not allow it');
    const parts = plans.filter(({ inNamespace }) => isAllowed || !inNamespace).flatMap(partsOf);
    return [parts.map(({ name, file, options }, key) => avaPart(name, file, { ...options, key }))];
  },
  summary(results) {
    const rounds = rowsOf(results, 'races').map((row) => row['rounds'] as number);
    return `${results.length} parts, ${number(rounds.reduce((sum, count) => sum + count, 0))} races`;
  },
  tables: (results) => ({
    races: table(
      ['Race', 'Where', 'Rounds, all right', 'What the callers were told, and what those saw who looked'],
      rowsOf(results, 'races').map((row) => [
        row.title,
        row.place ?? 'as it is',
        figure(row, 'rounds'),
        countsOf(row, 'counts'),
      ]),
    ),
    neighbour: table(
      ['What the neighbour does', 'Rounds', 'Effects', 'What root was told'],
      rowsOf(results, 'neighbour').map((row) => [row.title, figure(row, 'rounds'), '0', countsOf(row, 'counts')]),
    ),
    strangers: table(
      ['Who stops and signals', 'Strangers hit', 'Bystanders', 'Of these with the pid in the pidfile', 'Calls'],
      rowsOf(results, 'strangers').map((row) => [
        ways[row.title]!,
        row['hit'] === 0 ? '0' : `${figure(row, 'hit')} (by signal: ${countsOf(row, 'hits')})`,
        figure(row, 'bystanders'),
        figure(row, 'inPlaceOfDaemon'),
        countsOf(row, 'calls'),
      ]),
    ),
  }),
};
