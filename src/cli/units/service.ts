/** What is known of a service that is to be run by a supervisor. */
import { modeVariable } from '../../options/env.js';

/** Whatever the supervisor, it has to know this. */
export interface Service {
  /** `[A-Za-z0-9_.@-]+` */
  readonly name: string;
  /** The executable, absolute. */
  readonly program: string;
  /** Whether it can be called by its name alone. */
  readonly isOnPath: boolean;
  /** Without `argv[0]`. */
  readonly args: readonly string[];
  /** Where the program's relative paths lead. */
  readonly cwd: string;
  /** Variables to set. */
  readonly env: Readonly<Record<string, string>>;
  /** The user to run as; `undefined` for the supervisor's. */
  readonly user: string | undefined;
  /** Whether it calls `daemonize()`, and so says itself that it is up. */
  readonly daemonizes: boolean;
  /** The same in a container, whose users may be others: a number or a name. */
  readonly containerUser: string;
  /** The home of that user; `undefined` where there is none, or it is not known here. */
  readonly home: string | undefined;
  /** How to call this command line, also where Node.js is not on the PATH. */
  readonly daemonry: readonly string[];
  /** The image of a container. */
  readonly image: string;
  /** Milliseconds that its stop handlers may take, if that is on record. */
  readonly stopTimeout: number | undefined;
  /** What a stop ends. */
  readonly killMode: 'session' | 'process';
}

/** The least grace between SIGTERM and SIGKILL in seconds: longer than the handlers of a daemon have by default. */
const leastStopSeconds = 15;

/** How much longer than its handlers the service itself gets, in ms. */
const stopSlack = 2000;

/** The grace between SIGTERM and SIGKILL in seconds, by what is on record. */
export function stopSeconds({ stopTimeout = 0 }: Service): number {
  return Math.max(leastStopSeconds, Math.ceil((stopTimeout + stopSlack) / 1000));
}

/** The command line of the service. */
export function commandOf({ program, args }: Service): readonly string[] {
  return [program, ...args];
}

/** A name as clusters and registries allow it: a DNS label (RFC 1123). */
export function labelOf(name: string): string {
  const label = name.toLowerCase().replaceAll(/[^a-z0-9-]+/g, '-');
  return label.slice(0, 63).replaceAll(/^-+|-+$/g, '') || 'service';
}

/** What an init script runs, as lines of sh(1) with the exit codes of init scripts (LSB). */
export interface Actions {
  readonly start: string;
  readonly stop: string;
  readonly reload: string;
  readonly status: string;
}

/**
 * Every action finds the daemon as `daemonry` does, by what the kernel confirms, and never by the number in the pidfile: by now
 * that can be the number of any other process.
 */
export function actionsOf(service: Service): Actions {
  const { name, daemonry } = service;
  const call = (...words: readonly string[]) => shellLine([...daemonry, ...words, name]);
  return {
    start: startLine(service, call('status', '--ready')),
    // What they print would stand in the middle of the script's own line.
    stop: `${call('stop', '--timeout', String(stopSeconds(service) * 1000))} >/dev/null`,
    reload: `${call('reload')} >/dev/null`,
    status: call('status'),
  };
}

function startLine(service: Service, isReady: string): string {
  const { name, user, cwd, daemonizes, daemonry } = service;
  if (daemonizes && user === undefined) {
    // Its own launcher knows its options and reports why it does not start; only that it runs already is no failure here.
    const launch = `cd ${shellWord(cwd)} && ${modeVariable}=daemon ${shellLine(commandOf(service))}`;
    return `${isReady} >/dev/null 2>&1 || (${launch})`;
  }
  const wait = daemonizes ? ['--wait', 'ready'] : [];
  const identity = user === undefined ? [] : ['--user', user];
  const options = ['--name', name, ...wait, ...identity, '--cwd', cwd];
  return `${shellLine([...daemonry, 'start', ...options, '--', ...commandOf(service)])} >/dev/null`;
}

/** A remark for scripts of root's. */
export function asRoot({ user, name }: Service): string | undefined {
  return user === undefined
    ? `# It runs as root; daemonry unit --user USER ${name} makes it somebody else's.`
    : undefined;
}

/** A word as sh(1) reads it back. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** Words as sh(1) reads them back. */
export function shellLine(words: readonly string[]): string {
  return words.map(shellWord).join(' ');
}

/** Variables, with the home of a user whom the supervisor does not look up: his pidfiles are below it. */
export function environmentWithHome({ env, home }: Service): Service['env'] {
  return home === undefined ? env : { HOME: home, ...env };
}

/** Assignments as sh(1) and env(1) read them. */
export function assignments(env: Service['env']): readonly string[] {
  return Object.entries(env).map(([name, value]) => `${name}=${shellWord(value)}`);
}

/** Joins lines, leaving out those that are `undefined`. */
export function text(...lines: readonly (string | undefined)[]): string {
  return `${lines.filter((line) => line !== undefined).join('\n')}\n`;
}
