/** Starts where something is missing or exhausted: each is right, or is told in one sentence and leaves nothing. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { daemonStatus, stopDaemon } from '../../dist/index.js';
import { bench, type Bench } from '../helpers/bench.js';
import { read } from '../helpers/files.js';
import { nobody, noOtherUser, noOwnMounts, ownMounts, testOnLinux, testUnless } from '../helpers/privileges.js';
import { processes } from '../helpers/processes.js';
import { run, start, type RunOptions } from '../helpers/run.js';
import { until } from '../helpers/until.js';

const { execPath } = process;

interface Site extends Pick<Bench, 'at' | 'path' | 'pidFile' | 'write'> {
  readonly program: string;
}

/** A program in a folder whose pidfile and log lie in another one, which anybody may write. */
function site(t: ExecutionContext): Site {
  const { at, path, write } = bench(t);
  const pidFile = at('state', 'app.pid');
  mkdirSync(at('state'));
  chmodSync(at('state'), 0o777);
  const options = JSON.stringify({ pidFile, log: at('state', 'app.log') });
  const main = `(daemon) => { daemon.onStop(() => {}); setInterval(() => {}, 1e6); console.log('up'); }`;
  const program = write(`daemonize(${options}, ${main});\n`);
  t.teardown(() => stopDaemon({ pidFile }, { timeout: 2000 }));
  return { at, path, write, program, pidFile };
}

/** Checks what the launcher says against what is so. Returns whether the daemon started. */
async function isTrue(t: ExecutionContext, { path, pidFile, at }: Site, code: number | null, stderr: string) {
  if (code === 0) {
    t.is((await daemonStatus({ pidFile })).state, 'running');
    await until('its output is in its log', () => read(at('state', 'app.log')) === 'up\n');
    t.is((await stopDaemon({ pidFile })).outcome, 'stopped');
    t.deepEqual(readdirSync(at('state')), ['app.log']);
    return true;
  }
  t.is(code, 1, stderr);
  t.regex(stderr, /^program\.mjs[: ].*\n$/);
  await until('nothing of it is left', () => processes().every((process) => !process.mentions(path)));
  // A log stays if the daemon has written to it.
  const left = readdirSync(at('state')).filter((file) => file !== 'app.log' || read(at('state', file)) === '');
  t.deepEqual(left, []);
  return false;
}

/** Starts it by a wrapper that runs the command that follows it. */
async function startBy(t: ExecutionContext, wrapper: readonly string[], options: RunOptions = {}) {
  const place = site(t);
  const [command, ...args] = [...wrapper, execPath, place.program];
  const { code, stderr } = await run(command!, args, { cwd: '/', ...options });
  return { started: await isTrue(t, place, code, stderr), stderr };
}

/** Starts it where some system calls always fail. */
async function startWithout(t: ExecutionContext, ...injections: readonly string[]) {
  const place = site(t);
  const inject = injections.flatMap((injection) => ['-e', `inject=${injection}`]);
  const calls = injections.map((injection) => injection.split(':')[0]).join(',');
  const script = '"$0" "$1" 2>stderr; echo $? >code.new; mv code.new code';
  const words = [
    '-f',
    '-qq',
    '-o',
    '/dev/null',
    '-e',
    `trace=${calls}`,
    ...inject,
    'sh',
    '-c',
    script,
    execPath,
    place.program,
  ];
  // It ends when all have ended that it traces, the daemon among them.
  const { done } = start('strace', words, { cwd: place.path });
  await until('the launcher has ended', () => existsSync(place.at('code')));
  const stderr = readFileSync(place.at('stderr'), 'utf8');
  const started = await isTrue(t, place, Number(readFileSync(place.at('code'), 'utf8')), stderr);
  await done;
  return { started, stderr };
}

for (const [what, ...injections] of [
  ['close_range(2)', 'close_range:error=ENOSYS'],
  ['pidfd_open(2)', 'pidfd_open:error=ENOSYS'],
  ['faccessat2(2)', 'faccessat2:error=ENOSYS'],
  [
    'all that came after Linux 4.9',
    'close_range:error=ENOSYS',
    'pidfd_open:error=ENOSYS',
    'faccessat2:error=ENOSYS',
    'clone3:error=ENOSYS',
  ],
  ['what a container forbids', 'close_range:error=EPERM', 'pidfd_open:error=EPERM'],
] as const) {
  testOnLinux(`it starts without ${what}`, async (t) => {
    const { started, stderr } = await startWithout(t, ...injections);
    t.true(started, stderr);
  });
}

for (const errno of ['ENOLCK', 'EOPNOTSUPP', 'ENOSYS']) {
  testOnLinux(`a file system that refuses flock(2) with ${errno} is told`, async (t) => {
    const { started, stderr } = await startWithout(t, `flock:error=${errno}`);
    t.false(started);
    t.regex(stderr, new RegExp(`cannot take the lock .* \\(${errno}\\)$`, 'm'));
  });
}

testUnless(noOwnMounts)('it starts, is found and stopped without /proc', async (t) => {
  const place = site(t);
  const client = `
    const target = { pidFile: '${place.pidFile}' };
    console.log((await daemonStatus(target)).state, (await stopDaemon(target)).outcome);`;
  const script = `umount -l /proc && "$0" "$1" && "$0" "$2"`;
  const programs = [place.program, place.write(client, 'client.mjs')];
  const [command, ...args] = [...ownMounts, 'sh', '-c', script, execPath, ...programs];
  const { code, stdout, stderr } = await run(command!, args);
  t.is(code, 0, stderr);
  t.is(stdout, 'running stopped\n');
});

