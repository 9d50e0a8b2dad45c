import { cpSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { currentDaemon, daemonPaths, daemonStatus, supported } from '../../dist/index.js';
import { bench } from '../helpers/bench.js';
import { read } from '../helpers/files.js';
import { isRoot } from '../helpers/privileges.js';
import { run } from '../helpers/run.js';
import { until } from '../helpers/until.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Installs the package once more, with or without its binary. */
function install(path: string, { withBinary = true } = {}) {
  mkdirSync(path);
  const binaries = readdirSync(root).filter((file) => file.endsWith('.node'));
  for (const file of ['dist', 'package.json', ...(withBinary ? binaries : [])]) {
    cpSync(`${root}/${file}`, `${path}/${file}`, { recursive: true });
  }
}

test('the handle names its process, its mode and its pidfile', async (t) => {
  const { daemon, notes, pidFile } = bench(t);
  const pid = await daemon(`
    const { pid, mode, pidFile } = daemonize(options);
    note(JSON.stringify([pid, mode, pidFile]));
    forever();
  `);
  t.deepEqual(JSON.parse(notes()[0]!), [pid, 'daemon', pidFile]);
});

test('in the foreground it says so, and holds the pidfile, complete, by the same lock', async (t) => {
  const { foreground, notes, pidFile } = bench(t);
  const { child, done } = await foreground(`
    const { pid, mode, pidFile } = daemonize(options);
    note(JSON.stringify([pid, mode, pidFile]));
    forever();
    note('up');
  `);
  t.deepEqual(JSON.parse(notes()[0]!), [child.pid, 'foreground', pidFile]);
  await until('it is up', async () => (await daemonStatus({ pidFile })).state === 'running');
  t.like(await daemonStatus({ pidFile }), { pid: child.pid });
  t.is(read(pidFile), `${child.pid}\n`);
  child.kill();
  await done;
});

test('a look at the handle installs no listener for a signal; abortOnStop() does, and returns one signal', async (t) => {
  const { foreground, notes } = bench(t);
  const { child, done } = await foreground(`
    const { inspect } = await import('node:util');
    const daemon = daemonize(options);
    const listeners = () => ['SIGTERM', 'SIGINT'].map((signal) => process.listenerCount(signal));
    inspect(daemon, { showHidden: true, getters: true });
    JSON.stringify({ ...daemon });
    for (let looked = daemon; looked !== null; looked = Object.getPrototypeOf(looked)) {
      for (const key of Reflect.ownKeys(looked)) void daemon[key];
    }
    const [before, signal, after] = [listeners(), daemon.abortOnStop(), listeners()];
    note(JSON.stringify([before, signal.aborted, after, signal === daemon.abortOnStop(), listeners()]));
    const timer = setInterval(() => {}, 1000);
    signal.addEventListener('abort', () => clearInterval(timer));
    note('up');
  `);
  child.kill();
  t.like(await done, { code: 0, signal: null, stderr: '' });
  t.deepEqual(JSON.parse(notes()[0]!), [[0, 0], false, [1, 1], true, [1, 1]]);
});

test('without a pidfile, the handle has none', async (t) => {
  const { foreground, notes } = bench(t);
  const { done } = await foreground("note(String(daemonize().pidFile)); note('up');");
  t.like(await done, { code: 0 });
  t.deepEqual(notes(), ['undefined', 'up']);
});

test('an ordinary process has no current daemon', (t) => {
  t.is(currentDaemon(), undefined);
});

test('there is no current daemon before daemonize; every call after it gives the same handle', async (t) => {
  const { daemon, notes } = bench(t);
  await daemon(`
    const before = currentDaemon();
    const daemon = daemonize(options);
    let fromMain;
    daemonize({}, (handle) => { fromMain = handle; });
    note(JSON.stringify([before === undefined, currentDaemon() === daemon, daemonize() === daemon, fromMain === daemon]));
    forever();
  `);
  t.deepEqual(JSON.parse(notes()[0]!), [true, true, true, true]);
});

test('a second installed copy of the package finds the handle and knows the errors of the first', async (t) => {
  const { daemon, notes, at } = bench(t);
  install(at('copy'));
  await daemon(`
    const copy = await import(at('copy/dist/index.js'));
    const daemon = copy.daemonize(options);
    let error;
    try {
      daemonry.PidFile.acquire('/');
    } catch (caught) {
      error = caught;
    }
    let fromMain;
    daemonize({}, (handle) => { fromMain = handle; });
    note(JSON.stringify({
      handles: [currentDaemon(), copy.currentDaemon(), daemonize(), fromMain].every((handle) => handle === daemon),
      copies: copy.daemonize !== daemonize,
      errors: [copy.isDaemonError, (value) => value instanceof copy.DaemonError].map((recognises) =>
        [error, new Error('x'), undefined].map(recognises),
      ),
      classes: copy.DaemonError !== daemonry.DaemonError,
    }));
    forever();
  `);
  t.deepEqual(JSON.parse(notes()[0]!), {
    handles: true,
    copies: true,
    errors: [
      [true, false, false],
      [true, false, false],
    ],
    classes: true,
  });
});

test('a child of a daemon is no daemon', async (t) => {
  const { daemon, noted } = bench(t);
  await daemon(`
    if (process.argv[2] === 'child') {
      note('child: ' + currentDaemon());
    } else {
      daemonize(options);
      const { spawn } = await import('node:child_process');
      spawn(process.execPath, [process.argv[1], 'child']);
      forever();
    }
  `);
  await noted('child: undefined');
  t.pass();
});

test('ready() can be called again, with or without a status, which must be a string', async (t) => {
  const { daemon, notes } = bench(t);
  await daemon(`
    const daemon = daemonize({ ...options, waitFor: 'ready' });
    try {
      daemon.ready(42);
    } catch (error) {
      note(error.name + ': ' + error.message);
    }
    note('not yet');
    daemon.ready('serving');
    daemon.ready();
    daemon.ready('busy');
    forever();
  `);
  t.deepEqual(notes(), ['TypeError: the status must be a string', 'not yet']);
});

for (const method of ['onStop', 'onReload']) {
  test(`${method}() takes functions only`, async (t) => {
    const { foreground, notes } = bench(t);
    const { done } = await foreground(`
      try {
        daemonize(options).${method}('x');
      } catch (error) {
        note(error.name + ': ' + error.message);
      }
      note('up');
    `);
    await done;
    t.deepEqual(notes(), ['TypeError: the handler must be a function', 'up']);
  });
}

test("waitFor 'ready' waits for ready(), and aliveFor for what comes after it", async (t) => {
  const { daemon, notes } = bench(t);
  await daemon(`
    const onStarted = (started) => { options.onStarted(started); note('started ' + Date.now()); };
    const daemon = daemonize({ ...options, onStarted, waitFor: 'ready', aliveFor: 500 });
    setTimeout(() => { note('ready ' + Date.now()); daemon.ready(); }, 200);
    forever();
  `);
  const [ready, started] = notes().map((note) => note.split(' '));
  t.deepEqual([ready![0], started![0]], ['ready', 'started']);
  t.true(Number(started![1]) - Number(ready![1]) >= 500, notes().join());
});

test('a daemon that ends within aliveFor has failed', async (t) => {
  const { launch, pidFile } = bench(t);
  const { code, stderr } = await launch(`
    daemonize({ ...options, waitFor: 'ready', aliveFor: 20_000 }).ready();
    setTimeout(() => process.exit(4), 100);
  `);
  t.is(code, 1);
  t.is(stderr, 'program.mjs did not start: the daemon exited with code 4 before it was up\n');
  t.false(existsSync(pidFile));
});

test('with main, the start counts when main has settled', async (t) => {
  const { daemon, notes } = bench(t);
  await daemon(`
    const onStarted = (started) => { options.onStarted(started); note('started'); };
    daemonize({ ...options, onStarted }, async () => { await sleep(200); note('settles'); forever(); });
  `);
  t.deepEqual(notes(), ['settles', 'started']);
});

test('or when it has called ready(), whichever is first', async (t) => {
  const { daemon, notes, at, noted } = bench(t);
  await daemon(`
    const onStarted = (started) => { options.onStarted(started); note('started'); };
    daemonize({ ...options, onStarted }, async (daemon) => {
      forever();
      daemon.ready();
      await exists('go');
      note('settles');
    });
  `);
  t.deepEqual(notes(), ['started']);
  writeFileSync(at('go'), '');
  await noted('settles');
});

test('a rejection of main after ready() ends the daemon with 1, the error in the log and without the pidfile', async (t) => {
  const { daemon, at, noted, gone } = bench(t);
  await daemon(`
    process.on('exit', (code) => note('exit ' + code));
    daemonize({ ...options, log: at('daemon.log') }, async (daemon) => {
      forever();
      daemon.ready();
      await exists('go');
      throw new RangeError('rejected late');
    });
  `);
  writeFileSync(at('go'), '');
  await noted('exit 1');
  t.true(await gone());
  t.regex(read(at('daemon.log')), /^RangeError: rejected late\n {4}at /);
});

test('in the foreground, a main that rejects prints the error, releases the pidfile and exits with 1', async (t) => {
  const { foreground, pidFile } = bench(t);
  const { done } = await foreground("daemonize(options, async () => { forever(); throw new Error('rejected'); });");
  const { code, stderr } = await done;
  t.is(code, 1);
  t.regex(stderr, /^Error: rejected\n {4}at /);
  t.false(existsSync(pidFile));
});

test('a start survives an exception that the program catches', async (t) => {
  const { daemon, notes } = bench(t);
  await daemon(`
    process.on('uncaughtException', (error) => note(error.message));
    const daemon = daemonize({ ...options, waitFor: 'ready' });
    setTimeout(() => { throw new Error('caught'); }, 10);
    setTimeout(() => daemon.ready(), 100);
    forever();
  `);
  t.deepEqual(notes(), ['caught']);
});

for (const [what, text, reason] of [
  [
    'an unhandled rejection',
    "daemonize(options); forever(); Promise.reject(new TypeError('nobody cares'));",
    'exited with code 1 before it was up: TypeError: nobody cares',
  ],
  ['process.exit in main', 'daemonize(options, () => process.exit(3));', 'exited with code 3 before it was up'],
  [
    'an exit with 0 in main',
    'daemonize(options, () => process.exit());',
    'exited with code 0 before it was up: main had neither settled nor called ready()',
  ],
  [
    'an event loop that runs empty before ready()',
    "daemonize({ ...options, waitFor: 'ready' });",
    'exited with code 0 before it was up: it had not called ready()',
  ],
  [
    'an event loop that runs empty in main',
    'daemonize(options, () => new Promise(() => {}));',
    'exited with code 0 before it was up: main had neither settled nor called ready()',
  ],
  [
    'a listen in main that nobody awaited and that fails',
    "daemonize(options, async () => (await import('node:net')).createServer().listen({ path: '/missing/socket' }));",
    'exited with code 1 before it was up: Error: listen EACCES: permission denied /missing/socket',
  ],
] as const) {
  test(`${what} is a failed start`, async (t) => {
    const { launch, pidFile } = bench(t);
    const { code, stderr } = await launch(text);
    t.is(code, 1);
    t.is(stderr.trimEnd().split('\n').at(-1), `program.mjs did not start: the daemon ${reason}`);
    t.false(existsSync(pidFile));
  });
}

test("root's daemons have their places in the system's directories", (t) => {
  if (!isRoot) {
    t.log('skipped: only root can see what root gets');
    return t.pass();
  }
  t.deepEqual(daemonPaths('api'), {
    pidFile: '/run/api/api.pid',
    logFile: '/var/log/api/api.log',
    socket: '/run/api/api.sock',
  });
});

for (const [what, state, expected] of [
  ['$XDG_STATE_HOME', '/state', '/state'],
  ['~/.local/state where that is unset', undefined, '/home/me/.local/state'],
  ['~/.local/state where that is relative', 'state', '/home/me/.local/state'],
  ['~/.local/state where that is empty', '', '/home/me/.local/state'],
] as const) {
  test(`a user's daemons have their places below ${what}`, async (t) => {
    const { launch } = bench(t);
    const program = `
      if (process.geteuid() === 0) process.seteuid(65534);
      console.log(JSON.stringify(daemonry.daemonPaths('my.api@2')));
    `;
    const env: NodeJS.ProcessEnv = { ...process.env, HOME: '/home/me', XDG_STATE_HOME: state };
    const { stdout, stderr } = await launch(program, { env });
    const place = `${expected}/daemonry/my.api@2/my.api@2`;
    const places = { pidFile: `${place}.pid`, logFile: `${place}.log`, socket: `${place}.sock` };
    t.deepEqual(JSON.parse(stdout || stderr), places);
  });
}

test('a name that could leave its place is refused', (t) => {
  for (const name of ['', '.', '..', 'a/b', '../a', 'a b', 'ä', 'a\0', 7 as never]) {
    t.throws(() => daemonPaths(name), { code: 'ERR_INVALID_OPTION', name: 'DaemonError' }, String(name));
  }
});

test('daemonry is supported here', (t) => {
  t.true(supported);
});

test('where there is no binary, importing works, `supported` is false and the calls throw a typed error', async (t) => {
  const { at } = bench(t);
  install(at('copy'), { withBinary: false });
  writeFileSync(
    at('program.mjs'),
    `
    import * as daemonry from './copy/dist/index.js';
    const { daemonize, daemonStatus, listDaemons, stopDaemon, signalDaemon, restartDaemon, PidFile, currentDaemon, supported } = daemonry;
    const codeOf = async (call) => {
      try {
        await call();
      } catch (error) {
        return daemonry.isDaemonError(error) ? error.code : String(error);
      }
    };
    const pidFile = import.meta.dirname + '/daemon.pid';
    const calls = [
      () => daemonize({ pidFile }),
      () => daemonize({ pidFile }, () => {}),
      () => daemonStatus({ pidFile }),
      () => listDaemons(),
      () => stopDaemon({ pidFile }),
      () => signalDaemon({ pidFile }, 'SIGTERM'),
      () => restartDaemon('a'),
      () => PidFile.acquire(pidFile),
    ];
    const codes = await Promise.all(calls.map(codeOf));
    console.log(JSON.stringify([supported, currentDaemon() === undefined, ...new Set(codes)]));
    `,
  );
  const { stdout, stderr } = await run(process.execPath, [at('program.mjs')]);
  t.deepEqual(JSON.parse(stdout || stderr), [false, true, 'ERR_UNSUPPORTED_PLATFORM']);
});

test('an uncaught failure of a start prints exactly one sentence', async (t) => {
  const { daemon, pidFile, at } = bench(t);
  const pid = await daemon('daemonize(options); forever();');
  const again = await run(process.execPath, [at('program.mjs')]);
  t.like(again, { code: 1, stdout: '' });
  t.regex(again.stderr, /^program\.mjs [^\n]+\n$/);
  t.true(again.stderr.includes(String(pid)), again.stderr);
  t.true(again.stderr.includes(pidFile), again.stderr);
});

test('a caught failure has the fields of a system error, and is readable when printed', async (t) => {
  const { launch, at } = bench(t);
  const { code, stdout, stderr } = await launch(`
    try {
      daemonize({ pidFile: at('missing/daemon.pid') });
    } catch (error) {
      console.log(JSON.stringify({ ...error, name: error.name, isError: error instanceof Error }));
      console.log(error);
    }
  `);
  t.is(code, 0);
  t.is(stderr, '');
  const [json, ...printed] = stdout.split('\n');
  t.deepEqual(JSON.parse(json!), {
    code: 'ENOENT',
    step: 'open-directory',
    errno: -2,
    syscall: 'open',
    path: at('missing'),
    name: 'DaemonError',
    isError: true,
  });
  t.is(
    printed[0],
    `DaemonError: program.mjs did not start: cannot open the pidfile's directory ${at('missing')}: No such file or directory (ENOENT)`,
  );
  t.false(printed.join('\n').includes('[Symbol'));
});
