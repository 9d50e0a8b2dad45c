/** However a program is started, its daemon is the same program started the same way. */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { daemonStatus, stopDaemon } from '../../dist/index.js';
import { bench, type Bench, type Told } from '../helpers/bench.js';
import { testOnLinux } from '../helpers/privileges.js';
import { descriptors, processes } from '../helpers/processes.js';
import type { Outcome, RunOptions } from '../helpers/run.js';
import { until } from '../helpers/until.js';

const esm = `
  import { daemonize } from 'daemonry';
  import { tell } from './tell.cjs';
  daemonize({ pidFile: 'a.pid' }, () => tell({ setUp: globalThis.setUp }));
`;
const commonJs = `
  const { daemonize } = require('daemonry');
  const { tell } = require('./tell.cjs');
  daemonize({ pidFile: 'a.pid' }, () => tell({ setUp: globalThis.setUp }));
`;
const typeScript = `${esm}
  enum Level { Low = 1 }
  export const level: Level = Level.Low;
`;
const setUp = 'globalThis.setUp = process.pid;';

/** What the daemon told, once it is certain that it runs under its pidfile. */
async function daemonOf(t: ExecutionContext, { at, told }: Bench, { code, stderr }: Outcome): Promise<Told> {
  t.is(code, 0, stderr);
  const daemon = told();
  if (daemon === undefined) throw new Error(`no daemon told anything; ${stderr}`);
  t.like(await daemonStatus({ pidFile: at('a.pid') }), { state: 'running', pid: daemon.pid });
  return daemon;
}

interface Start {
  readonly files: Readonly<Record<string, string>>;
  readonly flags: readonly string[];
  readonly script?: string;
  readonly args?: readonly string[];
  readonly run?: RunOptions;
  /** Flags of the daemon, where they are not those of the launcher. */
  readonly kept?: readonly string[];
  check?(t: ExecutionContext, daemon: Told): void;
}

const wasSetUp = (t: ExecutionContext, daemon: Told) => t.is(daemon['setUp'], daemon.pid);

const starts: Readonly<Record<string, Start>> = {
  'an ES module': { files: { 'app.mjs': esm }, flags: [] },
  'a CommonJS module': { files: { 'app.cjs': commonJs }, flags: [] },
  'a script named without its extension': { files: { 'app.js': commonJs }, flags: [], script: 'app' },
  'TypeScript under tsx': { files: { 'app.ts': typeScript }, flags: ['--import', 'tsx'] },
  'TypeScript under tsx, as an ES module': {
    files: { 'app.ts': typeScript, 'package.json': '{ "type": "module" }' },
    flags: ['--import=tsx'],
  },
  'a relative --import': {
    files: { 'app.mjs': esm, 'set-up.mjs': setUp },
    flags: ['--import', './set-up.mjs'],
    check: wasSetUp,
  },
  'a relative --require': {
    files: { 'app.cjs': commonJs, 'set-up.cjs': setUp },
    flags: ['--require', './set-up.cjs'],
    check: wasSetUp,
  },
  'a relative --env-file': {
    files: { 'app.mjs': esm, '.env': 'FROM_FILE="two words"\n' },
    flags: ['--env-file=.env'],
    check: (t, { env }) => t.is(env['FROM_FILE'], 'two words'),
  },
  'a relative --import in NODE_OPTIONS': {
    files: { 'app.mjs': esm, 'set-up.mjs': setUp },
    flags: [],
    run: { env: { ...process.env, NODE_OPTIONS: '--import ./set-up.mjs' } },
    check: wasSetUp,
  },
  'a limit of memory': { files: { 'app.mjs': esm }, flags: ['--max-old-space-size=99', '--expose-gc'] },
  'a name of its own': {
    files: { 'app.mjs': esm },
    flags: [],
    run: { argv0: 'my daemon' },
    check: (t, { argv0 }) => t.is(argv0, 'my daemon'),
  },
  'arguments that a shell would take apart': {
    files: { 'app.mjs': esm },
    flags: [],
    args: ['a b', '"double"', "it's", 'two\nlines', 'grün € 日本 🎉', '', '*', '$HOME', '-v', '--', '--watch', '\\'],
  },
  'spaces in its path': { files: { 'my app.mjs': esm }, flags: [], args: [' '] },
  'an inspector, which stays with the launcher': {
    files: { 'app.mjs': esm },
    flags: ['--inspect=127.0.0.1:0', '--max-old-space-size=99'],
    kept: ['--max-old-space-size=99'],
  },
  'the port of an inspector as a word of its own': {
    files: { 'app.mjs': esm },
    flags: ['--inspect-port', '0', '--inspect', '--no-warnings'],
    kept: ['--no-warnings'],
  },
};

