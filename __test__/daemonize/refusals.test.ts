/** Where a program cannot become a daemon: it is told so in one sentence, or stays in the foreground, and nothing is forked. */
import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { daemonStatus, stopDaemon } from '../../dist/index.js';
import { bench, type Bench } from '../helpers/bench.js';
import { testOnLinux } from '../helpers/privileges.js';
import { hasEnded, statusField } from '../helpers/processes.js';
import { start, type Outcome } from '../helpers/run.js';
import { until } from '../helpers/until.js';

const service = `
  const { daemonize } = require('daemonry');
  const { tell } = require('./tell.cjs');
  daemonize({ pidFile: 'a.pid' }, () => tell());
`;

const classic = `
  const { daemonize } = require('daemonry');
  const { tell } = require('./tell.cjs');
  daemonize({ pidFile: 'a.pid' });
  tell();
`;

/** Nothing was started: no pidfile, nobody told anything; the workspace looks for processes itself. */
function nothingStarted(t: ExecutionContext, { at, told }: Bench) {
  t.false(existsSync(at('a.pid')));
  t.is(told(), undefined);
}

/** The outcome is this one sentence, and exit code 1. */
function refused(t: ExecutionContext, app: Bench, { code, stderr }: Outcome, sentence: string) {
  t.is(stderr, `${sentence}\n`);
  t.is(code, 1);
  nothingStarted(t, app);
}

const onStdin = (script: string) => `a program ${script} cannot become a daemon: put it into a file`;

for (const [command, sentence] of [
  ['"$NODE" < app.cjs', `daemonry: ${onStdin('on stdin or in the REPL')}`],
  ['cat app.cjs | "$NODE"', `daemonry: ${onStdin('on stdin or in the REPL')}`],
  ['"$NODE" - < app.cjs', `daemonry: ${onStdin('read from -')}`],
  ['"$NODE" - an argument < app.cjs', `daemonry: ${onStdin('read from -')}`],
  ['"$NODE" /dev/stdin < app.cjs', `stdin: ${onStdin('read from /dev/stdin')}`],
] as const) {
  for (const [form, source] of [
    ['with main', service],
    ['without', classic],
  ] as const) {
    test(`a program on stdin is refused: ${command}, ${form}`, async (t) => {
      const app = bench(t, { 'app.cjs': source });
      refused(t, app, await app.shell(command), sentence);
    });
  }
}

test('a call in the REPL is refused', async (t) => {
  const app = bench(t, { 'app.cjs': service });
  const { stdout } = await app.shell('"$NODE" -i < app.cjs');
  t.true(stdout.includes(onStdin('on stdin or in the REPL')), stdout);
  nothingStarted(t, app);
});

for (const flags of [['--watch'], ['--watch-path=.']]) {
  test(`a program under node ${flags} is refused`, async (t) => {
    const app = bench(t, { 'app.cjs': service });
    const { child, done } = start(process.execPath, [...flags, 'app.cjs'], { cwd: app.path });
    let stderr = '';
    child.stderr!.on('data', (text: string) => (stderr += text));
    const sentence = 'app.cjs: a program under --watch cannot become a daemon: start it without --watch\n';
    try {
      await until('the refusal', () => stderr.includes(sentence));
    } finally {
      child.kill();
      await done;
    }
    nothingStarted(t, app);
  });
}

test('a worker thread is refused with ERR_WORKER_THREAD', async (t) => {
  const app = bench(t, {
    'app.mjs': `
      import { Worker } from 'node:worker_threads';
      new Worker(new URL('./worker.mjs', import.meta.url)).on('message', (said) => console.log(said));
    `,
    'worker.mjs': `
      import { parentPort } from 'node:worker_threads';
      import { daemonize, isDaemonError } from 'daemonry';
      try {
        daemonize({ pidFile: 'a.pid' }, () => {});
      } catch (error) {
        parentPort.postMessage([isDaemonError(error), error.code, error.message].join(' '));
      }
    `,
  });
  const { stdout } = await app.node(['app.mjs']);
  t.is(stdout, 'true ERR_WORKER_THREAD a worker thread cannot become a daemon: call it in the main thread\n');
  nothingStarted(t, app);
});

test('a worker thread that does not catch the refusal tells it to its parent', async (t) => {
  const app = bench(t, {
    'app.mjs': `
      import { Worker } from 'node:worker_threads';
      new Worker(new URL('./worker.mjs', import.meta.url)).on('error', (error) => console.log(error.code));
    `,
    'worker.mjs': "import { daemonize } from 'daemonry'; daemonize({ pidFile: 'a.pid' });",
  });
  const { stdout } = await app.node(['app.mjs']);
  t.is(stdout, 'ERR_WORKER_THREAD\n');
  nothingStarted(t, app);
});

const permission = process.allowedNodeEnvironmentFlags.has('--permission')
  ? '--permission'
  : '--experimental-permission';