testOnLinux('few descriptors are enough, or it is told', async (t) => {
  let most = 0;
  // Below that Node.js itself does not come up.
  for (let limit = 24; limit <= 48; limit += 2) {
    const { started } = await startBy(t, ['prlimit', `--nofile=${limit}`]);
    if (!started) most = limit;
  }
  t.true(most < 48, 'with 48 descriptors it starts');
});

testUnless(noOtherUser)('a user whose processes are at their limit is told', async (t) => {
  // Whose processes are counted: nobody else's, also where this test runs more than once at the same time.
  const id = 20_000 + (process.pid % 30_000);
  const user = ['setpriv', `--reuid=${id}`, `--regid=${id}`, '--clear-groups'];
  let told = 0;
  for (let limit = 10; limit <= 18; limit++) {
    const place = site(t);
    // A daemon may have just so few threads that Node.js waits for one that never comes.
    writeFileSync(place.program, readFileSync(place.program, 'utf8').replace('"log"', '"startTimeout":2000,"log"'));
    const [command, ...args] = [...user, 'prlimit', `--nproc=${limit}`, execPath, place.program];
    const { code, signal, stderr } = await run(command!, args, { cwd: '/' });
    // The launcher's own Node.js aborts without its threads.
    if (signal === null && !(await isTrue(t, place, code, stderr))) told += 1;
  }
  t.true(told > 0, 'at one of the limits it is for us to tell');
});

testOnLinux('a limit of nothing for the length of files is told', async (t) => {
  const { started, stderr } = await startBy(t, ['prlimit', '--fsize=0']);
  t.false(started);
  t.regex(stderr, /\(EFBIG\)$/m);
});

test('umask 0777 leaves a pidfile that everybody can read, and a log that its daemon can write', async (t) => {
  const { started, stderr } = await startBy(t, ['sh', '-c', 'umask 0777; exec "$0" "$@"']);
  t.true(started, stderr);
});

for (const depth of [0, 1, 2]) {
  test(`a symbolic link at component ${depth} of the path is followed to its directory`, async (t) => {
    const place = site(t);
    const names = ['one', 'two', 'three'];
    mkdirSync(place.at(...names), { recursive: true });
    // Each component by turns is a link to where the directory really is.
    const linked = names.slice(0, depth + 1);
    const real = place.at('real');
    mkdirSync(place.at('real', ...names.slice(depth + 1)), { recursive: true });
    rmSync(place.at(...linked), { recursive: true });
    symlinkSync(real, place.at(...linked));
    const [pidFile, log] = ['app.pid', 'app.log'].map((file) => place.at(...names, file));
    const text = readFileSync(place.program, 'utf8');
    writeFileSync(place.program, text.replace(place.pidFile, pidFile!).replace(place.at('state', 'app.log'), log!));
    t.teardown(() => stopDaemon({ pidFile: pidFile! }));
    const { code, stderr } = await run(execPath, [place.program]);
    t.is(code, 0, stderr);
    const direct = place.at('real', ...names.slice(depth + 1), 'app.pid');
    t.is((await daemonStatus({ pidFile: direct })).state, 'running');
    t.like(await stopDaemon({ pidFile: direct }), { outcome: 'stopped' });
    t.false(existsSync(pidFile!));
  });
}

test('a loop of symbolic links, and one that leads nowhere, are told', async (t) => {
  const place = site(t);
  symlinkSync('loop', place.at('loop'));
  symlinkSync('nowhere', place.at('dangling'));
  const text = readFileSync(place.program, 'utf8');
  for (const [link, errno] of [
    ['loop', 'ELOOP'],
    ['dangling', 'ENOENT'],
  ] as const) {
    writeFileSync(place.program, text.replace(place.pidFile, place.at(link, 'app.pid')));
    const { code, stderr } = await run(execPath, [place.program]);
    t.is(code, 1);
    t.regex(stderr, new RegExp(`^program\\.mjs did not start: cannot open .*${link}.* \\(${errno}\\)\n$`));
    t.false(existsSync(place.at('nowhere')));
  }
});

testUnless(noOtherUser)(
  "root does not take over an ordinary user's link, FIFO or directory in a sticky directory",
  async (t) => {
    const place = site(t);
    chmodSync(place.at('state'), 0o1777);
    const victim = place.at('victim');
    writeFileSync(victim, '1\n');
    for (const make of [`ln -s ${victim} app.pid`, `ln ${victim} app.pid`, 'mkfifo app.pid', 'mkdir app.pid']) {
      await run('sh', ['-c', make], { cwd: place.at('state'), ...(make.startsWith('ln /') ? {} : nobody) });
      const { code, stderr } = await run(execPath, [place.program]);
      t.is(code, 1, make);
      t.regex(stderr, /^program\.mjs did not start: .*app\.pid.*\n$/, make);
      t.is(readFileSync(victim, 'utf8'), '1\n', make);
      rmSync(place.pidFile, { recursive: true });
    }
  },
);
