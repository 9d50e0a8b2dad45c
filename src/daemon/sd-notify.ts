/**
 * Notifications for the service manager of a program in the foreground: sd_notify(3) on the socket of `NOTIFY_SOCKET`, and
 * a newline on the descriptor of `DAEMONRY_NOTIFY_FD` (s6 and others: "notification-fd").
 */
import { closeSync, fstatSync, writeSync } from 'node:fs';
import { invalidOption } from '../errors.js';
import { isSystemdsService } from '../launch/supervisor.js';
import { failureError, native, unwrap } from '../native/index.js';
import { longestTimer } from '../options/check.js';
import { readinessVariable } from '../options/env.js';
import { printableLine } from '../printable.js';

export class SdNotify {
  readonly #socket: string | undefined;
  #readiness: number | undefined;
  #isReady = false;
  #isStopping = false;
  #isDeaf = false;

  /** The manager that waits for this process; `undefined` if there is none. */
  static find(): SdNotify | undefined {
    const { env } = process;
    // Inherited, and meant for another process, if systemd names another one as the process that it has started.
    const isForeign = env['SYSTEMD_EXEC_PID'] !== undefined && !isSystemdsService();
    const socket = isForeign ? undefined : env['NOTIFY_SOCKET'];
    const readiness = descriptorOf(env[readinessVariable]);
    if (!socket && readiness === undefined) return undefined;
    return new SdNotify(socket || undefined, readiness);
  }

  private constructor(socket: string | undefined, readiness: number | undefined) {
    this.#socket = socket;
    this.#readiness = readiness;
    const period = watchdogPeriod();
    // Driven by the event loop, so that a blocked one is noticed; not what keeps the process alive.
    if (period !== undefined) setInterval(() => this.#send(['WATCHDOG=1']), period).unref();
  }

  /** Starting takes up to `timeout` ms, whatever limit the manager has by itself. */
  starting(timeout: number): void {
    this.#send([extension(timeout)]);
  }

  /** Up; once a reload is done, up again. */
  ready(): void {
    if (this.#isStopping) return;
    this.#isReady = true;
    this.#send(['READY=1', `MAINPID=${process.pid}`]);
    if (this.#readiness === undefined) return;
    const descriptor = this.#readiness;
    this.#readiness = undefined;
    this.#attempt(() => {
      writeSync(descriptor, '\n');
      closeSync(descriptor);
    });
  }

  /** One line about what it does. A message has lines: a text with lines of its own could say anything else, too. */
  status(text: string): void {
    this.#send([`STATUS=${printableLine(text)}`]);
  }

  /** A reload has begun; {@link ready} reports its end. */
  reloading(): void {
    if (!this.#isReady || this.#isStopping) return;
    this.#attempt(() => {
      this.#send(['RELOADING=1', `MONOTONIC_USEC=${unwrap(native().monotonicMicroseconds())}`]);
    });
  }

  /** Reloaded, whatever became of it. */
  reloaded(): void {
    if (this.#isReady) this.ready();
  }

  /** Stopping takes up to `timeout` ms. */
  stopping(timeout: number): void {
    this.#isStopping = true;
    this.#send(['STOPPING=1', extension(timeout)]);
  }

  /** The service fails for this reason, which may be an errno. */
  failed(reason: string, error?: unknown): void {
    const errno: unknown = (error as NodeJS.ErrnoException | undefined)?.errno;
    this.#send([`STATUS=${printableLine(reason)}`, ...(typeof errno === 'number' ? [`ERRNO=${Math.abs(errno)}`] : [])]);
  }

  /** Gives a descriptor into safekeeping: the service finds it by this name when it is started again. False without a socket. */
  store(name: string, descriptor: number): boolean {
    if (this.#socket === undefined) return false;
    this.#send(['FDSTORE=1', `FDNAME=${name}`], [descriptor]);
    return true;
  }

  /** Takes what is kept by this name out of safekeeping. */
  forget(name: string): void {
    this.#send(['FDSTOREREMOVE=1', `FDNAME=${name}`]);
  }

  #send(state: readonly string[], descriptors: number[] = []): void {
    const socket = this.#socket;
    if (socket === undefined) return;
    this.#attempt(() => {
      const failure = native().notify(socket, state.join('\n'), descriptors);
      if (failure !== null) throw failureError(failure);
    });
  }

  /** A manager that does not listen is no reason to exit, but the log explains why the manager stops the service. */
  #attempt(send: () => unknown): void {
    try {
      send();
      this.#isDeaf = false;
    } catch (error) {
      if (!this.#isDeaf) process.stderr.write(`${(error as Error).message}\n`);
      this.#isDeaf = true;
    }
  }
}

/** Half of the time after which the manager takes the service for hung, in ms (sd_watchdog_enabled(3)). */
function watchdogPeriod(): number | undefined {
  const { WATCHDOG_USEC: limit, WATCHDOG_PID: pid } = process.env;
  const period = Number(limit) / 2000;
  if (!(period > 0) || (pid !== undefined && Number(pid) !== process.pid)) return undefined;
  return Math.max(1, Math.min(period, longestTimer));
}

/** Only ever makes the manager's own limit longer. */
function extension(timeout: number): string {
  return `EXTEND_TIMEOUT_USEC=${Math.round(timeout * 1000)}`;
}

/** The open descriptor that a variable names. */
function descriptorOf(value: string | undefined): number | undefined {
  if (value === undefined || value === '') return undefined;
  const descriptor = Number(value);
  try {
    if (Number.isInteger(descriptor) && descriptor > 0 && fstatSync(descriptor)) return descriptor;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EBADF') throw error;
  }
  throw invalidOption(
    `the variable ${readinessVariable} must be the number of an open descriptor, not ${JSON.stringify(value)}`,
  );
}
