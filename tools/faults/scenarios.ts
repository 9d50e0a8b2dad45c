/** What is started, looked at and stopped while calls fail: each a program that marks where its part begins and ends. */
import {
  chmodSync,
  chownSync,
  existsSync,
  readFileSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { until } from '../../__test__/helpers/until.js';
import { daemonStatus } from '../../dist/index.js';
import { untraced } from './trace.js';

/** A folder of its own for each run, and the programs in it. */
export interface Place {
  readonly path: string;
  readonly pidFile: string;
  readonly log: string;
  /** A path in the folder. */
  at(...names: string[]): string;
  /** What is traced. */
  readonly command: readonly string[];
  /** The same start without a tracer; what it starts has to be right. */
  readonly starts: readonly string[];
  /** Whether nobody but the daemon knows of its pidfile, so that it is left of one that Node.js itself has ended. */
  readonly locksItself: boolean;
  /** Whether another daemon runs before the start, which goes on where the start fails before that is stopped. */
  readonly replaces: boolean;
  /**
   * The pid of a daemon that was killed before the start: where the start fails before that is dealt with, its helper goes on, and
   * its pidfile stays.
   */
  readonly crashed?: number;
}

export interface Scenario {
  readonly name: string;
  /** Whether what is traced is a start; otherwise a daemon is started before, and looked at or ended. */
  readonly isStart: boolean;
  /** Whether the start fails also without a fault. */
  readonly fails?: boolean;
  /** Whether the daemon has a helper, which ends with it. */
  readonly hasHelper?: boolean;
  /** The calls that differ from those of other scenarios; without it, all. */
  readonly names?: readonly string[];
  /** The processes whose calls differ from those of other scenarios; without it, all. */
  readonly roles?: readonly string[] | undefined;
  /** Makes a place, and in it whatever the traced program expects. */
  prepare(): Promise<Place>;
}

const library = new URL('../../dist/index.js', import.meta.url).href;
const nobody = 65534;
const before = 'a line from before\n';

const marks = `
import { accessSync } from 'node:fs';
const mark = (name) => { try { accessSync(name); } catch {} };
`;

interface StartOptions {
  /** JavaScript: more options of `daemonize`, with paths in the run's folder. */
  readonly more?: (at: Place['at']) => string;
  readonly env?: Readonly<Record<string, string>>;
  /** The user that starts it; `'new'` is one that has never started anything. */
  readonly as?: number | 'new';
  /** Whose the daemon's files are. */
  readonly becomes?: number;
  /** Starts it by `spawnDaemon` from a process that lives on. */
  readonly spawns?: boolean;
  /** Names the pidfile only in the program that is spawned, which has to lock it itself. */
  readonly locksItself?: boolean;
  /** Gives it a name, so that there is a record of it. */
  readonly isNamed?: boolean;
  readonly roles?: readonly string[];
  /** Replaces a daemon that runs. */
  readonly replaces?: boolean;
  /** Has a helper, which may end with it. */
  readonly hasHelper?: boolean;
  /** Starts it after one with a helper that was killed. */
  readonly isAfterCrash?: boolean;
  readonly names?: readonly string[];
}

function start(
  name: string,
  {
    more = () => '',
    env = {},
    as,
    becomes,
    spawns = false,
    locksItself = false,
    isNamed = false,
    roles,
    replaces = false,
    isAfterCrash = false,
    hasHelper = isAfterCrash,
    names,
  }: StartOptions = {},
): Scenario {
  return {
    name,
    isStart: true,
    hasHelper,
    roles,
    ...(names === undefined ? {} : { names }),
    async prepare() {
      const starter = as === 'new' ? nextUser++ : as;
      const { path, at } = folder(starter, becomes);
      const [pidFile, log] = [at('state', 'app.pid'), at('state', 'app.log')];
      writeFileSync(log, before);
      const owner = becomes ?? starter;
      if (owner !== undefined) chownSync(log, owner, owner);
      const helper = `spawn('tail', ['-f', '${log}'], { stdio: 'ignore' });`;
      const main = `async (daemon) => {
        ${hasHelper ? helper : ''}
        setInterval(() => {}, 60_000);
        daemon.onStop(() => {});
        // Once it is told that it is up, a turn of the loop after main.
        setTimeout(() => mark('/-end'), 50);
      }`;
      const program = at('program.mjs');
      const options = `log: '${log}', ${isNamed ? `name: '${basename(path)}',` : ''} ${more(at)}
        ${replaces ? `ifRunning: 'replace',` : ''}`;
      const text = (marks: string) => `
        import { spawn } from 'node:child_process';
        import { daemonize } from '${library}';${marks}
        mark('/-begin');
        daemonize({ pidFile: '${pidFile}', ${options} }, ${main});`;
      writeFileSync(program, text(marks));
      const caller = at('caller.mjs');
      writeFileSync(
        caller,
        `import { spawnDaemon } from '${library}';${marks}
        mark('/-begin');
        const options = { ${locksItself ? '' : `pidFile: '${pidFile}',`} waitFor: 'ready', ${options} };
        const error = await spawnDaemon(process.execPath, ['${program}'], options).then(() => {}, (error) => error);
        mark('/-end');
        if (error !== undefined) console.error(error.message);
        process.exitCode = error === undefined ? 0 : 1;`,
      );
      const user =
        starter === undefined ? [] : ['setpriv', `--reuid=${starter}`, `--regid=${starter}`, '--clear-groups'];
      const variables = Object.entries(env).map(([variable, value]) => `${variable}=${value}`);
      const command = [...user, 'env', ...variables, process.execPath, spawns ? caller : program];
      if (replaces) {
        const { code, stderr } = await untraced(command);
        if (code !== 0) throw new Error(`the daemon to replace did not start: ${stderr}`);
      }
      let crashed: number | undefined;
      if (isAfterCrash) {
        const { code, stderr } = await untraced(command);
        const found = await daemonStatus({ pidFile });
        if (code !== 0 || found.state !== 'running') throw new Error(`the daemon to kill did not start: ${stderr}`);
        process.kill(found.pid, 'SIGKILL');
        await until('it is dead', async () => (await daemonStatus({ pidFile })).state === 'dead');
        crashed = found.pid;
      }
      const place = { path, at, pidFile, log, command, starts: command, locksItself, replaces };
      return crashed === undefined ? place : { ...place, crashed };
    },
  };
}

/** A start of a program that puts itself into the background, and so fails. */
function failingStart(name: string, options: Pick<Scenario, 'roles' | 'names'>): Scenario {
  return {
    name,
    isStart: true,
    fails: true,
    ...options,
    async prepare() {
      const place = await start(name, { spawns: true }).prepare();
      const { at, pidFile, log } = place;
      writeFileSync(
        at('caller.mjs'),
        `import { spawnDaemon } from '${library}';${marks}
        mark('/-begin');
        const options = { pidFile: '${pidFile}', log: '${log}', aliveFor: 20_000 };
        const start = spawnDaemon('sh', ['-c', 'setsid tail -f ${log} & exit 0'], options);
        const error = await start.then(() => {}, (error) => error);
        mark('/-end');
        if (error !== undefined) console.error(error.message);
        process.exitCode = error === undefined ? 0 : 1;`,
      );
      return place;
    },
  };
}

/** Something that is done to a daemon that runs. */
function client(
  name: string,
  action: string,
  { hasHelper, ...options }: Pick<Scenario, 'hasHelper' | 'names'> = {},
): Scenario {
  return {
    name,
    isStart: false,
    ...(hasHelper === undefined ? {} : { hasHelper }),
    ...options,
    async prepare() {
      const place = await start(name, hasHelper === undefined ? {} : { hasHelper }).prepare();
      const { code, stderr } = await untraced(place.starts);
      if (code !== 0) throw new Error(`the daemon of "${name}" did not start: ${stderr}`);
      const program = join(place.path, 'client.mjs');
      writeFileSync(
        program,
        `import { daemonStatus, reloadDaemon, signalDaemon, stopDaemon } from '${library}';${marks}
        const target = { pidFile: '${place.pidFile}' };
        mark('/-begin');
        const [said, error] = await (async () => ${action})().then((said) => [said], (error) => [, error]);
        mark('/-end');
        console.log(JSON.stringify(said) ?? '');
        if (error !== undefined) console.error(error.message);
        process.exitCode = error === undefined ? 0 : 1;`,
      );
      return { ...place, command: [process.execPath, program] };
    },
  };
}

/** Users that have never started anything, whose private folder is missing. */
const firstNew = 1_000_000;
let nextUser = firstNew + (process.pid << 12);

function folder(owner?: number, ofDaemon = owner) {
  const path = mkdtempSync(join(realpathSync(tmpdir()), 'daemonry-faults-'));
  const at = (...names: string[]) => join(path, ...names);
  mkdirSync(at('state'));
  // Whoever the daemon is to be has to get at its program.
  chmodSync(path, 0o755);
  if (owner !== undefined) chownSync(path, owner, owner);
  if (ofDaemon !== undefined) chownSync(at('state'), ofDaemon, ofDaemon);
  return { path, at };
}

/** Removes it with everything in it, and what lies elsewhere because of it. */
export function remove(place: Place): void {
  const { path } = place;
  const name = basename(path);
  const places = [
    `/run/${name}`,
    `/var/log/${name}`,
    `/var/lib/daemonry/${name}.json`,
    `/var/lib/daemonry/${name}.jsonl`,
  ];
  const owned = ownerOf(place) >= firstNew ? [privateFolder(place)] : [];
  for (const left of [...privateFiles(place), ...owned, ...places, path])
    rmSync(left, { recursive: true, force: true });
}

/** Whether the daemon of a place has reported that it is up, however it ended. */
export function wasUp(place: Place): boolean {
  const phase = privateFiles(place).find((file) => file.endsWith('.phase'))!;
  return existsSync(phase) && readFileSync(phase, 'utf8').includes('u');
}

function privateFiles(place: Place): string[] {
  return ['lock', 'phase', 'transition'].map((kind) => `${privateFolder(place)}/${keyOf(place.pidFile)}.${kind}`);
}

/** Where the user that starts the daemon has its private files: one of these without a home. */
function privateFolder(place: Place): string {
  const owner = ownerOf(place);
  return owner === 0 ? '/run/daemonry/locks' : `/tmp/daemonry-${owner}`;
}

function ownerOf({ path }: Place): number {
  return statSync(path).uid;
}

/** The name of a pidfile's private files: FNV-1a of its path, with 128 bits. */
function keyOf(pidFile: string): string {
  let hash = 0x6c62272e07bb014262b821756295c58dn;
  for (const byte of Buffer.from(pidFile))
    hash = BigInt.asUintN(128, (hash ^ BigInt(byte)) * 0x1000000000000000000013bn);
  return hash.toString(16).padStart(32, '0');
}

/** The log as it is before a start. */
export { before as logBefore };

/** The calls by which other processes are found and ended. Those on the files of a process are too many, and others' as well. */
const sweeping = ['getdents64', 'getpgid', 'kill', 'pidfd_open', 'pidfd_send_signal', 'poll'];

const rights = `limits: { nofile: 512, core: 0 }, nice: 1, oomScoreAdjust: 10, noNewPrivileges: true`;
const becomesNobody = `user: ${nobody}, group: ${nobody}, groups: []`;

export const scenarios: readonly Scenario[] = [
  start('start'),
  start('start, forking by copying', { env: { DAEMONRY_FORK: 'copy' } }),
  start('start as another user, with limits and a socket', {
    more: () => `${becomesNobody}, ${rights}, listen: { tcp: { port: 0, host: '127.0.0.1' } }`,
  }),
  start("start as another user, in a folder of that user's", {
    more: (at) => `${becomesNobody}, listen: { unix: { path: '${at('state', 'app.sock')}' } }`,
    becomes: nobody,
    roles: ['leader', 'daemon'],
  }),
  start('start by name', { isNamed: true, roles: ['launcher'] }),
  start('replace', { replaces: true, roles: ['launcher', 'launcher-thread'] }),
  start('start by an ordinary user', { as: nobody }),
  start('start by a user that has never started anything', { as: 'new', roles: ['launcher'] }),
  start('spawnDaemon', { spawns: true }),
  start('spawnDaemon of a program that locks its own pidfile', { spawns: true, locksItself: true }),
  client('status', 'daemonStatus(target)'),
  client('signal', `signalDaemon(target, 'SIGHUP')`),
  client('reload', 'reloadDaemon(target)'),
  client('stop', 'stopDaemon(target)'),
  client('stop of a daemon with a helper', 'stopDaemon(target)', { hasHelper: true, names: sweeping }),
  start('start after a crash that has left a helper', { isAfterCrash: true, roles: ['launcher'], names: sweeping }),
  failingStart('start of a program that puts itself into the background', {
    roles: ['launcher-thread'],
    names: sweeping,
  }),
];
