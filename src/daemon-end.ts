/** How a daemon has ended, and what is known about that. */
import type { NativeEnd } from '../index.js';
import type { DaemonCaller } from './store/record.js';

/** What is known about an end by a request or by the daemon's own decision. */
interface EndBase {
  /** When; missing if no process saw it. */
  readonly at?: Date;
  /** The code that it exited with, if the daemon reported it. */
  readonly exitCode?: number;
  /** The signal that it died of, if the daemon reported it. */
  readonly signal?: NodeJS.Signals;
  /** The process that asked it to stop, by {@link stopDaemon}, a restart or a replacement. */
  readonly by?: DaemonCaller;
}

/**
 * How a daemon has ended, until it is started again. For a named daemon it outlives a reboot.
 *
 * | reason | what happened |
 * | --- | --- |
 * | `stopped` | it was asked to stop |
 * | `replaced` | it was asked to stop because another one was to take its place: a restart, `ifRunning: 'replace'`, another `version` |
 * | `finished` | it had nothing left to do, and exited with 0 |
 * | `idle` | nothing had held it for `idleTimeout` |
 * | `crashed` | it threw, or exited with another code, without having been asked to stop |
 * | `killed` | it did not stop in time |
 * | `vanished` | no process saw how: it was killed by another program or by the kernel, or does not call `daemonize` |
 * | `lost` | it ran when the machine, or the container, ended |
 */
export type DaemonEnd =
  | (EndBase & {
      readonly reason: 'stopped';
    })
  | (EndBase & {
      readonly reason: 'replaced';
      /**
       * `true` if no other one has come up, because its start has failed, or none has begun within 30 s. From
       * {@link daemonStatus} and {@link listDaemons} only; missing otherwise.
       */
      readonly replacementFailed?: true;
    })
  | {
      readonly reason: 'finished';
      /** When. */
      readonly at: Date;
      /** The code that it exited with. */
      readonly exitCode: 0;
    }
  | (EndBase & {
      readonly reason: 'idle';
      /** When. */
      readonly at: Date;
    })
  | {
      readonly reason: 'crashed';
      /** When. */
      readonly at: Date;
      /** The code that it exited with; missing if it died of a signal. */
      readonly exitCode?: number;
      /** The signal that it died of, which only a supervisor sees. */
      readonly signal?: NodeJS.Signals;
      /** What it had thrown, in one line. */
      readonly lastWords?: string;
    }
  | (EndBase & {
      readonly reason: 'killed';
      /** When. */
      readonly at: Date;
      /** What it had thrown before, in one line. */
      readonly lastWords?: string;
    })
  | {
      readonly reason: 'vanished' | 'lost';
      /** What it had thrown before, in one line. */
      readonly lastWords?: string;
    };

/** An end as the core reports it. */
export function daemonEndOf({ at, by, ...end }: NativeEnd): DaemonEnd {
  const when = at === undefined ? {} : { at: new Date(at) };
  const who = by === undefined ? {} : { by: JSON.parse(by) as DaemonCaller };
  return { ...end, ...when, ...who } as DaemonEnd;
}
