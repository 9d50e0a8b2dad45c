/** `daemonry logs`. */
import { closeSync, existsSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { StringDecoder } from 'node:string_decoder';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemCallError } from '../../errors.js';
import { printable } from '../../printable.js';
import { locate } from '../../store/locate.js';
import { pathsByOwner } from '../../store/paths.js';
import type { Command, Parsed } from '../command.js';
import { NotConfiguredError } from '../exit-codes.js';
import { jsonOption, number, UsageError } from '../parse.js';
import { endWithReader } from '../stdout.js';
import { forEach, namesOf, type Done } from '../targets.js';

const linesDefault = 10;

/** How often a log that is followed is checked, in ms. */
const followPause = 200;
const chunkSize = 65_536;

export const logs: Command = {
  name: 'logs',
  usage: '[OPTIONS] NAME…',
  summary: 'Print the end of the logs of daemons.',
  options: {
    follow: { type: 'boolean', short: 'f', help: 'also print what is written from now on, through rotations' },
    lines: { type: 'string', short: 'n', value: 'N', help: `the number of lines (default: ${linesDefault})` },
    json: jsonOption,
  },
  namedOnly: 'only a named daemon has its log on record',
  notes: [
    'On a terminal, escape sequences such as colours are left out, and other control characters',
    'are shown as escapes such as \\x07. A pipe or a file gets the log as it is.',
  ],
  run,
};

async function run(parsed: Parsed): Promise<number> {
  const { json, follow } = parsed.values;
  const names = namesOf(parsed);
  const lines = number(parsed.values, 'lines') ?? linesDefault;
  if (json && follow) throw new UsageError('give --follow or --json, not both');
  endWithReader();
  const logs: Log[] = [];
  const show = (name: string): Done => {
    const log = new Log(logOf(name), names.length > 1 ? name : undefined);
    if (json) return { text: '', result: { logFile: log.path, lines: log.last(lines) } };
    log.printLast(lines);
    logs.push(log);
    return { text: '', result: {} };
  };
  const exitCode = await forEach(parsed, names, { inTurn: true, act: show });
  if (follow) await Promise.all(logs.map((log) => log.follow()));
  return exitCode;
}

function logOf(target: string): string {
  const { record } = locate(target);
  if (record?.logFile !== undefined) return record.logFile;
  if (record?.method === 'foreground') {
    throw new NotConfiguredError(
      `${target} was started in the foreground: its output goes where its supervisor sends it`,
    );
  }
  if (record !== undefined) throw new NotConfiguredError(`${target} has no log: it was started without one`);
  const { user, system } = pathsByOwner(target);
  const files = [user.logFile, system.logFile];
  const found = files.find((file) => existsSync(file));
  if (found !== undefined) return found;
  throw new NotConfiguredError(`there is no log of ${target}: it has no record, and there is no ${files.join(' or ')}`);
}

function open(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (error) {
    throw systemCallError('open-stdout', 'open the log', path, error);
  }
}

/** Whose log was printed last, where several are. */
let shown: string | undefined;

/** A log that is printed. */
class Log {
  readonly path: string;
  readonly #title: string | undefined;
  /** A character can lie across two reads. */
  readonly #decoder = new StringDecoder();
  #file: number;
  #place = 0;

  /** @param title what to print above it, unless it is the only one */
  constructor(path: string, title: string | undefined) {
    this.path = path;
    this.#title = title;
    this.#file = open(path);
  }

  last(count: number): string[] {
    const lines: string[] = [];
    for (const bytes of chunks(this.#file, lastLines(this.#file, count))) lines.push(this.#decoder.write(bytes));
    const text = lines.join('') + this.#decoder.end();
    return text === '' ? [] : text.replace(/\n$/, '').split('\n');
  }

  printLast(count: number): void {
    this.#print(lastLines(this.#file, count));
  }

  /** Prints what is written from now on. */
  async follow(): Promise<never> {
    for (;;) {
      await sleep(followPause);
      // What was written before a rotation comes first.
      this.#print(Math.min(this.#place, fstatSync(this.#file).size));
      const named = statSync(this.path, { throwIfNoEntry: false });
      const { dev, ino } = fstatSync(this.#file);
      if (named === undefined || (named.dev === dev && named.ino === ino)) continue;
      closeSync(this.#file);
      this.#file = open(this.path);
      this.#print(0);
    }
  }

  #print(from: number): void {
    this.#place = from;
    for (const bytes of chunks(this.#file, from)) {
      if (this.#title !== shown) {
        process.stdout.write(`${shown === undefined ? '' : '\n'}==> ${this.#title} <==\n`);
        shown = this.#title;
      }
      process.stdout.write(process.stdout.isTTY ? printable(this.#decoder.write(bytes)) : bytes);
      this.#place += bytes.length;
    }
  }
}

/** What is in a file from `place` on. */
function* chunks(file: number, place: number): Generator<Uint8Array> {
  const buffer = Buffer.alloc(chunkSize);
  for (let at = place; ;) {
    const read = readSync(file, buffer, 0, buffer.length, at);
    if (read === 0) return;
    yield Uint8Array.prototype.slice.call(buffer, 0, read);
    at += read;
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
