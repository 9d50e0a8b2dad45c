/** Where the daemon's standard streams lead, and what of them it keeps. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { daemonStatus, type DaemonizeOptions } from '../../dist/index.js';
import { service } from '../fixtures/service.js';
import { bench } from '../helpers/bench.js';
import { isRoot, testOnLinux } from '../helpers/privileges.js';
import { descriptors, hasEnded, stat } from '../helpers/processes.js';
import { run, type RunOptions } from '../helpers/run.js';
import { until } from '../helpers/until.js';

/** Writes to both streams in turn, and says what it reads. */
const speaker = `
  import { readFileSync, writeSync } from 'node:fs';
  import { daemonize } from 'daemonry';
  import { tell } from './tell.cjs';
  const options = JSON.parse(process.argv[2]);
  daemonize({ pidFile: 'a.pid', ...options }, () => {
    for (const [fd, text] of [[1, 'out 1'], [2, 'err 1'], [1, 'out 2'], [2, 'err 2']]) writeSync(fd, text + '\\n');
    tell({ input: readFileSync(0, 'utf8') });
    if (options.env?.FAIL) throw new Error('failed on purpose');
  });
`;

type Streams = Pick<DaemonizeOptions, 'log' | 'stdin' | 'stdout' | 'stderr' | 'umask' | 'env'>;

function speaking(t: ExecutionContext) {
  const app = bench(t, { 'app.mjs': speaker });
  return {
    ...app,
    read: (name: string) => readFileSync(app.at(name), 'utf8'),
    mode: (name: string) => statSync(app.at(name)).mode & 0o7777,
    speak: (options: Streams, run?: RunOptions) => app.node(['app.mjs', JSON.stringify(options)], run),
    /** The same, and it must succeed. */
    async speaks(options: Streams, run?: RunOptions) {
      const outcome = await app.node(['app.mjs', JSON.stringify(options)], run);
      t.is(outcome.code, 0, outcome.stderr);
      return { ...outcome, pid: app.told()!.pid };
    },
  };
}

testOnLinux('the log has both streams in the order in which they were written', async (t) => {
  const { speaks, read, at } = speaking(t);
  const { pid, stdout, stderr } = await speaks({ log: 'a.log' });
  t.is(read('a.log'), 'out 1\nerr 1\nout 2\nerr 2\n');
  t.deepEqual([stdout, stderr], ['', '']);
  t.is(descriptors(pid).get(1), at('a.log'));
  t.is(descriptors(pid).get(2), at('a.log'));
});

test('a log is appended to, and an existing one keeps its mode', async (t) => {
  const { speaks, read, mode, at } = speaking(t);
  writeFileSync(at('a.log'), 'before\n');
  chmodSync(at('a.log'), 0o604);
  await speaks({ log: { path: 'a.log', mode: 0o600 } });
  t.is(read('a.log'), 'before\nout 1\nerr 1\nout 2\nerr 2\n');
  t.is(mode('a.log'), 0o604);
});

for (const umask of [0, 0o077]) {
  test(`a new log has exactly its mode under the umask 0${umask.toString(8)}, of the launcher as of the daemon`, async (t) => {
    const app = speaking(t);
    const options: Streams = { umask, stdout: 'out.log', stderr: { path: 'err.log', mode: 0o664 } };
    const script = `umask ${umask.toString(8)}; exec "$NODE" app.mjs '${JSON.stringify(options)}'`;
    const { code, stderr } = await app.shell(script);
    t.is(code, 0, stderr);
    t.is(app.mode('out.log'), 0o640);
    t.is(app.mode('err.log'), 0o664);
    t.is(app.mode('a.pid'), 0o644);
  });
}

test('stdout and stderr can go to different files, and either can override the log', async (t) => {
  const { speaks, read } = speaking(t);
  await speaks({ log: 'a.log', stderr: 'err.log' });
  t.is(read('a.log'), 'out 1\nout 2\n');
  t.is(read('err.log'), 'err 1\nerr 2\n');
});

testOnLinux("with stdout: 'ignore' only stderr goes to the log", async (t) => {
  const { speaks, read } = speaking(t);
  const { pid } = await speaks({ log: 'a.log', stdout: 'ignore' });
  t.is(read('a.log'), 'err 1\nerr 2\n');
  t.is(descriptors(pid).get(1), '/dev/null');
});

