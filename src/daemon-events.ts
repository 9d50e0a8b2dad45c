/** What has happened to named daemons: their journals, read once or followed. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { NativeJournal, PidFileStatus } from '../index.js';
import type { DaemonEnd } from './daemon-end.js';
import { invalidOption } from './errors.js';
import { isFailure, native, unwrap } from './native/index.js';
import * as check from './options/check.js';
import { locate, locateJournals, type Located } from './store/locate.js';
import { checkName } from './store/paths.js';
import type { DaemonCaller } from './store/record.js';

/** What every {@link DaemonEvent} has. */
interface EventBase {
  /** The daemon's name. */
  readonly name: string;
  /** When it happened; if no process saw that, when it was noticed. */
  readonly at: Date;
  /** `true` if no process saw it; else missing. */
  readonly unseen?: true;
}

/**
 * What has happened to a named daemon.
 *
 * | event | what happened |
 * | --- | --- |
 * | `start` | a start has begun |
 * | `up` | the daemon is up |
 * | `failed` | the start has failed and was rolled back |
 * | `stop` | the daemon was asked to stop |
 * | `restart` | the same, because another one is to take its place |
 * | `exit` | the daemon has ended, as {@link DaemonEnd} says |
 * | `restarting` | its supervisor starts the daemon again |
 * | `cleanup` | processes that the daemon had left behind were ended by a stop or a start |
 */
export type DaemonEvent = EventBase &
  (
    | {
        readonly event: 'start';
        /** The process that starts it. */
        readonly by?: DaemonCaller;
        /** The option `version`. */
        readonly version?: string;
      }
    | {
        readonly event: 'up';
        /** The daemon's pid. */
        readonly pid: number;
      }
    | {
        readonly event: 'failed';
        /** The pid that the daemon had, if it came that far. */
        readonly pid?: number;
        /** Why, in words. */
        readonly reason: string;
      }
    | {
        readonly event: 'stop' | 'restart';
        /** The daemon's pid. */
        readonly pid: number;
        /** What was sent to it. */
        readonly signal: NodeJS.Signals;
        /** The process that sent it. */
        readonly by?: DaemonCaller;
      }
    | ({
        readonly event: 'exit';
        /** The pid that it had. */
        readonly pid: number;
      } & DaemonEnd)
    | {
        readonly event: 'restarting';
        /** How many times it was restarted, this one included. */
        readonly restarts: number;
        /** After how many milliseconds it is started. */
        readonly delay: number;
      }
    | {
        readonly event: 'cleanup';
        /** The pid that the daemon had. */
        readonly pid: number;
        /** How many processes were ended. */
        readonly othersEnded: number;
        /** The process that has ended them. */
        readonly by?: DaemonCaller;
      }
  );

/** Options of {@link daemonEvents}. */
export interface EventsOptions {
  /**
   * Whether to go on with the events of the future.
   * @default false
   */
  readonly follow?: boolean;
  /** Ends the iteration, without an error. */
  readonly signal?: AbortSignal;
}

/** How often it is checked whether a journal that is followed has changed, in ms. */
const followPause = 200;

/**
 * What has happened to named daemons, the oldest first: for each as much as its journal of 256 KiB holds. A daemon that only has
 * a pidfile has no journal.
 *
 * @param names one name or several; by default all daemons of this user, and the system's if the caller may read their journals
 * @example
 * for await (const { at, name, event } of daemonEvents('api', { follow: true })) console.log(at, name, event);
 * @throws `ERR_INVALID_OPTION`; from the iteration a {@link SystemCallError} with `step: 'read-journal'`
 */
export function daemonEvents(
  names?: string | readonly string[],
  options: EventsOptions = {},
): AsyncIterable<DaemonEvent> {
  check.only(options, 'follow', 'signal');
  const { signal } = options;
  const follow = check.boolean('follow', options.follow, false);
  check.abortSignal('signal', signal);
  return read(names === undefined ? undefined : checked(names), follow, signal);
}

function checked(names: unknown): readonly string[] {
  const all: unknown[] = Array.isArray(names) ? names : [names];
  for (const name of all) {
    if (typeof name !== 'string') throw invalidOption("only a named daemon has a journal: give the daemon's name");
    checkName(name);
  }
  return all as string[];
}

async function* read(
  names: readonly string[] | undefined,
  follow: boolean,
  signal: AbortSignal | undefined,
): AsyncGenerator<DaemonEvent, void, undefined> {
  const journals = new Map<string, NativeJournal>();
  const watch = unwrap(native().watchJournals(names === undefined ? undefined : [...names]));
  let isUnsettled = false;
  const isOver = () => signal?.aborted === true;
  while (!isOver()) {
    if (watch.hasChanged() || isUnsettled) {
      const found = names === undefined ? locateJournals() : names.map((name) => locate(name));
      const states = found.map(noticeEnd);
      // Its end is noticed when the process has exited; what has no pid yet, or cannot be inspected, is asked again.
      watch.watch(states.flatMap((state) => state?.pid ?? []));
      isUnsettled = states.some((state) => state === undefined || isWithoutPid(state));
      for (const event of newEvents(found, journals, names !== undefined)) {
        if (isOver()) return;
        yield event;
      }
    }
    if (!follow) return;
    // An abort ends the pause early.
    await sleep(followPause, undefined, signal === undefined ? {} : { signal }).catch(() => {});
  }
}

/** What has been added to journals since the last call, in the order of time. */
function newEvents(found: readonly Located[], journals: Map<string, NativeJournal>, isAsked: boolean): DaemonEvent[] {
  const placed = found.flatMap((daemon) => {
    const { name, journal: path } = daemon;
    if (name === undefined || path === undefined) return [];
    let journal = journals.get(path);
    if (journal === undefined) journals.set(path, (journal = native().openJournal(path)));
    const lines = journal.read();
    // If all daemons were asked for, journals that cannot be read are left out.
    if (isFailure(lines) && !isAsked) return [];
    return inPlace(unwrap(lines).map((json) => eventOf(name, json)));
  });
  return placed.toSorted((one, other) => one.place - other.place).map(({ event }) => event);
}

/** Asks for the state of a daemon, which writes down an end that no process has seen; `undefined` where that fails. */
function noticeEnd({ pidFile, journal }: Located): PidFileStatus | undefined {
  const state = native().pidFileStatus(pidFile, journal);
  return isFailure(state) ? undefined : state;
}

function isWithoutPid({ state, pid }: PidFileStatus): boolean {
  return pid === undefined && (state === 'starting' || state === 'unknown');
}

/** Within one journal the order is that of the lines, whatever became of the clock meanwhile. */
function inPlace(events: readonly DaemonEvent[]) {
  let place = 0;
  return events.map((event) => ({ event, place: (place = Math.max(place, event.at.getTime())) }));
}

function eventOf(name: string, json: string): DaemonEvent {
  const { at, ...event } = JSON.parse(json) as { at: string };
  return { name, at: new Date(at), ...event } as DaemonEvent;
}
