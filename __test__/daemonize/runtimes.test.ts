/** Programs under Bun, Deno and as single-executable applications: the daemon is the same program with the same flags. */
import { chmodSync, copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { daemonStatus, stopDaemon } from '../../dist/index.js';
import { bench, type Bench, type Told } from '../helpers/bench.js';
import { noLinux, testUnless } from '../helpers/privileges.js';
import { hasEnded } from '../helpers/processes.js';
import { run, type Outcome } from '../helpers/run.js';
import { missing, runtime } from '../helpers/runtimes.js';

const dist = fileURLToPath(new URL('../../dist/index.js', import.meta.url));

/** Says what it is, and how it was called. Deno knows packages by their paths only. */
const app = `
  import { daemonize, currentDaemon } from '${dist}';
  import { readFileSync, writeFileSync } from 'node:fs';
  const onStarted = ({ pid }) => console.log('started ' + pid);
  daemonize({ pidFile: 'a.pid', log: 'log', onStarted }, (daemon) => {
    const line = readFileSync('/proc/self/cmdline', 'utf8').split('\\0').slice(0, -1);
    const { pid, argv } = process;
    daemon.onStop(() => writeFileSync('stopped', String(pid)));
    if (argv.includes('fail')) throw new RangeError('failed on purpose');
    process.chdir('${'$'}{folder}');
    writeFileSync('told.json', JSON.stringify({ pid, argv: argv.slice(2), line, env: process.env, mode: currentDaemon().mode }));
    setInterval(() => {}, 60_000);
  });
`;

function program(t: ExecutionContext): Bench {
  const files = bench(t);
  writeFileSync(files.at('app.mjs'), app.replaceAll('${folder}', files.path));
  return files;
}

const runtimes = {
  bun: { command: [], flags: ['--smol'], inspector: '--inspect=127.0.0.1:0', watch: '--hot' },
  deno: {
    command: ['run'],
    flags: ['--allow-all', '--v8-flags=--expose-gc'],
    inspector: '--inspect=127.0.0.1:0',
    watch: '--watch',
  },
} as const;

/** What the daemon told, once it is certain that it runs under its pidfile. */
async function daemonOf(t: ExecutionContext, { at, told }: Bench, { code, stdout, stderr }: Outcome) {
  t.is(code, 0, stderr);
  const daemon = told() as (Told & { readonly line: string[]; readonly mode: string }) | undefined;
  if (daemon === undefined) throw new Error(`no daemon told anything; ${stderr}`);
  t.is(stdout, `started ${daemon.pid}\n`);
  t.like(await daemonStatus({ pidFile: at('a.pid') }), { state: 'running', pid: daemon.pid });
  return daemon;
}

for (const [name, { command, flags, inspector, watch }] of Object.entries(runtimes)) {
  const onIt = testUnless(noLinux ?? missing(name as 'bun' | 'deno'));
  const start = (files: Bench, ...args: string[]) =>
    run(runtime(name as 'bun' | 'deno')!, [...command, ...args], {
      cwd: files.path,
      env: { ...process.env, NO_COLOR: '1' },
    });

  onIt(`${name}: the daemon has the launcher's flags but the inspector's, and its arguments`, async (t) => {
    const files = program(t);
    const outcome = await start(files, inspector, ...flags, 'app.mjs', '--inspect', 'two words', '');
    const daemon = await daemonOf(t, files, outcome);
    t.deepEqual(daemon.argv, ['--inspect', 'two words', '']);
    t.is(daemon.mode, 'daemon');
    for (const flag of flags) t.true(daemon.line.includes(flag), daemon.line.join(' '));
    t.false(daemon.line.includes(inspector), daemon.line.join(' '));
    t.like(await stopDaemon({ pidFile: files.at('a.pid') }), { outcome: 'stopped', pid: daemon.pid });
    t.is(readFileSync(files.at('stopped'), 'utf8'), `${daemon.pid}`);
  });

  onIt(`${name}: a second start, and a start that fails, are told`, async (t) => {
    const files = program(t);
    const failed = await start(files, ...flags, 'app.mjs', 'fail');
    t.is(failed.code, 1);
    t.regex(failed.stderr, /^app\.mjs did not start: .*RangeError: failed on purpose/m);
    const daemon = await daemonOf(t, files, await start(files, ...flags, 'app.mjs'));
    const second = await start(files, ...flags, 'app.mjs');
    t.is(second.code, 1);
    t.regex(second.stderr, new RegExp(`already running with pid ${daemon.pid}`));
    t.false(hasEnded(daemon.pid));
  });

  onIt(`${name}: a program that is watched is refused with a sentence`, async (t) => {
    const files = program(t);
    // It watches on for ever; what it says comes at once.
    const { stderr } = await run(
      'timeout',
      ['5', runtime(name as 'bun' | 'deno')!, ...command, watch, ...flags, 'app.mjs'],
      {
        cwd: files.path,
      },
    );
    t.regex(stderr, /app\.mjs: a program under --watch cannot become a daemon: start it without --watch/);
  });
}

/** Starts a daemon, does everything to it that there is, and tells how that went. */
const caller = `
  import { setTimeout as sleep } from 'node:timers/promises';
  import { connectDaemon, currentDaemon, daemonize, isDaemonError, PidFile, signalDaemon, spawnDaemon, daemonStatus, stopDaemon } from '${dist}';
  const refusal = (work) => Promise.resolve().then(work).then(() => 'done', (error) => isDaemonError(error) ? error.code : String(error));
  const target = { pidFile: 'a.pid' };
  const flags = JSON.parse(process.argv[2]);
  const options = { ...target, log: 'log', waitFor: 'ready', cwd: process.cwd(), limits: { nofile: 333 }, listen: { ctl: { path: 'ctl' } } };
  const start = (more, program = 'server.mjs') => spawnDaemon(process.execPath, [...flags, program], { ...options, ...more });
  const told = {};
  const { pid, outcome } = await start();
  told.outcome = outcome;
  told.state = (await daemonStatus(target)).state;
  told.isIt = (await daemonStatus(target)).pid === pid;
  told.second = await refusal(() => start());
  told.reuse = (await start({ ifRunning: 'reuse' })).pid === pid;
  told.signalled = (await signalDaemon(target, 'SIGHUP')).pid === pid;
  const socket = await connectDaemon(process.execPath, [...flags, 'server.mjs'], { ...options, listen: undefined, socket: 'ctl' });
  told.answer = '';
  for await (const chunk of socket) told.answer += chunk;
  told.stopped = (await stopDaemon(target)).outcome;
  told.after = (await daemonStatus(target)).state;
  told.stoppedAgain = (await stopDaemon(target)).outcome;
  const aborted = new AbortController();
  setTimeout(() => aborted.abort(), 50);
  told.aborted = await refusal(() => start({ signal: aborted.signal }, 'never-ready.mjs'));
  told.missing = await refusal(() => spawnDaemon('/missing', [], { ...target }));
  const file = PidFile.acquire('a.pid');
  told.held = (await daemonStatus(target)).state;
  file.release();
  told.current = currentDaemon() ?? 'none';
  told.invalid = await refusal(() => spawnDaemon('true', [], { nam: 'x' }));
  console.log(JSON.stringify(told));
`;
const server = `
  import { createServer } from 'node:net';
  import { daemonize } from '${dist}';
  daemonize({ listen: { ctl: { path: 'ctl' } } }, async (daemon) => {
    daemon.onReload(() => console.log('reloaded'));
    daemon.onStop(() => console.log('stopping'));
    const server = createServer((connection) => connection.end('pid ' + (daemon.pid === process.pid)));
    await new Promise((done) => server.listen({ fd: daemon.listeners.ctl }, done));
    daemon.serve(server);
  });
`;

for (const name of ['node', 'bun', 'deno'] as const) {
  testUnless(name === 'node' ? undefined : missing(name))(`${name}: what a caller can do to a daemon`, async (t) => {
    const files = bench(t, {
      'caller.mjs': caller,
      'server.mjs': server,
      'never-ready.mjs': 'setInterval(() => {}, 60_000);',
    });
    const { command, flags } = name === 'deno' ? runtimes.deno : { command: [], flags: [] };
    const args = [...command, ...flags, 'caller.mjs', JSON.stringify([...command, ...flags])];
    const outcome = await run(name === 'node' ? process.execPath : runtime(name)!, args, { cwd: files.path });
    t.is(outcome.code, 0, outcome.stderr);
    t.deepEqual(JSON.parse(outcome.stdout), {
      outcome: 'started',
      state: 'running',
      isIt: true,
      second: 'ERR_ALREADY_RUNNING',
      reuse: true,
      signalled: true,
      answer: 'pid true',
      stopped: 'stopped',
      after: 'stopped',
      stoppedAgain: 'not-running',
      aborted: 'ERR_START_INTERRUPTED',
      missing: 'ENOENT',
      held: 'running',
      current: 'none',
      invalid: 'ERR_INVALID_OPTION',
    });
    t.deepEqual(readFileSync(files.at('log'), 'utf8').trimEnd().split('\n').slice(0, 2), ['reloaded', 'stopping']);
  });
}

testUnless(missing('deno'))('deno: a program on stdin is refused with a sentence', async (t) => {
  const files = program(t);
  const { code, stderr } = await run('sh', ['-c', `"$0" run --allow-all - <app.mjs`, runtime('deno')!], {
    cwd: files.path,
  });
  t.is(code, 1);
  t.regex(stderr, /a program on stdin or in the REPL cannot become a daemon: put it into a file/);
});

test('a single-executable application becomes a daemon with its arguments', async (t) => {
  const files = bench(t);
  const main = `
    const { createRequire } = require('node:module');
    const { daemonize } = createRequire(${JSON.stringify(dist)})(${JSON.stringify(dist)});
    const { tell } = createRequire(${JSON.stringify(files.at('x.js'))})('./tell.cjs');
    const onStarted = ({ pid }) => console.log('started ' + pid);
    daemonize({ pidFile: 'a.pid', onStarted }, () => tell());
  `;
  writeFileSync(files.at('main.cjs'), main);
  writeFileSync(
    files.at('sea.json'),
    JSON.stringify({ main: 'main.cjs', output: 'blob', disableExperimentalSEAWarning: true }),
  );
  const blob = await files.node(['--experimental-sea-config', 'sea.json']);
  t.is(blob.code, 0, blob.stderr);
  copyFileSync(process.execPath, files.at('service'));
  chmodSync(files.at('service'), 0o755);
  const postject = fileURLToPath(new URL('../../node_modules/postject/dist/cli.js', import.meta.url));
  const fuse = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2';
  // It writes the executable anew by itself, which takes seconds of a processor.
  const words = ['service', 'NODE_SEA_BLOB', 'blob', '--sentinel-fuse', fuse];
  const injected = await files.node([postject, ...words], { deadline: 300_000 });
  t.is(injected.code, 0, injected.stderr);
  const outcome = await run(files.at('service'), ['one', '--two'], { cwd: files.path });
  const daemon = await daemonOf(t, files, outcome);
  t.deepEqual(daemon.argv.slice(1), ['one', '--two']);
});
