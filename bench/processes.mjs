/** The processes of one start: found by a variable of their environment, whatever they call themselves, and by their parents. */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

const variable = 'DAEMONRY_BENCH';

/** What whoever is started in this folder, or below it, is known by. */
export const markOf = (folder) => ({ [variable]: `${folder}/` });

/** Undefined where the process has gone. */
function read(pid, file) {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ESRCH', 'EACCES'].includes(error.code)) return undefined;
    throw error;
  }
}

/** Its parent and the time it has used, in clock ticks, unless it is dead, also if nobody has reaped it yet. */
function statOf(pid) {
  const stat = read(pid, 'stat');
  if (stat === undefined) return undefined;
  const [state, ...numbers] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  if ('ZX'.includes(state)) return undefined;
  return { parent: Number(numbers[0]), used: Number(numbers[10]) + Number(numbers[11]) };
}

export const isAlive = (pid) => statOf(pid) !== undefined;

/** The pids of all that live. A program whose environment was cleared is known by its parent. */
export function processesOf(folder) {
  const parents = new Map();
  const found = new Set();
  for (const pid of readdirSync('/proc').filter(Number).map(Number)) {
    const stat = statOf(pid);
    if (stat === undefined) continue;
    parents.set(pid, stat.parent);
    const marked = read(pid, 'environ')
      ?.split('\0')
      .some((pair) => pair.startsWith(`${variable}=${folder}/`));
    if (marked) found.add(pid);
  }
  const isBelow = (pid) => pid !== undefined && (found.has(pid) || isBelow(parents.get(pid)));
  return [...parents.keys()].filter(isBelow);
}

/** How much time they have used, in seconds. */
export const timeOf = (pids) => pids.reduce((sum, pid) => sum + (statOf(pid)?.used ?? 0), 0) / 100;

/**
 * The memory of processes, in bytes: `own` is what ending them would give back to the machine; `rss` counts also what they share
 * with each other and with every other Node.js, above all its program file.
 */
export function memoryOf(pids) {
  const sizes = pids.map((pid) => {
    const rollup = read(pid, 'smaps_rollup');
    if (!rollup) throw new Error('one of its processes ended while its memory was read');
    const of = (key) => 1024 * Number(new RegExp(`^${key}: +(\\d+) kB$`, 'm').exec(rollup)[1]);
    return { own: of('Private_Clean') + of('Private_Dirty'), rss: of('Rss') };
  });
  const sum = (key) => sizes.reduce((total, size) => total + size[key], 0);
  return { own: sum('own'), rss: sum('rss') };
}

/** Resolves to the first result that is not undefined, or to undefined after so many milliseconds. */
export async function poll(look, timeout) {
  const deadline = performance.now() + timeout;
  for (;;) {
    const seen = look();
    if (seen !== undefined || performance.now() > deadline) return seen;
    await delay(50);
  }
}

/** Asks each of them to end, and kills those that have not after five seconds. */
export async function endProcesses(folder) {
  for (const signal of ['SIGTERM', 'SIGKILL']) {
    const asked = new Set();
    let empty = 0;
    const haveEnded = () => {
      const left = processesOf(folder);
      for (const pid of left.filter((pid) => !asked.has(pid))) send(pid, signal);
      left.forEach((pid) => asked.add(pid));
      // One that forks and leaves while the list is read is not seen.
      empty = left.length === 0 ? empty + 1 : 0;
      return empty > 2 ? true : undefined;
    };
    if (await poll(haveEnded, 5000)) return;
  }
  throw new Error(`these processes cannot be ended: ${processesOf(folder).join(', ')}`);
}

export function send(pid, signal) {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}