const fileSystem = ['--allow-fs-read=*', '--allow-fs-write=*'];

for (const [name, flags, reason] of [
  [
    'under the permission model',
    [permission, ...fileSystem],
    "Node's permission model forbids the native addon of daemonry: add --allow-addons",
  ],
  ['under --no-addons', ['--no-addons'], "Node's --no-addons forbids the native addon of daemonry: start without it"],
] as const) {
  test(`${name} daemonry can be imported, is not supported, and says why`, async (t) => {
    const app = bench(t, {
      'app.mjs': `
      import { daemonize, supported } from 'daemonry';
      import { tell } from './tell.cjs';
      console.log(supported);
      process.on('uncaughtExceptionMonitor', (error) => console.log(error.code));
      daemonize({ pidFile: 'a.pid' }, () => tell());
    `,
    });
    const outcome = await app.node([...flags, '--no-warnings', 'app.mjs']);
    t.is(outcome.stdout, 'false\nERR_UNSUPPORTED_PLATFORM\n');
    refused(t, app, outcome, `app.mjs: ${reason}`);
  });
}

test('under the permission model with addons allowed a program becomes a daemon under the same model', async (t) => {
  const app = bench(t, { 'app.cjs': service });
  const flags = [permission, ...fileSystem, '--allow-addons'];
  const { code, stderr } = await app.node([...flags, 'app.cjs']);
  t.is(code, 0, stderr);
  t.deepEqual(app.told()?.execArgv, flags);
  t.like(await daemonStatus({ pidFile: app.at('a.pid') }), { state: 'running', pid: app.told()?.pid });
});

for (const [what, fork] of [
  [
    'cluster workers',
    "import cluster from 'node:cluster'; const isChild = cluster.isWorker; const fork = () => cluster.fork();",
  ],
  [
    'children over IPC that run its own script',
    "import child from 'node:child_process'; const isChild = !!process.send; const fork = () => child.fork(process.argv[1]);",
  ],
] as const) {
  for (const pidFile of ["'a.pid'", 'undefined']) {
    test(`${what} of a daemon get a foreground handle without a pidfile: pidFile ${pidFile}`, async (t) => {
      const app = bench(t, {
        'app.mjs': `
          import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
          import { daemonize } from 'daemonry';
          ${fork}
          const notes = import.meta.dirname + '/notes';
          const count = () => readFileSync(notes, 'utf8').split('\\n').length;
          // Whatever goes wrong, it does not go on for ever.
          if (count() > 20) process.exit(9);
          appendFileSync(notes, 'image\\n');
          process.on('disconnect', () => process.exit());
          daemonize({ pidFile: ${pidFile} }, async (daemon) => {
            appendFileSync(notes, [isChild ? 'child' : 'daemon', daemon.mode, daemon.pidFile, daemon.pid].join(' ') + '\\n');
            const alive = setInterval(() => {}, 60_000);
            if (isChild) return process.send('up');
            const up = () => new Promise((resolve) => fork().on('message', resolve));
            await Promise.all([up(), up()]);
          });
        `,
        notes: '',
      });
      const { code, stderr } = await app.node(['app.mjs']);
      t.is(code, 0, stderr);
      const lines = readFileSync(app.at('notes'), 'utf8').trim().split('\n');
      const pids = new Map(
        lines.map((line) => [Number(line.split(' ').at(-1)), line.split(' ').slice(0, -1).join(' ')]),
      );
      const [daemon] = [...pids].find(([, line]) => line.startsWith('daemon'))!;
      // By its pid: without a pidfile there is no other way to end it.
      t.teardown(async () => {
        process.kill(daemon, 'SIGTERM');
        await until('the daemon and its children have ended', () => [...pids.keys()].every(hasEnded));
      });
      const seen = [...pids.values()].filter((line) => line !== '').sort();
      const held = pidFile === 'undefined' ? '' : app.at('a.pid');
      t.deepEqual(seen, ['child foreground ', 'child foreground ', `daemon daemon ${held}`]);
      // The launcher, the daemon and its two children.
      t.is(lines.filter((line) => line === 'image').length, 4);
      if (held !== '') t.like(await daemonStatus({ pidFile: held }), { state: 'running', pid: daemon });
    });
  }
}

test('a cluster worker of a plain program gets a foreground handle without a pidfile', async (t) => {
  const app = bench(t, {
    'app.mjs': `
      import cluster from 'node:cluster';
      cluster.setupPrimary({ exec: 'worker.mjs' });
      const worker = cluster.fork();
      worker.on('message', (said) => {
        console.log(said, worker.process.pid);
        worker.kill();
      });
    `,
    'worker.mjs': `
      import { daemonize } from 'daemonry';
      daemonize({ pidFile: 'a.pid' }, (daemon) => process.send([daemon.mode, daemon.pidFile, daemon.pid].join(' ')));
    `,
  });
  const { stdout } = await app.node(['app.mjs']);
  const [, own, worker] = /^foreground {2}(\d+) (\d+)$/m.exec(stdout) ?? [];
  t.truthy(worker, stdout);
  t.is(own, worker);
  nothingStarted(t, app);
});

