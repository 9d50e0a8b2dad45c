/**
 * What daemonry and its peers cost, and what they tell whoever types the command: `npm run bench`.
 *
 * All take turns in each round, so that whatever else the machine does hits them alike, and each start has a folder of its own.
 * Prints tables of medians. --docs puts them into docs/performance.md with docs/performance.svg, --json FILE writes the figures,
 * --rounds N says how many, --only NAME measures one peer beside daemonry.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { install, packages } from './install.mjs';
import { own, peers } from './peers.mjs';
import { endProcesses, isAlive, markOf, memoryOf, poll, processesOf, send, timeOf } from './processes.mjs';
import { machine, today } from '../tools/docs/generated.mjs';
import { summaryOf, tablesOf, writePage } from './report.mjs';

/** In milliseconds: how long anything may take; what a program that crashes may take; what counts as calm when unchanged so long. */
const deadline = 30_000;
const patience = 10_000;
const calm = 1500;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '20' },
    only: { type: 'string' },
    json: { type: 'string' },
    docs: { type: 'boolean' },
  },
});
const rounds = Number(values.rounds);
if (!(rounds > 0)) throw new Error(`--rounds must be a positive number, not ${values.rounds}`);
if (process.platform !== 'linux') throw new Error('on Linux only: what stays resident is read from /proc');

const reason = 'no configuration';
const programs = {
  // Its first line tells when it began, by the clock that all processes share.
  works: `const begun = process.hrtime.bigint();
require('node:fs').appendFileSync(__dirname + '/lines', process.pid + ' ' + begun + '\\n');
setInterval(() => {}, 1_000_000);
`,
  crashes: `throw new Error('${reason}');\n`,
};

const scratch = fs.mkdtempSync(`${tmpdir()}/daemonry-bench-`);

/** Calls back with a fresh folder that has the program, then ends and removes all that has come to be in it. */
async function inFolder({ files, before }, program, work) {
  const folder = fs.mkdtempSync(`${scratch}/`);
  try {
    const all = Object.entries({ 'service.js': programs[program], ...files });
    for (const [file, text] of all) fs.writeFileSync(`${folder}/${file}`, text);
    if (before !== undefined && (await type(before, folder)).code !== 0) throw new Error(lastPrintedIn(folder));
    return await work(folder);
  } finally {
    await endProcesses(folder);
    fs.rmSync(folder, { recursive: true });
  }
}

/** Runs a command as from a prompt, and resolves when the prompt would come back. */
async function type([command, ...args], folder, timeout = deadline) {
  const output = fs.openSync(`${folder}/printed`, 'a');
  const homes = { HOME: folder, PM2_HOME: `${folder}/pm2`, FOREVER_ROOT: `${folder}/forever` };
  // Else pm2 asks the network for its newest version.
  const env = { ...process.env, ...markOf(folder), ...homes, PM2_DISABLE_VERSION_CHECK: 'true' };
  const begun = process.hrtime.bigint();
  const child = spawn(command, args, { cwd: folder, env, stdio: ['ignore', output, output] });
  fs.closeSync(output);
  const exited = once(child, 'exit').then(([code, signal]) => ({
    code: code ?? signal,
    ended: process.hrtime.bigint(),
  }));
  const result = await Promise.race([exited, delay(timeout, undefined, { ref: false })]);
  if (result === undefined) throw Object.assign(new Error(`no prompt within ${timeout / 1000} s`), { hangs: true });
  return { ...result, begun };
}

const printedIn = (folder) => fs.readFileSync(`${folder}/printed`, 'utf8').trim();
const lastPrintedIn = (folder) => printedIn(folder).split('\n').at(-1) || 'nothing was printed';

/** The same, where it is a result if the prompt does not come back. */
const typeOrHang = (command, folder) =>
  type(command, folder, patience).catch((error) => {
    if (error.hangs) return { code: 'hangs' };
    throw error;
  });

const milliseconds = (from, to) => Number(to - from) / 1e6;

/** Who has written a first line, and when. */
function begunIn(folder) {
  if (!fs.existsSync(`${folder}/lines`)) return [];
  const lines = fs.readFileSync(`${folder}/lines`, 'utf8').trimEnd().split('\n');
  return lines.map((line) => line.split(' ')).map(([pid, at]) => ({ pid: Number(pid), at: BigInt(at) }));
}

async function firstLineIn(folder) {
  const first = await poll(() => begunIn(folder)[0], deadline);
  if (first === undefined)
    throw new Error(`the program did not begin within ${deadline / 1000} s: ${lastPrintedIn(folder)}`);
  return first.at;
}

function hasLivePid(pidFile) {
  const pid = fs.existsSync(pidFile) ? Number.parseInt(fs.readFileSync(pidFile, 'utf8')) : 0;
  return pid > 0 && isAlive(pid);
}

/** What there is once the machine is calm again. */
async function residentIn(folder) {
  await delay(calm);
  const pids = processesOf(folder);
  return { ...memoryOf(pids), processes: pids.length };
}

