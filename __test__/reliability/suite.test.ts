/** Long suites: an interrupted run continues, changed sources begin anew, and only a whole set of shards is a result. */
import { appendFileSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { root, runShard, wholeSuite, type Result, type Suite } from '../../tools/reliability/suite.js';

interface Figures extends Result {
  readonly part: number;
}

let count = 0;

/** A suite of ten parts, whose source can be changed, and which notes what it runs. */
function tenParts(t: ExecutionContext) {
  const name = `test-${process.pid}-${++count}`;
  const folder = join(root, 'target', 'reliability', name);
  const source = join('target', 'reliability', `${name}.source`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(root, source), 'one state');
  t.teardown(() => {
    rmSync(folder, { recursive: true });
    rmSync(join(root, source));
  });
  const ran: number[] = [];
  let [failing, interrupted] = [-1, -1];
  const suite: Suite<Figures> = {
    name,
    sources: [source],
    atOnce: 1,
    groups: () => [
      Array.from({ length: 10 }, (_, part) => ({
        name: `part ${part}`,
        key: part,
        async run() {
          if (part === interrupted) throw new Error('interrupted');
          ran.push(part);
          return { part, wrong: part === failing ? ['it fails'] : [] };
        },
      })),
    ],
    summary: (results) => `${results.length} parts`,
    tables: () => ({}),
  };
  return {
    suite,
    files: () => readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.jsonl')),
    changed: () => writeFileSync(join(root, source), 'another state'),
    fails: (part: number) => (failing = part),
    interruptedAt: (part: number) => (interrupted = part),
    torn: (file: string) => appendFileSync(join(folder, file), '{"part": "torn'),
    ran: () => ran.splice(0),
  };
}

const plain = { only: '', every: 1, keeps: true, isFresh: false };
const shard = (number: number, of: number) => ({ ...plain, shard: { number, of } });
const partsOf = (results: readonly Figures[]) => results.map(({ part }) => part).sort();

test('each part belongs to one shard, and only all shards make a whole', async (t) => {
  const { suite } = tenParts(t);
  t.is(wholeSuite(suite, 3), 'the shards 1, 2, 3 of 3 are missing');
  t.deepEqual(partsOf(await runShard(suite, shard(1, 3))), [0, 3, 6, 9]);
  t.deepEqual(partsOf(await runShard(suite, shard(3, 3))), [2, 5, 8]);
  t.is(wholeSuite(suite, 3), 'shard 2/3 is missing');
  t.deepEqual(partsOf(await runShard(suite, shard(2, 3))), [1, 4, 7]);
  t.deepEqual(partsOf(wholeSuite(suite, 3) as Figures[]), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  t.is(wholeSuite(suite, 1), 'shard 1/1 is missing');
});

test('a shard that was interrupted continues, also after half a line, and one that is done runs nothing', async (t) => {
  const { suite, files, interruptedAt, torn, ran } = tenParts(t);
  interruptedAt(6);
  await t.throwsAsync(runShard(suite, shard(1, 2)), { message: 'interrupted' });
  t.deepEqual(ran(), [0, 2, 4]);
  torn(files()[0]!);
  t.is(wholeSuite(suite, 2), 'the shards 1, 2 of 2 are missing');
  interruptedAt(-1);
  t.deepEqual(partsOf(await runShard(suite, shard(1, 2))), [0, 2, 4, 6, 8]);
  t.deepEqual(ran(), [6, 8]);
  t.deepEqual(partsOf(await runShard(suite, shard(1, 2))), [0, 2, 4, 6, 8]);
  t.deepEqual(ran(), []);
  await runShard(suite, { ...shard(1, 2), isFresh: true });
  t.deepEqual(ran(), [0, 2, 4, 6, 8]);
});

test('changed sources discard the results', async (t) => {
  const { suite, changed, files, ran } = tenParts(t);
  await runShard(suite, shard(1, 1));
  ran();
  changed();
  t.is(wholeSuite(suite, 1), 'shard 1/1 is missing');
  t.deepEqual(files(), []);
  await runShard(suite, shard(1, 1));
  t.is(ran().length, 10);
});

test('a wrong result is kept, and a whole with one is no result', async (t) => {
  const { suite, fails, ran } = tenParts(t);
  fails(7);
  await runShard(suite, shard(1, 1));
  t.is(wholeSuite(suite, 1), '1 of 10 results is wrong');
  ran();
  t.is((await runShard(suite, shard(1, 1))).filter(({ wrong }) => wrong.length > 0).length, 1);
  t.deepEqual(ran(), []);
});

test('a sample keeps nothing', async (t) => {
  const { suite, files, ran } = tenParts(t);
  await runShard(suite, { ...shard(1, 1), every: 3, keeps: false });
  t.deepEqual(ran(), [0, 3, 6, 9]);
  await runShard(suite, { ...shard(1, 1), only: 'part 4', keeps: false });
  t.deepEqual(ran(), [4]);
  t.deepEqual(files(), []);
  await t.throwsAsync(runShard(suite, { ...shard(1, 1), only: 'part 11', keeps: false }), {
    message: /has no such part/,
  });
});