test('append: false empties the log', async (t) => {
  const { speaks, read, at } = speaking(t);
  writeFileSync(at('a.log'), 'before\n');
  await speaks({ log: { path: 'a.log', append: false } });
  t.is(read('a.log'), 'out 1\nerr 1\nout 2\nerr 2\n');
});

test('append: false does not empty the log of a daemon that is running', async (t) => {
  const { speaks, speak, read } = speaking(t);
  const { pid } = await speaks({ log: 'a.log' });
  const { code, stderr } = await speak({ log: { path: 'a.log', append: false } });
  t.is(code, 1);
  t.regex(stderr, new RegExp(`already running .*${pid}`));
  t.is(read('a.log'), 'out 1\nerr 1\nout 2\nerr 2\n');
});

testOnLinux("'inherit' passes the launcher's own streams on", async (t) => {
  const { speaks, read, at } = speaking(t);
  writeFileSync(at('in'), 'from the launcher');
  const stdio = [openSync(at('in'), 'r'), openSync(at('out'), 'w'), openSync(at('err'), 'a')];
  t.teardown(() => stdio.forEach((fd) => closeSync(fd)));
  const { pid } = await speaks({ stdin: 'inherit', stdout: 'inherit', stderr: 'inherit' }, { stdio });
  t.deepEqual([read('out'), read('err')], ['out 1\nout 2\n', 'err 1\nerr 2\n']);
  t.is(descriptors(pid).get(0), at('in'));
  t.deepEqual([descriptors(pid).get(1), descriptors(pid).get(2)], [at('out'), at('err')]);
});

testOnLinux(
  'an open descriptor of the launcher can be passed on, also one that lies where another stream goes',
  async (t) => {
    const { speaks, read, at } = speaking(t);
    const [three, four] = [openSync(at('three'), 'a'), openSync(at('four'), 'a')];
    t.teardown(() => [three, four].forEach((fd) => closeSync(fd)));
    // The launcher's 1 becomes the daemon's 2, and its 3 the daemon's 1.
    const { pid } = await speaks({ stdout: 3, stderr: 1 }, { stdio: ['ignore', four, 'pipe', three] });
    t.is(read('three'), 'out 1\nout 2\n');
    t.is(read('four'), 'err 1\nerr 2\n');
    t.deepEqual(
      [1, 2].map((fd) => descriptors(pid).get(fd)),
      [at('three'), at('four')],
    );
  },
);

test('a descriptor that is not open is told', async (t) => {
  const { speak } = speaking(t);
  const { code, stderr } = await speak({ stdout: 999 });
  t.is(code, 1);
  t.is(stderr, 'app.mjs did not start: cannot open standard output: it is not an open descriptor (EBADF)\n');
});

test('stdin can be a file', async (t) => {
  const { speaks, told, at } = speaking(t);
  writeFileSync(at('in'), 'some input');
  await speaks({ stdin: 'in' });
  t.is(told()?.['input'], 'some input');
});

test('relative paths are those of the launcher', async (t) => {
  const { speaks, read, at } = speaking(t);
  mkdirSync(at('sub'));
  await speaks({ log: './sub/../sub/a.log' });
  t.is(read('sub/a.log'), 'out 1\nerr 1\nout 2\nerr 2\n');
});

for (const [what, make, reason] of [
  ['is a directory', (path: string) => mkdirSync(path), 'Is a directory (EISDIR)'],
  ['is a FIFO that nobody reads', makeFifo, 'it is a FIFO that no process reads (ENXIO)'],
  ['must not be written', (path: string) => writeFileSync(path, '', { mode: 0o400 }), 'Permission denied (EACCES)'],
  [
    'is a link that leads nowhere',
    (path: string) => symlinkSync('/nowhere', path),
    'it is a symbolic link to /nowhere, which does not exist (ENOENT)',
  ],
] as const) {
  test(`a log that ${what} is told with its path, and nothing is left`, async (t) => {
    const { speak, at } = speaking(t);
    make(at('a.log'));
    const { code, stderr } = await speak({ log: 'a.log' }, { unprivileged: true });
    t.is(stderr, `app.mjs did not start: cannot open the log ${at('a.log')}: ${reason}\n`);
    t.is(code, 1);
    t.deepEqual([existsSync(at('a.pid')), existsSync(at('told.json'))], [false, false]);
  });
}

