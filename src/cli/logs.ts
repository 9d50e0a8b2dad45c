/** `daemonry logs`. */
import { closeSync, existsSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemCallError } from '../errors.js';
import { allPlaces } from '../places.js';
import { locate } from '../target.js';
import { nameOnly, number, type Parsed } from './arguments.js';
import type { Command } from './commands.js';
import { exitCodes, NotConfiguredError } from './exit.js';

const linesDefault = 10;
/** How often a log is looked at that is followed, in ms. */
const followPause = 200;
const chunkSize = 65_536;

export const logs: Command = {
  name: 'logs',
  usage: '[OPTIONS] NAME',
  summary: "Print the end of a daemon's log.",
  options: {
    follow: { type: 'boolean', short: 'f', help: 'and what is written from now on, also after a rotation' },
    lines: { type: 'string', short: 'n', value: 'N', help: `how many lines (default: ${linesDefault})` },
  },
  notes: [],
  run,
};

async function run(parsed: Parsed): Promise<number> {
  const path = logOf(nameOnly(parsed));
  const lines = number(parsed.values, 'lines') ?? linesDefault;
  let log = open(path);
  // Whoever reads through `| head` has seen enough.
  process.stdout.on('error', () => process.exit(exitCodes.success));
  let place = print(log, lastLines(log, lines));
  while (parsed.values['follow']) {
    await sleep(followPause);
    // What was written before a rotation comes first.
    place = print(log, Math.min(place, fstatSync(log).size));
    const named = statSync(path, { throwIfNoEntry: false });
    const { dev, ino } = fstatSync(log);
    if (named === undefined || (named.dev === dev && named.ino === ino)) continue;
    closeSync(log);
    log = open(path);
    place = print(log, 0);
  }
  closeSync(log);
  return exitCodes.success;
}

function logOf(target: string): string {
  const { record } = locate(target);
  if (record?.logFile !== undefined) return record.logFile;
  if (record?.startedBy === 'supervisor') {
    throw new NotConfiguredError(`${target} was started in the foreground: its output is where its supervisor puts it`);
  }
  const byConvention = allPlaces(target).find(({ logFile }) => existsSync(logFile));
  if (record === undefined && byConvention !== undefined) return byConvention.logFile;
  throw new NotConfiguredError(`there is no log of ${target}: none is known or found`);
}

function open(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (error) {
    throw systemCallError('open-stdout', 'open the log', path, error);
  }
}

/** Where the last `count` lines begin. */
function lastLines(file: number, count: number): number {
  const buffer = Buffer.alloc(chunkSize);
  const { size } = fstatSync(file);
  // A newline at the very end ends the last line and begins none.
  let missing = count;
  for (let end = size; end > 0;) {
    const begin = Math.max(0, end - buffer.length);
    const read = readSync(file, buffer, 0, end - begin, begin);
    for (let at = read - 1; at >= 0; at--) {
      if (buffer[at] !== 0x0a || begin + at === size - 1) continue;
      missing -= 1;
      if (missing === 0) return begin + at + 1;
    }
    end = begin;
  }
  return count === 0 ? size : 0;
}

/** Prints from `place` on; returns where that ended. */
function print(file: number, place: number): number {
  const buffer = Buffer.alloc(chunkSize);
  for (let at = place; ;) {
    const read = readSync(file, buffer, 0, buffer.length, at);
    if (read === 0) return at;
    process.stdout.write(Uint8Array.prototype.slice.call(buffer, 0, read));
    at += read;
  }
}
