/** Where a named daemon keeps its files: the user's places, the system's places, and which of them a name means. */
import { chmodSync, existsSync, mkdirSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { daemonError, invalidOption, systemCallError } from './errors.js';
import { native, unwrap } from './native.js';

/** The files of a named daemon. */
export interface DaemonPaths {
  /** Its pidfile. */
  readonly pidFile: string;
  /** Its log. */
  readonly logFile: string;
  /** The Unix socket that it may listen on. */
  readonly socket: string;
}

/** A daemon: the name that it was started with, or its pidfile. */
export type Target = string | { readonly pidFile: string };

/**
 * The conventional places of the daemon `name` when the caller starts it. Nothing is looked up or created.
 *
 * | | pidfile, socket | log |
 * | --- | --- | --- |
 * | root | `/run/NAME/` | `/var/log/NAME/` |
 * | users | `$XDG_STATE_HOME/daemonry/NAME/`, by default in `~/.local/state` | the same |
 * | root, macOS | `/var/run/NAME/` | `/var/log/NAME/` |
 * | users, macOS | `~/Library/Application Support/daemonry/NAME/` | `~/Library/Logs/daemonry/NAME/` |
 *
 * @param name `[A-Za-z0-9_.@-]+`
 * @throws `ERR_INVALID_OPTION` for another name
 */
export function paths(name: string): DaemonPaths {
  checkName(name);
  return isRoot() ? systemPlaces(name) : userPlaces(name);
}

/** Makes sure that a daemon can be started in its conventional places, and that they are the caller's. */
export function makePlaces(places: DaemonPaths): void {
  for (const directory of new Set([dirname(places.pidFile), dirname(places.logFile)])) makeDirectory(directory);
}

/**
 * The pidfile that a target means. For a name, the first place with a locked pidfile, the user's before the system's; else
 * the first place with a pidfile; else the caller's own.
 */
export function locate(target: Target): { pidFile: string; name?: string; searched: readonly string[] } {
  if (typeof target !== 'string') {
    const pidFile: unknown = (target as { pidFile?: unknown } | null | undefined)?.pidFile;
    if (typeof pidFile !== 'string' || pidFile === '') {
      throw invalidOption("a target must be a daemon's name or { pidFile: path }");
    }
    return { pidFile: resolve(pidFile), searched: [resolve(pidFile)] };
  }
  checkName(target);
  const searched = [...new Set([userPlaces(target).pidFile, systemPlaces(target).pidFile])];
  const present = searched.filter((path) => existsSync(path));
  const isLocked = (path: string) => !['dead', 'stopped'].includes(unwrap(native().pidFileStatus(path)).state);
  const preferred = present.length > 1 ? present.find(isLocked) : present[0];
  const pidFile = preferred ?? present[0] ?? paths(target).pidFile;
  return { pidFile, name: target, searched };
}

/** Throws for a name that could leave its place in the file system. */
export function checkName(name: unknown): asserts name is string {
  if (typeof name !== 'string' || !/^[A-Za-z0-9_.@-]+$/.test(name) || /^\.+$/.test(name)) {
    const isPath = typeof name === 'string' && name.includes('/');
    const hint = isPath ? ': for a pidfile pass { pidFile: path }' : '';
    throw invalidOption(
      `a daemon's name must be a string of letters, digits and _ . @ -, not ${JSON.stringify(name)}${hint}`,
    );
  }
  if (name.endsWith('.pid')) {
    throw invalidOption(`a daemon's name must not end in .pid, as ${name} does: for a pidfile pass { pidFile: path }`);
  }
}

function systemPlaces(name: string): DaemonPaths {
  const run = join(process.platform === 'darwin' ? '/var/run' : '/run', name);
  return placesIn(name, run, join('/var/log', name));
}

function userPlaces(name: string): DaemonPaths {
  if (process.platform === 'darwin') {
    const library = join(homedir(), 'Library');
    return placesIn(
      name,
      join(library, 'Application Support', 'daemonry', name),
      join(library, 'Logs', 'daemonry', name),
    );
  }
  // Not the runtime directory, which cron and sudo do not have and a logout deletes. A relative path is to be ignored
  // (XDG Base Directory Specification).
  const configured = process.env['XDG_STATE_HOME'];
  const state = configured !== undefined && isAbsolute(configured) ? configured : join(homedir(), '.local', 'state');
  const directory = join(state, 'daemonry', name);
  return placesIn(name, directory, directory);
}

function placesIn(name: string, run: string, log: string): DaemonPaths {
  return { pidFile: join(run, `${name}.pid`), logFile: join(log, `${name}.log`), socket: join(run, `${name}.sock`) };
}

function isRoot(): boolean {
  return process.geteuid?.() === 0;
}

function makeDirectory(directory: string): void {
  try {
    const bits = isRoot() ? 0o755 : 0o700;
    // Exactly this mode, whatever the umask.
    if (mkdirSync(directory, { recursive: true, mode: bits }) !== undefined) chmodSync(directory, bits);
    const { uid, mode } = statSync(directory);
    if ((uid === process.geteuid?.() || uid === 0) && (mode & 0o022) === 0) return;
  } catch (error) {
    throw systemCallError('make-directory', 'make the directory', directory, error);
  }
  const message = `cannot use the directory ${directory}: it belongs to, or can be written by, somebody else (EPERM)`;
  throw daemonError('EPERM', message, { step: 'make-directory', errno: -1, syscall: 'mkdir', path: directory });
}