test('a log in a directory that is missing is told with its path', async (t) => {
  const { speak, at } = speaking(t);
  const { code, stderr } = await speak({ stdout: 'out.log', stderr: 'missing/err.log' });
  const reason = `cannot open the log ${at('missing/err.log')}: No such file or directory (ENOENT)`;
  t.is(stderr, `app.mjs did not start: ${reason}\n`);
  t.is(code, 1);
  t.deepEqual([existsSync(at('a.pid')), existsSync(at('out.log'))], [false, false]);
});

test('a log can be a FIFO that somebody reads', async (t) => {
  const { speaks, at } = speaking(t);
  makeFifo(at('a.log'));
  const reader = openSync(at('a.log'), constants.O_RDONLY | constants.O_NONBLOCK);
  t.teardown(() => closeSync(reader));
  await speaks({ log: 'a.log' });
  const buffer = Buffer.alloc(100);
  t.is(buffer.toString('utf8', 0, readSync(reader, buffer)), 'out 1\nerr 1\nout 2\nerr 2\n');
});

for (const [whose, give] of [
  ["is somebody else's", (path: string) => chownSync(path, 65_534, 65_534)],
  ['everybody may write', (path: string) => chmodSync(path, 0o777)],
  [
    'a group may write',
    (path: string) => {
      chownSync(path, 0, 65_534);
      chmodSync(path, 0o775);
    },
  ],
] as const) {
  for (const [what, plant, reason] of [
    ['link', symlinkSync, 'it is a symbolic link, or leads through too many (ELOOP)'],
    ['hard link', linkSync, "it has hard links in a directory that is not root's alone (EMLINK)"],
  ] as const) {
    test(`root does not write through a ${what} in a directory that ${whose}`, async (t) => {
      if (!isRoot) {
        t.log('skipped: only root can be led astray by links');
        return t.pass();
      }
      const { speak, at, read } = speaking(t);
      writeFileSync(at('victim'), 'untouched');
      mkdirSync(at('logs'));
      plant(at('victim'), at('logs/a.log'));
      give(at('logs'));
      for (const append of [true, false]) {
        const { code, stderr } = await speak({ log: { path: 'logs/a.log', append } });
        const sentence = `cannot open the log ${at('logs/a.log')}: ${reason}`;
        t.is(stderr, `app.mjs did not start: ${sentence}\n`);
        t.is(code, 1);
      }
      t.is(read('victim'), 'untouched');
    });
  }
}

test('a link in a directory of one’s own may lead to the log', async (t) => {
  const { speaks, at, read } = speaking(t);
  writeFileSync(at('real.log'), '');
  symlinkSync(at('real.log'), at('a.log'));
  await speaks({ log: 'a.log' });
  t.is(read('real.log'), 'out 1\nerr 1\nout 2\nerr 2\n');
});

test('a failed start with a log points to it, and its error has the end of what this start added', async (t) => {
  const app = bench(t, {
    'app.mjs': `
      import { daemonize } from 'daemonry';
      try {
        daemonize({ pidFile: 'a.pid', log: 'a.log' });
        console.error('first words');
        console.error('TypeError: last words');
        process.exit(4);
      } catch (error) {
        console.log(JSON.stringify({ stderr: error.stderr, message: error.message }));
      }
    `,
    'a.log': 'Error: of an earlier start\n',
  });
  const { stdout, stderr } = await app.node(['app.mjs']);
  t.deepEqual(JSON.parse(stdout), {
    stderr: 'first words\nTypeError: last words\n',
    message: `app.mjs did not start: the daemon exited with code 4 before it was up: TypeError: last words (see ${app.at('a.log')})`,
  });
  t.is(stderr, '');
  t.is(readFileSync(app.at('a.log'), 'utf8'), 'Error: of an earlier start\nfirst words\nTypeError: last words\n');
});

