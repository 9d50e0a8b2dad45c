/** Parts that are test files, with more rounds than `npm test` gives them. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Row } from '../../__test__/helpers/counts.js';
import { run } from '../../__test__/helpers/run.js';
import { root, type Part, type Result } from './suite.js';

/** What the tests of a part have counted. */
export interface Rows extends Result {
  readonly rows: readonly Row[];
}

interface AvaOptions {
  readonly env: Readonly<Record<string, string>>;
  readonly key: number;
  /** Runs only the tests whose title matches. */
  readonly match?: string;
  /** A command that runs the command that follows it. */
  readonly via?: readonly string[];
}

const minutes = 60;

export function avaPart(name: string, file: string, { env, key, match, via = [] }: AvaOptions): Part<Rows> {
  const title = `${file}, ${name}`;
  return {
    name: title,
    key,
    async run() {
      const counts = mkdtempSync(join(tmpdir(), 'daemonry-counts-'));
      try {
        const matching = match === undefined ? [] : ['--match', match];
        const ava = ['npx', '--no-install', 'ava', '--timeout', `${minutes}m`, ...matching, `__test__/${file}`];
        const [command, ...args] = [...via, ...ava];
        const { code, signal, stdout, stderr } = await run(command!, args, {
          cwd: root,
          env: { ...process.env, ...env, DAEMONRY_TEST_COUNTS: counts },
          deadline: minutes * 60_000,
        });
        const isRight = code === 0;
        console.log(`${isRight ? 'ok' : 'FAILED'} ${title}`);
        if (!isRight) console.log(`${stdout}${stderr}`);
        return { wrong: isRight ? [] : [`ava ended with ${signal ?? code}`], rows: rowsIn(counts) };
      } finally {
        rmSync(counts, { recursive: true });
      }
    },
  };
}

function rowsIn(folder: string): Row[] {
  return readdirSync(folder).map((file) => JSON.parse(readFileSync(join(folder, file), 'utf8')) as Row);
}

/** The rows of a table, one for each title and place, with the figures of all parts added up. In the order of the tests. */
export function rowsOf(results: readonly Rows[], table: string): Row[] {
  const merged = new Map<string, Row>();
  const rows = results.flatMap(({ rows }) => rows).filter((row) => row.table === table);
  for (const row of rows.sort((one, other) => one.at - other.at)) {
    const key = JSON.stringify([row.place, row.title]);
    merged.set(key, merged.has(key) ? (sum(merged.get(key), row) as Row) : row);
  }
  return [...merged.values()];
}

/** Adds up numbers, also within objects. Of anything else, such as a title, the first one counts. */
function sum(one: unknown, other: unknown): unknown {
  if (typeof one === 'number' && typeof other === 'number') return one + other;
  if (!isPlain(one) || !isPlain(other)) return one ?? other;
  const names = new Set([...Object.keys(one), ...Object.keys(other)]);
  return Object.fromEntries([...names].map((name) => [name, sum(one[name], other[name])]));
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
