/** The files of a named daemon, and their directories: typed calls into the core, which has the one implementation. */
import { invalidOption, show } from '../errors.js';
import { native, throwFailure, unwrap } from '../native/index.js';

/** The files of a named daemon. */
export interface DaemonPaths {
  /** Its pidfile. */
  readonly pidFile: string;
  /** Its log. */
  readonly logFile: string;
  /** The Unix socket that it may listen on. */
  readonly socket: string;
}

/** The same with what is daemonry's own. */
interface OwnPaths extends DaemonPaths {
  /** Its record, if the caller can keep one there. */
  readonly record?: string;
  /** What it says about itself. */
  readonly selfReport: string;
}

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
 * @example
 * const { pidFile, logFile, socket } = daemonPaths('api');
 *
 * @param name `[A-Za-z0-9_.@-]+`, not `daemonry`
 * @throws `ERR_INVALID_OPTION` for another name
 */
export function daemonPaths(name: string): DaemonPaths {
  const { pidFile, logFile, socket } = ownPaths(name);
  return { pidFile, logFile, socket };
}

/** The same with what is daemonry's own. Throws for what cannot be a name. */
export function ownPaths(name: unknown): OwnPaths {
  const { own, ...places } = pathsByOwner(name);
  return places[own];
}

/** Where a daemon of that name can be, and which of these places are the caller's own. Throws for what cannot be a name. */
export function pathsByOwner(name: unknown): { user: OwnPaths; system: OwnPaths; own: 'user' | 'system' } {
  if (typeof name !== 'string') {
    throw invalidOption(`a daemon's name must be a string of letters, digits and _ . @ -, not ${show(name)}`);
  }
  return JSON.parse(unwrap(native().places(name))) as ReturnType<typeof pathsByOwner>;
}

/** Throws for what cannot be a name. */
export function checkName(name: unknown): asserts name is string {
  pathsByOwner(name);
}

/** Keeps {@link daemonPaths} in the daemon what they were when root started it, whichever user it is now. */
export function keepSystemPaths(name: string): void {
  throwFailure(native().stayInSystemPlaces(name));
}

/** Makes the directories of the named daemon that this process is. */
export function makeDirectories(name: string): void {
  throwFailure(native().makePlaces(name));
}

/** Makes the directory of one of the files for this process, which must be able to write there. */
export function claimDirectory(name: string, file: 'pidFile' | 'log' | 'record'): void {
  throwFailure(native().claimPlace(name, file));
}