test('a failed start removes the log that it created if nothing was written to it, and no other', async (t) => {
  const { at, launch } = bench(t);
  const fail = (log: string) => launch(service({ pidFile: at('a.pid'), log }, 'exit'));
  const failed = await fail(at('new.log'));
  t.is(failed.code, 1);
  t.is(failed.stderr, 'program.mjs did not start: the daemon exited with code 7 before it was up\n');
  t.false(existsSync(at('new.log')));
  writeFileSync(at('old.log'), '');
  t.is((await fail(at('old.log'))).code, 1);
  t.true(existsSync(at('old.log')));
  t.is((await launch(service({ pidFile: at('a.pid'), log: at('told.log') }, 'throw'))).code, 1);
  t.true(readFileSync(at('told.log'), 'utf8').includes('Error: thrown by main'));
});

test('with a log the sentence about a failed start has the last words of a daemon that threw nothing', async (t) => {
  const { at, launch } = bench(t);
  const { stderr } = await launch(
    "daemonize({ log: at('a.log') }, () => { console.error('cannot do it'); process.exit(3); });",
  );
  const exit = 'the daemon exited with code 3 before it was up';
  t.is(stderr, `program.mjs did not start: ${exit}: its last words were "cannot do it" (see ${at('a.log')})\n`);
});

testOnLinux(
  'without a log the launcher shows what the daemon says on stderr while it starts; then it is /dev/null',
  async (t) => {
    const { speaks } = speaking(t);
    const { pid, stdout, stderr } = await speaks({});
    t.deepEqual([stdout, stderr], ['', 'err 1\nerr 2\n']);
    t.is(descriptors(pid).get(2), '/dev/null');
  },
);

test('without a log the launcher of a failed start shows what the daemon said, above its sentence', async (t) => {
  const { speak } = speaking(t);
  const { code, stdout, stderr } = await speak({ env: { FAIL: '1' } });
  t.is(code, 1);
  t.is(stdout, '');
  const lines = stderr.trimEnd().split('\n');
  t.deepEqual(lines.slice(0, 3), ['err 1', 'err 2', 'Error: failed on purpose']);
  t.is(lines.at(-1), 'app.mjs did not start: the daemon exited with code 1 before it was up: Error: failed on purpose');
});

/** Starts a long-lived helper, which keeps the daemon's streams, then is up; the helper's pid is told. */
const helping = (command: string, ...args: string[]) => `
  import { spawn } from 'node:child_process';
  import { daemonize } from 'daemonry';
  import { tell } from './tell.cjs';
  daemonize({ pidFile: 'a.pid' }, () => {
    const helper = spawn(${JSON.stringify(command)}, ${JSON.stringify(args)}, { stdio: 'inherit' });
    tell({ helper: helper.pid });
  });
`;

/** Ends the helper when the test ends. */
function endHelper(t: ExecutionContext, pid: unknown): number {
  t.teardown(async () => {
    if (!hasEnded(pid as number)) process.kill(pid as number, 'SIGKILL');
    await until('the helper has ended', () => hasEnded(pid as number));
  });
  return pid as number;
}

for (const command of ['$("$NODE" app.mjs)', '$("$NODE" app.mjs 2>&1)', '"$("$NODE" app.mjs 2>&1 | cat)"']) {
  test(`${command} returns while the daemon and a helper of it live on`, async (t) => {
    const app = bench(t, { 'app.mjs': helping('sleep', '1000') });
    const { code, stdout } = await app.shell(`output=${command}; echo "returned $?: $output"`);
    const helper = endHelper(t, app.told()?.['helper']);
    t.is(code, 0);
    t.is(stdout, 'returned 0: \n');
    t.false(hasEnded(helper));
    t.is((await daemonStatus({ pidFile: app.at('a.pid') })).state, 'running');
  });
}

testOnLinux(
  'a helper that keeps writing to the stderr that it got during the start does not fill the memory',
  async (t) => {
    const writer = "setInterval(() => require('fs').writeSync(2, Buffer.alloc(100_000)), 10)";
    const app = bench(t, { 'app.mjs': helping(process.execPath, '-e', writer) });
    const { code } = await app.node(['app.mjs']);
    const helper = endHelper(t, app.told()?.['helper']);
    t.is(code, 0);
    let [before, shrunk] = [0, 0];
    await until('its stderr has been emptied again and again', () => {
      // Not the size, which the next write makes as large as before: it goes on where the last one ended.
      const { blocks } = statSync(`/proc/${helper}/fd/2`);
      if (blocks < before) shrunk += 1;
      before = blocks;
      return shrunk >= 3;
    });
    t.true(descriptors(helper).get(2)!.startsWith('/memfd:'));
  },
);

