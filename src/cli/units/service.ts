/** What is known of a service that is to be run by a supervisor. */
import { closeSync, openSync, readSync } from 'node:fs';
import { basename, isAbsolute, relative } from 'node:path';

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
  /** Who it is to be; where nobody has said that, the supervisor's user. */
  readonly user: string | undefined;
  /** Whether it calls `daemonize()`, and so says itself that it is up. */
  readonly daemonizes: boolean;
  /** The same in a container, whose users may be others: a number or a name. */
  readonly containerUser: string;
  /** The home of that user; `undefined` where there is none, or it is not known here. */
  readonly home: string | undefined;
  /** Where root's daemon of that name has its pidfile. */
  readonly pidFile: string;
  /** How to call this command line, also where Node.js is not on the PATH. */
  readonly daemonry: readonly string[];
  /** The image of a container. */
  readonly image: string;
}

/** Grace between SIGTERM and SIGKILL in seconds: longer than the handlers of a daemon have by default. */
export const stopSeconds = 15;

/** The command line of the service. */
export function commandOf({ program, args }: Service): readonly string[] {
  return [program, ...args];
}

/** The same in a container whose image has the project as its working directory, and Node.js on its PATH. */
export function commandInImage({ program, isOnPath, args, cwd }: Service): readonly string[] {
  const inside = (path: string) => {
    const place = relative(cwd, path);
    return isAbsolute(path) && !place.startsWith('..') ? place : path;
  };
  const command = program === process.execPath ? 'node' : isOnPath ? basename(program) : inside(program);
  return [command, ...args.map(inside)];
}

/** How a probe asks whether the service is up, in such a container. */
export function probeInImage({ name }: Service): readonly string[] {
  return ['node_modules/.bin/daemonry', 'status', '--ready', name];
}

/** A name as clusters and registries allow it: a DNS label (RFC 1123). */
export function labelOf(name: string): string {
  const label = name.toLowerCase().replaceAll(/[^a-z0-9-]+/g, '-');
  return label.slice(0, 63).replaceAll(/^-+|-+$/g, '') || 'service';
}

/** Where containers have room for the pidfile, also with a read-only root file system. */
export const stateInImage = '/run/state';

/**
 * How an init script starts, ends and asks for a service that does not become by itself the daemon that it is to be, or whose
 * process nobody can tell by its executable; `undefined` for every other. All of them as lines of sh(1).
 */
export function managedLines(service: Service): { start: string; stop: string; status: string } | undefined {
  const { name, user, cwd, daemonizes, daemonry, program } = service;
  if (daemonizes && user === undefined && !isInterpreted(program)) return undefined;
  const wait = daemonizes ? ['--wait', 'ready'] : [];
  const identity = user === undefined ? [] : ['--user', user];
  const options = ['--name', name, ...wait, ...identity, '--cwd', cwd];
  return {
    // What they print would stand in the middle of the script's own line.
    start: `${shellLine([...daemonry, 'start', ...options, '--', ...commandOf(service)])} >/dev/null`,
    stop: `${shellLine([...daemonry, 'stop', '--timeout', String(stopSeconds * 1000), name])} >/dev/null`,
    status: shellLine([...daemonry, 'status', name]),
  };
}

/** Whether another program runs this one, by its first line. */
function isInterpreted(program: string): boolean {
  const start = Buffer.alloc(2);
  try {
    const file = openSync(program, 'r');
    readSync(file, start);
    closeSync(file);
  } catch {
    // A program that is not here, or not for us to read, is of another machine or no script.
    return false;
  }
  return start.toString() === '#!';
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
