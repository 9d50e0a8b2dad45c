/** What is started, looked at and stopped while calls fail: each a program that marks where its part begins and ends. */
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../__test__/helpers/run.js';

/** A folder of its own for each run, and the programs in it. */
export interface Place {
  readonly path: string;
  readonly pidFile: string;
  readonly log: string;
  /** What is traced. */
  readonly command: readonly string[];
  /** The same start without a tracer; what it starts has to be right. */
  readonly starts: readonly string[];
  /** Whether nobody but the daemon knows of its pidfile, so that it is left of one that Node.js itself has ended. */
  readonly locksItself: boolean;
}

export interface Scenario {
  readonly name: string;
  /** Whether what is traced is a start; otherwise a daemon is started before, and looked at or ended. */
  readonly isStart: boolean;
  /** Makes a place, and in it whatever the traced program expects. */
  prepare(): Promise<Place>;
}

const library = new URL('../dist/index.js', import.meta.url).href;
const nobody = 65534;
const before = 'a line from before\n';

const marks = `
import { accessSync } from 'node:fs';
const mark = (name) => { try { accessSync(name); } catch {} };
`;

interface StartOptions {
  /** JavaScript: more options of `daemonize`. */
  readonly options?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly as?: number;
  /** Whose the daemon's files are. */
  readonly becomes?: number;
  /** Starts it by `spawnDaemon` from a process that lives on. */
  readonly spawns?: boolean;
  /** Names the pidfile only in the program that is spawned, which has to lock it itself. */
  readonly locksItself?: boolean;
}

function start(
  name: string,
  { options = '', env = {}, as, becomes = as, spawns = false, locksItself = false }: StartOptions = {},
): Scenario {
  return {
    name,
    isStart: true,
    async prepare() {
      const { path, at } = folder(as, becomes);
      const [pidFile, log] = [at('state', 'app.pid'), at('state', 'app.log')];
      writeFileSync(log, before);
      if (becomes !== undefined) chownSync(log, becomes, becomes);
      const main = `async (daemon) => {
        setInterval(() => {}, 60_000);
        daemon.onStop(() => {});
        // Once it is told that it is up, a turn of the loop after main.
        setTimeout(() => mark('/-end'), 50);
      }`;
      const program = at('program.mjs');
      const text = (marks: string) => `
        import { daemonize } from '${library}';${marks}
        mark('/-begin');
        daemonize({ pidFile: '${pidFile}', log: '${log}', ${options} }, ${main});`;
      writeFileSync(program, text(marks));
      const caller = at('caller.mjs');
      writeFileSync(
        caller,
        `import { spawnDaemon } from '${library}';${marks}
        mark('/-begin');
        const options = { ${locksItself ? '' : `pidFile: '${pidFile}',`} log: '${log}', waitFor: 'ready', ${options} };
        const error = await spawnDaemon(process.execPath, ['${program}'], options).then(() => {}, (error) => error);
        mark('/-end');
        if (error !== undefined) console.error(error.message);
        process.exitCode = error === undefined ? 0 : 1;`,
      );
      const user = as === undefined ? [] : ['setpriv', `--reuid=${as}`, `--regid=${as}`, '--clear-groups'];
      const variables = Object.entries(env).map(([variable, value]) => `${variable}=${value}`);
      const command = [...user, 'env', ...variables, process.execPath, spawns ? caller : program];
      return { path, pidFile, log, command, starts: command, locksItself };
    },
  };
}

/** Something that is done to a daemon that runs. */
function client(name: string, action: string): Scenario {
  return {
    name,
    isStart: false,
    async prepare() {
      const place = await start(name).prepare();
      const { code, stderr } = await run(place.starts[0]!, place.starts.slice(1));
      if (code !== 0) throw new Error(`the daemon of "${name}" did not start: ${stderr}`);
      const program = join(place.path, 'client.mjs');
      writeFileSync(
        program,
        `import { sendSignal, status, stop } from '${library}';${marks}
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

function folder(owner?: number, ofDaemon = owner) {
  const path = mkdtempSync(join(tmpdir(), 'daemonry-faults-'));
  const at = (...names: string[]) => join(path, ...names);
  mkdirSync(at('state'));
  // Whoever the daemon is to be has to get at its program.
  chmodSync(path, 0o755);
  if (owner !== undefined) chownSync(path, owner, owner);
  if (ofDaemon !== undefined) chownSync(at('state'), ofDaemon, ofDaemon);
  return { path, at };
}

/** Removes it with everything in it. */
export function remove({ path }: Place): void {
  rmSync(path, { recursive: true, force: true });
}

/** The log as it is before a start. */
export { before as logBefore };

const rights = `user: ${nobody}, group: ${nobody}, groups: [], limits: { nofile: 512, core: 0 }, nice: 1, oomScoreAdjust: 10,
  noNewPrivileges: true, listen: { tcp: { port: 0, host: '127.0.0.1' } }`;

export const scenarios: readonly Scenario[] = [
  start('start'),
  start('start, forking by copying', { env: { DAEMONRY_FORK: 'copy' } }),
  start('start as another user, with limits and a socket', { options: rights, becomes: nobody }),
  start('start by an ordinary user', { as: nobody }),
  start('spawnDaemon', { spawns: true }),
  start('spawnDaemon of a program that locks its own pidfile', { spawns: true, locksItself: true }),
  client('status', 'status(target)'),
  client('sendSignal', `sendSignal(target, 'SIGHUP')`),
  client('stop', 'stop(target)'),
];
