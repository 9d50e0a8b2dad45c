/** What a person sees: colours and a spinner, on a terminal only; and JSON for machines. */
import { styleText } from 'node:util';
import type { DaemonStatus } from '../daemon-status.js';
import { printableJson, printableLine } from '../printable.js';
import type { DaemonCaller } from '../store/record.js';

const colours = {
  running: 'green',
  starting: 'yellow',
  restarting: 'yellow',
  stopping: 'yellow',
  dead: 'red',
  unknown: 'red',
  stopped: 'gray',
} as const;

export function printJson(value: unknown): void {
  process.stdout.write(`${printableJson(JSON.stringify(value, undefined, 2))}\n`);
}

/** A state in its colour; `shown` is what it looks like in a table. */
export function coloured(state: DaemonStatus['state'], shown: string = state): string {
  return wantsColour(process.stdout) ? painted(colours[state], shown) : shown;
}

/** Node, too, would look at its own stdout and environment, whatever is written to. */
function painted(colour: Parameters<typeof styleText>[0], text: string): string {
  return styleText(colour, text, { validateStream: false });
}

function wantsColour(stream: NodeJS.WriteStream): boolean {
  // https://no-color.org
  return stream.isTTY && !process.env['NO_COLOR'] && process.env['TERM'] !== 'dumb';
}

/** A time as a person reads it: `2026-11-27 07:00:00`, local. */
export function stamp(date: Date): string {
  const two = (value: number) => String(value).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** The user of a process as a person knows it. */
export function userOf({ uid, user, loginUid }: DaemonCaller): string {
  const name = user === undefined ? `user ${uid}` : printableLine(user);
  return loginUid === undefined || loginUid === uid ? name : `${name} (login uid ${loginUid})`;
}

const frames = '⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏';

/** What is done by then needs no spinner, in ms. */
const spinnerDelay = 200;
const spinnerPause = 80;

/** Shows on a terminal's stderr that something is under way, until it is done. */
export async function spin<T>(what: string, work: Promise<T>): Promise<T> {
  if (!process.stderr.isTTY || process.env['TERM'] === 'dumb') return work;
  const begun = performance.now();
  let frame = 0;
  const timer = setInterval(() => {
    if (performance.now() - begun < spinnerDelay) return;
    const mark = frames[frame++ % frames.length]!;
    process.stderr.write(`\r${wantsColour(process.stderr) ? painted('cyan', mark) : mark} ${printableLine(what)}`);
  }, spinnerPause);
  try {
    return await work;
  } finally {
    clearInterval(timer);
    if (frame > 0) process.stderr.write('\r\x1b[K');
  }
}
