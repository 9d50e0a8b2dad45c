/** What is known of a service that is to be run by a supervisor. */
import { isAbsolute, relative } from 'node:path';

/** Whatever the supervisor, it has to know this. */
export interface Service {
  /** `[A-Za-z0-9_.@-]+` */
  readonly name: string;
  /** The executable, absolute. */
  readonly program: string;
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
  /** Where root's daemon of that name has its pidfile and its log. */
  readonly pidFile: string;
  readonly logFile: string;
  /** How to call this command line. */
  readonly daemonry: string;
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
export function commandInImage({ program, args, cwd }: Service): readonly string[] {
  const inside = (path: string) => {
    const place = relative(cwd, path);
    return isAbsolute(path) && !place.startsWith('..') ? place : path;
  };
  const command = program === process.execPath || /\/node$/.test(program) ? 'node' : inside(program);
  return [command, ...args.map(inside)];
}

/** How a probe asks whether the service is up, in such a container. */
export function probeInImage({ name }: Service): readonly string[] {
  return ['node_modules/.bin/daemonry', 'status', '--ready', name];
}

/** Where containers have room for the pidfile, also with a read-only root file system. */
export const stateInImage = '/run/state';

/** A word as sh(1) reads it back. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** Words as sh(1) reads them back. */
export function shellLine(words: readonly string[]): string {
  return words.map(shellWord).join(' ');
}

/** Assignments as sh(1) and env(1) read them. */
export function assignments(env: Service['env']): readonly string[] {
  return Object.entries(env).map(([name, value]) => `${name}=${shellWord(value)}`);
}

/** Joins lines, leaving out those that are `undefined`. */
export function text(...lines: readonly (string | undefined)[]): string {
  return `${lines.filter((line) => line !== undefined).join('\n')}\n`;
}
