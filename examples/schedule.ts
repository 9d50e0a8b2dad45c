/** What an alarm is, how a file of them is read, and when it rings. */
import { readFileSync } from 'node:fs';
import { BadInput } from './command-line.js';

const days = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] as const;

/** An alarm, as it stands in the file. Times are local ones. */
export interface Alarm {
  readonly label: string;
  /** `HH:MM` or `HH:MM:SS`. */
  readonly time: string;
  /** By default every day. */
  readonly weekdays?: readonly (typeof days)[number][];
  /** A line for the shell. */
  readonly command?: string;
}

/** Reads a file of alarms; throws {@link BadInput} that names the file, the alarm and what is wrong with it. */
export function readAlarms(file: string): Alarm[] {
  const alarms = parse(read(file), file);
  if (!Array.isArray(alarms)) throw new BadInput(`${file} must hold an array of alarms`);
  alarms.forEach((alarm: unknown, index) => {
    const problem = problemOf(alarm);
    if (problem !== undefined) throw new BadInput(`${file}: alarm ${index + 1}: ${problem}`);
  });
  return alarms as Alarm[];
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new BadInput(`cannot read ${file}: ${(error as Error).message.split(', ')[0]}`);
  }
}

function parse(text: string, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    // The message may quote lines of the file.
    throw new BadInput(`${file} is not JSON: ${(error as Error).message.replaceAll(/\s+/g, ' ')}`);
  }
}

function problemOf(alarm: unknown): string | undefined {
  if (typeof alarm !== 'object' || alarm === null || Array.isArray(alarm)) return `not an object: ${show(alarm)}`;
  const { label, time, weekdays, command, ...others } = alarm as Record<string, unknown>;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) return `unknown property ${show(unknown)}`;
  if (typeof label !== 'string' || label === '') return `label must be a text, not ${show(label)}`;
  if (typeof time !== 'string' || !/^([01]\d|2[0-3])(:[0-5]\d){1,2}$/.test(time)) {
    return `time must be "HH:MM" or "HH:MM:SS", not ${show(time)}`;
  }
  if (weekdays !== undefined) {
    if (!Array.isArray(weekdays) || weekdays.length === 0) return `weekdays must name some, not ${show(weekdays)}`;
    const wrong: unknown = weekdays.find((day) => !days.includes(day));
    if (wrong !== undefined) return `unknown weekday ${show(wrong)}: it must be one of ${days.join(', ')}`;
  }
  if (command !== undefined && (typeof command !== 'string' || !/^[^\0]+$/.test(command))) {
    return `command must be a line for the shell, not ${show(command)}`;
  }
  return undefined;
}

function show(value: unknown): string {
  return JSON.stringify(value) ?? 'missing';
}

/**
 * The first time after `after` at which an alarm rings. A time that the clocks skip in spring rings as much later as they
 * skip; one that they repeat in autumn rings the first time.
 */
export function nextRing({ time, weekdays = days }: Alarm, after: Date): Date {
  const [hours, minutes, seconds = 0] = time.split(':').map(Number);
  for (let day = 0; ; day++) {
    const ring = new Date(after.getFullYear(), after.getMonth(), after.getDate() + day, hours, minutes, seconds);
    if (ring > after && weekdays.includes(days[(after.getDay() + day) % 7]!)) return ring;
  }
}

/** Tells what to ring whenever it is looked at. Each ring is told once, however the clock is moved. */
export class Schedule {
  readonly alarms: readonly Alarm[];
  readonly #rung = new Map<Alarm, number>();
  #looked: Date;

  constructor(alarms: readonly Alarm[], now: Date) {
    this.alarms = alarms;
    this.#looked = now;
  }

  /** The latest ring of each alarm since the last look, if there was one. */
  due(now: Date): { alarm: Alarm; ring: Date }[] {
    const due = [];
    for (const alarm of this.alarms) {
      let latest: Date | undefined;
      for (let ring = nextRing(alarm, this.#looked); ring <= now; ring = nextRing(alarm, ring)) latest = ring;
      // A clock that was set back a little comes to the same ring again.
      if (latest === undefined || latest.getTime() === this.#rung.get(alarm)) continue;
      this.#rung.set(alarm, latest.getTime());
      due.push({ alarm, ring: latest });
    }
    this.#looked = now;
    return due;
  }

  /** Milliseconds until the next look: a minute at most, for timers do not notice when the clock is set. */
  wait(now: Date): number {
    return Math.min(60_000, ...this.alarms.map((alarm) => nextRing(alarm, now).getTime() - now.getTime()));
  }
}
