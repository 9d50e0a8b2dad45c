/** Thousands of cycles in one process leave nothing in it, and nothing on the disk. */
import test from 'ava';
import { counted } from '../helpers/counts.js';
import { fixture, run } from '../helpers/run.js';
import { workspace } from '../helpers/workspace.js';

const cycles = Number(process.env['DAEMONRY_TEST_CYCLES'] ?? 200);
const megabyte = 2 ** 20;

/** What the program sees of itself after so many cycles; memory in bytes. */
interface Look {
  readonly cycle: number;
  readonly descriptors: number;
  readonly threads: number;
  readonly children: number;
  readonly zombies: number;
  readonly files: number;
  readonly heap: number;
  readonly resident: number;
}

/** What must not grow at all. */
const counts = ['descriptors', 'threads', 'children', 'zombies', 'files'] as const;

/**
 * What may, from the hundredth cycle on. Objects by what V8 itself keeps about code that has run often. Resident memory by what
 * V8's heap and the allocator take for good while they settle: 3 to 8 MB in runs of up to 60,000 cycles, nearly all of it in the
 * first 5,000. Over 10,000 cycles the limit is 1.3 kB a cycle; what is prepared for a launch, left unfreed, takes 13 kB.
 */
const growth = { heap: megabyte, resident: 12 * megabyte };

test(`${cycles} cycles of start, status, refused starts and stop leave nothing behind`, async (t) => {
  t.timeout(120_000 + cycles * 200);
  const { path } = workspace(t);
  // V8 lets its young generation grow with the work that is done, which hides whatever else grows.
  const flags = ['--expose-gc', '--max-semi-space-size=1'];
  const args = [...flags, fixture('soak.mjs'), path, String(cycles), String(Math.ceil(cycles / 10))];
  const { code, stdout, stderr } = await run(process.execPath, args, { deadline: 120_000 + cycles * 200 });
  t.is(code, 0, stderr);
  const looks = stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Look);
  for (const look of looks) t.log(Object.entries(look).flat().join(' '));
  const first = looks.find(({ cycle }) => cycle === 100)!;
  const later = looks.filter(({ cycle }) => cycle > 100);
  t.is(later.at(-1)?.cycle, cycles);
  for (const look of later) {
    for (const what of counts) t.true(look[what] <= first[what], `${what} after ${look.cycle} cycles: ${look[what]}`);
    for (const what of ['heap', 'resident'] as const) {
      t.true(look[what] - first[what] < growth[what], `${what} after ${look.cycle} cycles: ${look[what]} bytes`);
    }
  }
  t.deepEqual([first.children, first.zombies, first.files], [0, 0, 1], 'the log is left, and nothing else');
  counted('soak', 'soak', { cycles, looks, growth });
});