testOnLinux(
  'DAEMONRY_MODE=foreground locks the pidfile and leaves stdio, working directory and umask alone',
  async (t) => {
    const app = bench(t, {
      'app.mjs': `
      import { daemonize } from 'daemonry';
      import { tell } from './tell.cjs';
      daemonize({ pidFile: 'a.pid', log: 'a.log', umask: 0, cwd: '/' }, ({ mode, pidFile }) => {
        console.log('on stdout');
        tell({ mode, pidFile });
      });
    `,
    });
    const { child, done } = start('sh', ['-c', 'umask 027; exec "$NODE" app.mjs'], {
      cwd: app.path,
      env: { ...process.env, NODE: process.execPath, DAEMONRY_MODE: 'foreground' },
    });
    const told = await until('it runs', app.told);
    const pid = child.pid!;
    t.like(told, { pid, mode: 'foreground', pidFile: app.at('a.pid'), cwd: app.path });
    await until('it is up', async () => (await daemonStatus({ pidFile: app.at('a.pid') })).state === 'running');
    t.like(await daemonStatus({ pidFile: app.at('a.pid') }), { pid });
    t.is(readlinkSync(`/proc/${pid}/cwd`), app.path);
    t.is(statusField(pid, 'Umask'), '0027');
    t.deepEqual(await stopDaemon({ pidFile: app.at('a.pid') }), { outcome: 'stopped', pid });
    const { signal, stdout } = await done;
    t.is(signal, 'SIGTERM');
    t.is(stdout, 'on stdout\n');
    t.false(existsSync(app.at('a.pid')));
    t.false(existsSync(app.at('a.log')));
  },
);

test('in the foreground a rejecting main prints the error, exits with 1 and removes the pidfile', async (t) => {
  const app = bench(t, {
    'app.mjs': `
      import { existsSync } from 'node:fs';
      import { daemonize } from 'daemonry';
      daemonize({ pidFile: 'a.pid' }, async () => {
        await new Promise(setImmediate);
        console.log('pidfile', existsSync('a.pid'));
        throw new TypeError('no such thing');
      });
    `,
  });
  const { code, stdout, stderr } = await app.node(['app.mjs'], {
    env: { ...process.env, DAEMONRY_MODE: 'foreground' },
  });
  t.is(stdout, 'pidfile true\n');
  t.is(code, 1);
  t.true(stderr.startsWith('TypeError: no such thing\n    at '), stderr);
  t.false(existsSync(app.at('a.pid')));
});

for (const source of [service, classic]) {
  test(`an unknown DAEMONRY_MODE is refused: ${source === classic ? 'without main' : 'with main'}`, async (t) => {
    const app = bench(t, { 'app.cjs': source });
    const outcome = await app.node(['app.cjs'], { env: { ...process.env, DAEMONRY_MODE: 'nonsense' } });
    const sentence = 'app.cjs: the variable DAEMONRY_MODE must be auto, daemon or foreground, not "nonsense"';
    refused(t, app, outcome, sentence);
  });
}

for (const mode of ['auto', 'daemon', '']) {
  test(`DAEMONRY_MODE=${mode} makes a daemon`, async (t) => {
    const app = bench(t, { 'app.cjs': service });
    const { code, stderr } = await app.node(['app.cjs'], { env: { ...process.env, DAEMONRY_MODE: mode } });
    t.is(code, 0, stderr);
    t.is((await daemonStatus({ pidFile: app.at('a.pid') })).state, 'running');
  });
}

for (const [where, source] of [
  [
    'inside main',
    `
      import { daemonize } from 'daemonry';
      daemonize({ pidFile: 'a.pid' }, () => import('./missing.mjs'));
    `,
  ],
  [
    'above the call',
    `
      import { daemonize } from 'daemonry';
      await import(process.env.DAEMONRY_START ? './missing.mjs' : './tell.cjs');
      daemonize({ pidFile: 'a.pid' }, () => {});
    `,
  ],
  [
    'below the call',
    `
      import { daemonize } from 'daemonry';
      daemonize({ pidFile: 'a.pid', waitFor: 'ready' });
      await import('./missing.mjs');
    `,
  ],
] as const) {
  test(`a module that only the daemon misses fails the start with the reason: ${where}`, async (t) => {
    const app = bench(t, { 'app.mjs': source });
    const { code, stderr } = await app.node(['app.mjs']);
    t.is(code, 1);
    const sentence = stderr.trimEnd().split('\n').at(-1)!;
    t.true(sentence.startsWith('app.mjs did not start: the daemon exited with code 1 before it was up: '), stderr);
    t.true(sentence.includes(`Cannot find module '${app.at('missing.mjs')}'`), sentence);
    nothingStarted(t, app);
  });
}