for (const [
  name,
  { files, flags, script = Object.keys(files)[0]!, args = [], run, kept = flags, check },
] of Object.entries(starts)) {
  test(`the daemon is the same program: ${name}`, async (t) => {
    const app = bench(t, files);
    const daemon = await daemonOf(t, app, await app.node([...flags, script, ...args], run));
    t.deepEqual(daemon.execArgv, kept);
    t.is(basename(daemon.argv[0]!), script);
    t.deepEqual(daemon.argv.slice(1), args);
    check?.(t, daemon);
    if (!name.includes('tsx')) return;
    // Its compiler is a process of its own, which ends when it sees that the daemon has.
    await stopDaemon({ pidFile: app.at('a.pid') });
    await until('the compiler has ended', () => processes().every((process) => !process.mentions(app.path)));
  });
}

test('an inspector asked for in NODE_OPTIONS stays with the launcher; the other options there are kept', async (t) => {
  const app = bench(t, { 'app.mjs': esm });
  const options = '--inspect=127.0.0.1:0 --no-warnings';
  const outcome = await app.node(['app.mjs'], { env: { ...process.env, NODE_OPTIONS: options } });
  t.true(outcome.stderr.includes('Debugger listening'));
  t.is((await daemonOf(t, app, outcome)).env['NODE_OPTIONS']?.trim(), '--no-warnings');
});

for (const [name, flags, source] of [
  ['node -e', ['-e'], commonJs],
  ['node -e with an ES module', ['--input-type=module', '-e'], esm],
] as const) {
  test(`a program given to ${name} can become a daemon, whatever its arguments look like`, async (t) => {
    const app = bench(t);
    const args = ['-v', '--two words', ''];
    const daemon = await daemonOf(t, app, await app.node([...flags, source, '--', ...args]));
    t.deepEqual(daemon.argv, args);
  });
}

for (const [name, options, expected] of [
  ['/ by default', '', () => '/'],
  ['the one that was asked for, as the launcher understands it', "cwd: 'sub'", (app: Bench) => app.at('sub')],
] as const) {
  test(`the daemon loads its modules in the launcher's working directory; then it is in ${name}`, async (t) => {
    const app = bench(t, {
      'sub/empty': '',
      'app.mjs': `
        import { daemonize } from 'daemonry';
        import { tell } from './tell.cjs';
        const loadedIn = process.cwd();
        daemonize({ pidFile: 'a.pid', ${options} });
        tell({ loadedIn });
      `,
    });
    const daemon = await daemonOf(t, app, await app.node(['app.mjs']));
    t.is(daemon['loadedIn'], app.path);
    t.is(daemon.cwd, expected(app));
  });
}

test('a daemon can start another program that becomes a daemon', async (t) => {
  const app = bench(t, {
    'inner.mjs': `
      import { daemonize } from 'daemonry';
      import { writeFileSync } from 'node:fs';
      daemonize({ pidFile: 'b.pid' }, ({ pid, mode }) => {
        setInterval(() => {}, 60_000);
        writeFileSync(process.argv[2], pid + ' ' + mode);
      });
    `,
    'outer.mjs': `
      import { spawnSync } from 'node:child_process';
      import { daemonize } from 'daemonry';
      import { tell } from './tell.cjs';
      const cwd = process.cwd();
      daemonize({ pidFile: 'a.pid' }, () => {
        const { status } = spawnSync(process.execPath, [cwd + '/inner.mjs', cwd + '/inner'], { cwd });
        tell({ status });
      });
    `,
  });
  const outer = await daemonOf(t, app, await app.node(['outer.mjs']));
  t.is(outer['status'], 0);
  const [inner, mode] = readFileSync(app.at('inner'), 'utf8').split(' ');
  t.is(mode, 'daemon');
  t.not(Number(inner), outer.pid);
  t.like(await daemonStatus({ pidFile: app.at('b.pid') }), { state: 'running', pid: Number(inner) });
});

testOnLinux('a program with an IPC channel becomes a daemon that does not keep the channel open', async (t) => {
  const app = bench(t, {
    'app.mjs': `
      import { daemonize } from 'daemonry';
      import { tell } from './tell.cjs';
      daemonize({ pidFile: 'a.pid' }, () => tell({ channel: typeof process.send }));
    `,
    'parent.mjs': `
      import { fork } from 'node:child_process';
      // Ends only when the channel has closed.
      fork('app.mjs').on('disconnect', () => console.log('closed')).on('exit', (code) => console.log('exited', code));
    `,
  });
  const outcome = await app.node(['parent.mjs']);
  t.deepEqual(outcome.stdout.trim().split('\n').sort(), ['closed', 'exited 0']);
  const daemon = await daemonOf(t, app, outcome);
  t.is(daemon['channel'], 'undefined');
  t.is(daemon.env['NODE_CHANNEL_FD'], undefined);
  t.deepEqual(
    [...descriptors(daemon.pid).values()].filter((target) => target.startsWith('socket:')),
    [],
  );
});

test('a message about a program given to node -e does not take an argument for its name', async (t) => {
  const app = bench(t);
  const program = "require('daemonry').daemonize({}, () => process.exit(5))";
  const { code, stderr } = await app.node(['-e', program, '/bin/argument']);
  t.is(code, 1);
  t.is(stderr, 'daemonry: the daemon did not start: the daemon exited with code 5 before it was up\n');
});
