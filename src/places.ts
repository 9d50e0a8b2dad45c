/** Where a named daemon keeps its files: the user's places and the system's. */
import { accessSync, chmodSync, chownSync, constants, existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';
import { show } from './check.js';
import { daemonError, invalidOption, systemCallError } from './errors.js';

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
export interface Places extends DaemonPaths {
  /** Whose they are: the caller's own, or the system's. */
  readonly owner: 'user' | 'system';
  /** The {@link DaemonRecord}. */
  readonly record: string;
  /** Where a daemon that has given up root's rights says something about itself. */
  readonly words: string;
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
 * @param name `[A-Za-z0-9_.@-]+`
 * @throws `ERR_INVALID_OPTION` for another name
 */
export function paths(name: string): DaemonPaths {
  const { pidFile, logFile, socket } = ownPlaces(name);
  return { pidFile, logFile, socket };
}

/** The same for daemonry itself: where the caller's daemons of that name are. */
export function ownPlaces(name: string): Places {
  checkName(name);
  return isRoot() || name === systemName || hasRunDirectory(name) ? systemPlaces(name) : userPlaces(name);
}

/** Whether systemd has made the system's directory for this service, whoever it runs as (`RuntimeDirectory=NAME`). */
function hasRunDirectory(name: string): boolean {
  return process.env['RUNTIME_DIRECTORY']?.split(':').includes(join(systemRun(), name)) ?? false;
}

/** Where the caller may keep a record: the system's records are root's alone. */
export function recordPlace({ owner, record }: Places): string | undefined {
  return owner === 'user' || isRoot() ? record : undefined;
}

/** What the daemon is called that this process is, if root has started it: it may have given up root's rights. */
let systemName: string | undefined;

/** Makes {@link paths} in the daemon what they were when it was started, whoever it is now. */
export function staysInSystemPlaces(name: string): void {
  systemName = name;
}

/** The places where a daemon of that name can be, the user's before the system's. */
export function allPlaces(name: string): readonly Places[] {
  checkName(name);
  return [userPlaces(name), systemPlaces(name)];
}

/** The names of which something is left in the user's places or the system's. */
export function namesInUse(): { name: string; places: Places }[] {
  const user = entries(userDirectory()).map((name) => ({ name, find: userPlaces }));
  const system = entries(systemRecords()).flatMap((file) =>
    file.endsWith('.json') ? [{ name: file.slice(0, -'.json'.length), find: systemPlaces }] : [],
  );
  return [...user, ...system]
    .filter(({ name }) => isName(name))
    .map(({ name, find }) => ({ name, places: find(name) }))
    .filter(({ places }) => existsSync(places.record) || existsSync(places.pidFile));
}

/**
 * Makes sure that a daemon can be started in its conventional places, and that they are the caller's, or the daemon's whose
 * user is `owner`, so that it can remove its pidfile and make its log anew. What it makes stays when the start fails: another
 * caller may count on it already.
 */
export function makePlaces(places: Places, owner?: Owner): void {
  makePlace(places, 'record');
  makePlace(places, 'pidFile', owner);
  makePlace(places, 'logFile', owner);
}

/** The same for one of the files, of which it makes sure that the caller can write it. */
export function claimPlace(places: Places, file: 'pidFile' | 'record'): void {
  makePlace(places, file);
  const directory = dirname(places[file]);
  try {
    accessSync(directory, constants.W_OK);
  } catch (error) {
    throw systemCallError('make-directory', 'write in the directory', directory, error);
  }
}

function makePlace(places: Places, file: 'pidFile' | 'logFile' | 'record', owner?: Owner): void {
  const directory = dirname(places[file]);
  // What lies above a user's directories could be renamed by whoever may write there.
  if (places.owner === 'user') makeDirectory(dirname(directory));
  makeDirectory(directory, owner);
}

/** Whom a directory is to belong to. */
interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** Throws for a name that could leave its place in the file system. */
export function checkName(name: unknown): asserts name is string {
  if (typeof name !== 'string' || !isName(name)) {
    const isPath = typeof name === 'string' && name.includes('/');
    const hint = isPath ? ': for a pidfile pass { pidFile: path }' : '';
    throw invalidOption(`a daemon's name must be a string of letters, digits and _ . @ -, not ${show(name)}${hint}`);
  }
  if (name.endsWith('.pid')) {
    throw invalidOption(`a daemon's name must not end in .pid, as ${name} does: for a pidfile pass { pidFile: path }`);
  }
}

function isName(text: string): boolean {
  return /^[A-Za-z0-9_.@-]+$/.test(text) && !/^\.+$/.test(text);
}

/**
 * Throws for a Unix socket whose path the kernel cannot take: `sun_path` has room for 107 bytes on Linux and 103 on macOS
 * (unix(7), unix(4)).
 */
export function checkSocket(socket: string): string {
  const most = process.platform === 'darwin' ? 103 : 107;
  const length = Buffer.byteLength(socket);
  if (length > most) {
    throw invalidOption(`the socket's path ${socket} is too long: it has ${length} bytes, and ${most} are possible`);
  }
  return socket;
}

function systemRun(): string {
  return process.platform === 'darwin' ? '/var/run' : '/run';
}

/** Root's own directory, for what `restart` executes must not lie where a daemon's user can write. */
function systemRecords(): string {
  return join(systemRun(), 'daemonry');
}

/** Where root's daemons of that name have their files. */
export function systemPlaces(name: string): Places {
  const record = join(systemRecords(), `${name}.json`);
  const run = join(systemRun(), name);
  return { owner: 'system', record, words: join(run, `${name}.json`), ...placesIn(name, run, join('/var/log', name)) };
}

/** What a user's daemons have their directories in. */
function userDirectory(): string {
  if (process.platform === 'darwin') return join(homedir(), 'Library', 'Application Support', 'daemonry');
  // Not the runtime directory, which cron and sudo do not have and a logout deletes. A relative path is to be ignored
  // (XDG Base Directory Specification).
  const configured = process.env['XDG_STATE_HOME'];
  const state = configured !== undefined && isAbsolute(configured) ? configured : join(homedir(), '.local', 'state');
  return join(state, 'daemonry');
}

function userPlaces(name: string): Places {
  const run = join(userDirectory(), name);
  const log = process.platform === 'darwin' ? join(homedir(), 'Library', 'Logs', 'daemonry', name) : run;
  const record = join(run, `${name}.json`);
  return { owner: 'user', record, words: record, ...placesIn(name, run, log) };
}

function placesIn(name: string, run: string, log: string): DaemonPaths {
  return { pidFile: join(run, `${name}.pid`), logFile: join(log, `${name}.log`), socket: join(run, `${name}.sock`) };
}

/** What is in a directory; nothing if it is not there. */
function entries(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw systemCallError('open-directory', 'open the directory', directory, error);
  }
}

function isRoot(): boolean {
  return process.geteuid?.() === 0;
}

function makeDirectory(directory: string, owner?: Owner): void {
  try {
    const bits = isRoot() ? 0o755 : 0o700;
    // Exactly this mode, whatever the umask.
    if (make(directory, bits)) chmodSync(directory, bits);
    const { uid, mode } = statSync(directory);
    // What was another daemon user's is this one's now; what lies in it is not believed anyway.
    if (owner !== undefined && isRoot() && (mode & 0o022) === 0) {
      if (uid !== owner.uid) chownSync(directory, owner.uid, owner.gid);
      return;
    }
    if ((uid === process.geteuid?.() || uid === 0) && (mode & 0o022) === 0) return;
  } catch (error) {
    throw systemCallError('make-directory', 'make the directory', directory, error);
  }
  const message = `cannot use the directory ${directory}: it belongs to, or can be written by, somebody else (EPERM)`;
  throw daemonError('EPERM', message, { step: 'make-directory', errno: -1, syscall: 'mkdir', path: directory });
}

/** Makes a directory and those above it that are missing; whether it was missing. (Node's own way tells a wrong errno.) */
function make(directory: string, mode: number, hasParent = directory === dirname(directory)): boolean {
  try {
    mkdirSync(directory, mode);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST' && statSync(directory, { throwIfNoEntry: false })?.isDirectory()) return false;
    if (code !== 'ENOENT' || hasParent) throw error;
  }
  make(dirname(directory), mode);
  return make(directory, mode, true);
}
