/**
 * What daemonry costs a program: the time to import it, over an empty module; a whole start that waits, over two bare boots of Node.js;
 * the memory of a daemon, over the same script run plainly. All of them take turns in one run; medians, and ratios or differences.
 * `--rounds N`; `--docs` puts the table into docs/performance.md.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { daemonStatus, stopDaemon } from '../dist/index.js';
import { machine, table, today, writeParts } from '../tools/docs/generated.mjs';

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '40' }, docs: { type: 'boolean' } } });
const rounds = Number(values.rounds);
const library = new URL('../dist/index.js', import.meta.url).href;
const folder = mkdtempSync(join(tmpdir(), 'daemonry-footprint-'));
const pidFile = join(folder, 'a.pid');

function write(name, text) {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
}

const timed = (what) =>
  `const begun = performance.now(); await import('${what}'); console.log(performance.now() - begun);`;
const empty = write('empty.mjs', '');
const programs = {
  importsNothing: write('nothing.mjs', timed(empty)),
  importsDaemonry: write('library.mjs', timed(library)),
  boots: write('boots.mjs', ''),
  starts: write(
    'starts.mjs',
    `import { daemonize } from '${library}'; daemonize({ pidFile: '${pidFile}' }, () => void setInterval(() => {}, 1e6));`,
  ),
  plain: write('plain.mjs', 'setInterval(() => {}, 1e6);'),
};

function run(program) {
  const begun = performance.now();
  const { status: code, stdout, stderr } = spawnSync(process.execPath, [program], { encoding: 'utf8' });
  if (code !== 0) throw new Error(`${program} failed: ${stderr}`);
  return { took: performance.now() - begun, printed: Number(stdout) };
}

/** What a process has for itself and its part of what it shares, in MB (proc(5), "smaps_rollup"). */
function memory(pid) {
  return Number(/^Pss:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))[1]) / 1024;
}

/** Long enough for what a boot leaves to be cleared away. */
const settled = 500;

async function memories() {
  const plain = spawn(process.execPath, [programs.plain], { stdio: 'ignore' });
  run(programs.starts);
  await sleep(settled);
  const both = { plainMemory: memory(plain.pid), daemonMemory: memory((await daemonStatus({ pidFile })).pid) };
  plain.kill();
  await stopDaemon({ pidFile });
  return both;
}

const samples = [];
try {
  for (let round = -1; round < rounds; round++) {
    const boots = run(programs.boots).took + run(programs.boots).took;
    const start = run(programs.starts).took;
    await stopDaemon({ pidFile });
    const nothing = run(programs.importsNothing).printed;
    const library = run(programs.importsDaemonry).printed;
    const sample = { boots, start, nothing, library, ...(await memories()) };
    // The first round pays for what the machine has to read first.
    if (round >= 0) samples.push(sample);
  }
} finally {
  await stopDaemon({ pidFile });
  rmSync(folder, { recursive: true });
}

/** The median of something about a round, so that a cost is over what it was without in the same second. */
const median = (about) => samples.map(about).toSorted((one, other) => one - other)[Math.floor(rounds / 2)];
const ms = (about) => `${median(about).toFixed(1)} ms`;
const mb = (about) => `${median(about).toFixed(1)} MB`;
const rows = [
  [
    'import',
    ms(({ library }) => library),
    `${ms(({ nothing }) => nothing)}, an empty module`,
    ms(({ library, nothing }) => library - nothing),
    '5 ms',
  ],
  [
    'a start that waits',
    ms(({ start }) => start),
    `${ms(({ boots }) => boots)}, two bare boots of Node.js`,
    `× ${median(({ start, boots }) => start / boots).toFixed(2)}`,
    '× 1.05',
  ],
  [
    'memory of the daemon',
    mb(({ daemonMemory }) => daemonMemory),
    `${mb(({ plainMemory }) => plainMemory)}, the same script run plainly`,
    mb(({ daemonMemory, plainMemory }) => daemonMemory - plainMemory),
    '2 MB',
  ],
];
const costs = table(['', 'with daemonry', 'without', 'cost', 'at most'], rows);
const head = `${machine}, ${rounds} rounds`;
console.log(`${head}\n\n${costs}`);
if (values.docs) await writeParts('docs/performance.md', { footprint: `${today()}, ${head}:\n\n${costs}` });