const startOne = (peer) =>
  inFolder(peer, 'works', async (folder) => {
    const { begun, ended, code } = await type(peer.start(folder), folder);
    const live = peer.pidFile !== undefined && hasLivePid(`${folder}/${peer.pidFile}`);
    if (code !== 0) throw new Error(`a start ended with ${code}: ${lastPrintedIn(folder)}`);
    const first = await firstLineIn(folder);
    const times = { prompt: milliseconds(begun, ended), first: milliseconds(begun, first) };
    return { ...times, live, up: first < ended, ...(await residentIn(folder)) };
  });

/** Whether the prompts came back, and how many programs run in the end. */
const startTwo = (peer) =>
  inFolder(peer, 'works', async (folder) => {
    const ends = await Promise.all([0, 1].map(() => typeOrHang(peer.start(folder), folder)));
    const hanging = ends.filter(({ code }) => code === 'hangs').length;
    let seen;
    let since;
    const isCalm = () => {
      const pids = processesOf(folder);
      // One that is still booting has written nothing, but is at work.
      const now = `${pids} ${begunIn(folder).length} ${Math.round(timeOf(pids) / 0.04)}`;
      if (now !== seen) [seen, since] = [now, performance.now()];
      return performance.now() - since > calm ? true : undefined;
    };
    if (!(await poll(isCalm, deadline))) throw new Error(`two starts did not come to rest within ${deadline / 1000} s`);
    const pids = new Set(processesOf(folder));
    const running = begunIn(folder).filter(({ pid }) => pids.has(pid)).length;
    return `${['none runs', 'one runs', 'both run'][running]}${hanging > 0 ? ', a prompt hangs' : ''}`;
  });

const startOneThatCrashes = (peer) =>
  inFolder(peer, 'crashes', async (folder) => {
    const { code } = await typeOrHang(peer.start(folder), folder);
    return { code, told: printedIn(folder).includes(reason) };
  });

const measure = async (peer) => ({
  ...(await startOne(peer)),
  two: await startTwo(peer),
  ...(await startOneThatCrashes(peer)),
});

/** The least that a start can cost that waits: the launcher's boot, and the daemon's. */
const bareBoots = () =>
  inFolder({}, 'works', async (folder) => {
    const boots = [];
    for (let boot = 0; boot < 2; boot++) boots.push(await type([process.execPath, '-e', '0'], folder));
    return { prompt: milliseconds(boots[0].begun, boots[1].ended) };
  });

/** The same program without any daemonizer. */
const plainly = () =>
  inFolder({}, 'works', async (folder) => {
    const begun = process.hrtime.bigint();
    const ended = type([process.execPath, 'service.js'], folder);
    const first = await firstLineIn(folder);
    const resident = await residentIn(folder);
    await endProcesses(folder);
    await ended;
    return { first: milliseconds(begun, first), ...resident };
  });

function prepare() {
  console.error('installing the peers');
  const found = install(peers.filter(({ name }) => values.only === undefined || name === values.only));
  const folders = packages(found);
  fs.mkdirSync(`${scratch}/node_modules`);
  for (const [name, folder] of folders) fs.symlinkSync(folder, `${scratch}/node_modules/${name}`);
  const bare = { name: 'two bare boots of Node.js', command: 'node -e 0', ours: true, measure: bareBoots };
  const plain = { name: 'the program itself', command: 'node service.js', ours: true, measure: plainly };
  return [bare, plain, ...[...own, ...found].map((peer) => ({ ...peer, measure: () => measure(peer) }))];
}

async function run(contestants) {
  const taking = contestants.filter(({ missing }) => missing === undefined);
  for (const contestant of taking) Object.assign(contestant, { samples: [], failures: [] });
  // The first round pays for what is loaded only once.
  for (let round = -1; round < rounds; round++) {
    console.error(round < 0 ? 'warming up' : `round ${round + 1} of ${rounds}`);
    const order = [...taking];
    order.push(...order.splice(0, (round + order.length) % order.length));
    for (const { name, ours, measure, samples, failures } of order) {
      if (samples.length === 0 && failures.length >= 3) continue;
      try {
        const sample = await measure();
        if (round >= 0) samples.push(sample);
      } catch (error) {
        if (ours) throw new Error(`${name}: ${error.message}`, { cause: error });
        console.error(`${name}: ${error.message}`);
        failures.push(error.message);
      }
    }
  }
}

function removeAll() {
  for (const pid of processesOf(scratch)) send(pid, 'SIGKILL');
  fs.rmSync(scratch, { recursive: true, force: true, maxRetries: 5 });
}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, () => {
    removeAll();
    process.kill(process.pid, signal);
  });
}

try {
  const date = today();
  const load = loadavg()[0].toFixed(1);
  const contestants = prepare();
  await run(contestants);
  const summary = summaryOf({ date, machine: `${machine}, load ${load} before`, rounds, contestants });
  console.log(tablesOf(summary));
  if (values.json !== undefined) fs.writeFileSync(values.json, `${JSON.stringify(summary, null, 2)}\n`);
  if (values.docs) await writePage(summary);
} finally {
  removeAll();
}