for (const closed of [[0], [1], [2], [0, 1], [0, 2], [1, 2], [0, 1, 2]]) {
  testOnLinux(`a launcher whose descriptors ${closed.join(', ')} are closed starts a sound daemon`, async (t) => {
    const { at, launch } = bench(t);
    const via = ['sh', '-c', `exec "$0" "$1" ${closed.map((fd) => `${fd}>&-`).join(' ')}`];
    const { code } = await launch(service({ pidFile: at('a.pid'), log: at('a.log') }, 'run'), { via });
    t.is(code, 0);
    const state = await daemonStatus({ pidFile: at('a.pid') });
    t.is(state.state, 'running');
    const pid = state.state === 'running' ? state.pid : 0;
    t.teardown(() => until('it has ended', () => hasEnded(pid)));
    t.teardown(() => process.kill(pid, 'SIGTERM'));
    const open = descriptors(pid);
    t.deepEqual(
      [0, 1, 2].map((fd) => open.get(fd)),
      ['/dev/null', at('a.log'), at('a.log')],
    );
    t.is([...open.values()].filter((target) => target === at('a.pid')).length, 1);
    t.is(readFileSync(at('a.pid'), 'utf8'), `${pid}\n`);
  });
}

testOnLinux('the daemon has no descriptor of the launcher but what it was given', async (t) => {
  const { at, path, daemon } = bench(t);
  writeFileSync(at('open'), '');
  const fd = openSync(at('open'), 'r');
  t.teardown(() => closeSync(fd));
  const [inode] = [fstatSync(fd).ino];
  // 3 to 5, next to the standard streams, and 200, beyond what Node looks after itself.
  const stdio = Object.assign(Array<'ignore' | 'pipe' | number>(201).fill('ignore'), {
    1: 'pipe',
    2: 'pipe',
    3: fd,
    4: 'pipe',
    5: fd,
    200: fd,
  });
  const pid = await daemon(service({ pidFile: at('a.pid'), log: at('a.log') }, 'run'), { stdio });
  const open = descriptors(pid);
  for (const number of open.keys()) {
    const { ino } = statSync(`/proc/${pid}/fd/${number}`);
    t.not(ino, inode, `descriptor ${number}`);
  }
  // The rest is what Node and the addon opened for themselves; a pipe of the test's is a socket here.
  const files = new Set([...open.values()].filter((target) => !/^(\/dev\/null|anon_inode:.*|pipe:.*)$/.test(target)));
  // With the private lock, which it can only read, and the file to which it appends how far it is.
  const kinds = [...files].map((file) => file.replace(/^.*\/[0-9a-f]{32}\./, '')).sort();
  t.deepEqual(kinds, [path, at('a.log'), at('a.pid'), 'lock', 'phase']);
});

testOnLinux('a daemon outlives the terminal that it was started from, and has none', async (t) => {
  const { at, write } = bench(t);
  const program = write(service({ pidFile: at('a.pid') }, 'run'));
  const command = `'${process.execPath}' '${program}'; tty >'${at('tty')}'`;
  const { stdout } = await run('script', ['-qec', command, '/dev/null']);
  const terminal = readFileSync(at('tty'), 'utf8').trim();
  t.regex(terminal, /^\/dev\/pts\//, stdout);
  const pid = Number(/started (\d+)/.exec(stdout)?.[1]);
  t.teardown(() => until('it has ended', () => hasEnded(pid)));
  t.teardown(() => process.kill(pid, 'SIGTERM'));
  // `script` has ended, so the terminal is gone, and whoever had it as its controlling terminal has got SIGHUP.
  t.like(await daemonStatus({ pidFile: at('a.pid') }), { state: 'running', pid });
  t.is(stat(pid)?.tty, 0);
  t.deepEqual(
    [0, 1, 2].map((fd) => descriptors(pid).get(fd)),
    ['/dev/null', '/dev/null', '/dev/null'],
  );
});

function makeFifo(path: string): void {
  execFileSync('mkfifo', [path]);
}
