/**
 * What a launch costs from processes of different sizes: from the call until the program's image is executed.
 *
 * Each size is a process of its own, in which the ways to launch take turns, so that whatever else the machine does hits all of
 * them alike. Prints a table of medians in milliseconds and of ratios. --json FILE writes the figures, --docs puts the table into
 * docs/performance.md.
 */
import { spawn, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { freemem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { spawnDaemon } from '../dist/index.js';
import { machine, table, today, writeParts } from '../tools/docs/generated.mjs';

const megabyte = 1024 * 1024;
const program = ['/bin/sleep', ['0.05']];

const { values } = parseArgs({
  options: {
    resident: { type: 'string' },
    rounds: { type: 'string', default: '40' },
    json: { type: 'string' },
    docs: { type: 'boolean' },
  },
});
const rounds = Number(values.rounds);

/** The ways to launch; each resolves when the program is executed. */
const ways = {
  // Returns once libuv's child has executed the program.
  'child_process.spawn': async () => {
    const child = spawn(...program, { detached: true, stdio: 'ignore' });
    child.unref();
    return child;
  },
  'daemonry, fork by copying': () => launch('copy'),
  daemonry: () => launch('automatic'),
};

async function launch(way) {
  process.env['DAEMONRY_FORK'] = way;
  return spawnDaemon(...program);
}

const median = (numbers) => numbers.toSorted((one, other) => one - other)[Math.floor(numbers.length / 2)];

/** In a process of its own: fills the memory, lets the ways take turns, prints the medians. */
async function measure(resident) {
  const ballast = [];
  while (process.memoryUsage.rss() < resident * megabyte) ballast.push(Buffer.alloc(8 * megabyte, ballast.length + 1));
  const times = Object.fromEntries(Object.keys(ways).map((way) => [way, []]));
  // The first round pays for what is loaded only once.
  for (let round = -1; round < rounds; round++) {
    // In turn each way follows each other: after a copy of the memory the next write to every page of it is a fault.
    const order = Object.entries(ways);
    order.push(...order.splice(0, (round + order.length) % order.length));
    for (const [way, start] of order) {
      const begun = process.hrtime.bigint();
      await start();
      const took = Number(process.hrtime.bigint() - begun) / 1e6;
      if (round >= 0) times[way].push(took);
    }
  }
  const rss = Math.round(process.memoryUsage.rss() / megabyte);
  const medians = Object.fromEntries(Object.entries(times).map(([way, taken]) => [way, median(taken)]));
  process.stdout.write(JSON.stringify({ rss, kept: ballast.length, medians }));
}

function run(resident) {
  const needed = (resident + 512) * megabyte;
  if (freemem() < needed) {
    console.log(`${resident} MB: skipped, for the machine has only ${Math.round(freemem() / megabyte)} MB free`);
    return undefined;
  }
  const args = [fileURLToPath(import.meta.url), '--resident', String(resident), '--rounds', String(rounds)];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return { resident, ...JSON.parse(stdout) };
}

function tableOf(results) {
  const names = Object.keys(ways);
  const head = ['resident', ...names, 'spawn ÷ daemonry', 'copying ÷ daemonry', 'daemonry ÷ its smallest'];
  const least = Math.min(...results.map(({ medians }) => medians.daemonry));
  const rows = results.map(({ rss, medians }) => [
    `${rss} MB`,
    ...names.map((way) => `${medians[way].toFixed(2)} ms`),
    (medians['child_process.spawn'] / medians.daemonry).toFixed(1),
    (medians['daemonry, fork by copying'] / medians.daemonry).toFixed(1),
    (medians.daemonry / least).toFixed(2),
  ]);
  const headings = head.map((heading) => `${heading}:`);
  return table(headings, rows);
}

if (values.resident === undefined) {
  const results = [50, 1024, 4096].map(run).filter((result) => result !== undefined);
  const costs = tableOf(results);
  const head = `${machine}, ${rounds} rounds`;
  console.log(`${head}\n\n${costs}`);
  if (values.docs) await writeParts('docs/performance.md', { launch: `${today()}, ${head}:\n\n${costs}` });
  if (values.json !== undefined) {
    const figures = { date: new Date().toISOString(), machine: head, rounds, results };
    writeFileSync(values.json, `${JSON.stringify(figures, null, 2)}\n`);
    console.log(`\nwritten to ${values.json}`);
  }
} else {
  await measure(Number(values.resident));
}
