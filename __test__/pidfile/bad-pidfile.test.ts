import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, linkSync, lstatSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname } from 'node:path';
import anyTest, { type ExecutionContext } from 'ava';
import { daemonStatus, isDaemonError, signalDaemon, stopDaemon } from '../../dist/index.js';
import { service } from '../fixtures/service.js';
import { bench, calling, type Bench } from '../helpers/bench.js';
import { locksOn, snapshot } from '../helpers/files.js';
import { nobody, noLinux, noOtherUser, noOwnMounts, ownMounts, testUnless } from '../helpers/privileges.js';
import { hasEnded, kill } from '../helpers/processes.js';
import { run, type RunOptions } from '../helpers/run.js';
import { until } from '../helpers/until.js';
import { workspace, type Workspace } from '../helpers/workspace.js';

// One at a time: each starts several processes.
const test = anyTest.serial;

// More than any kernel gives: whatever goes wrong, no process is hit.
const noPid = 2 ** 31 - 1;

/** What a start on a bad pidfile tells. */
interface Refusal {
  readonly code: string;
  readonly step?: string;
  readonly path: string;
  readonly pid?: number;
  /** The sentence, after the program's name. */
  readonly says: string;
}

/** Checks that a start fails in every form of the call with this refusal, and that nothing in the folder has changed. */
async function refuses(t: ExecutionContext, pidFile: string, { says, ...fields }: Refusal, how: RunOptions = {}) {
  const isThere = lstatSync(dirname(pidFile), { throwIfNoEntry: false })?.isDirectory();
  const folder = isThere ? dirname(pidFile) : dirname(dirname(pidFile));
  const { launch, call } = bench(t);
  const before = snapshot(folder);
  for (const behaviour of ['run', 'classic'] as const) {
    const { code, stdout, stderr } = await launch(service({ pidFile, startTimeout: 1000 }, behaviour), how);
    t.is(stderr, `program.mjs ${says}\n`);
    t.is(stdout, '');
    t.is(code, 1);
  }
  const { error } = await call('daemonize({ pidFile: args[0], startTimeout: 1000 })', { args: [pidFile], ...how });
  t.like(error, { name: 'DaemonError', ...fields });
  t.deepEqual(snapshot(folder), before);
}

/** Checks that `daemonStatus`, `stopDaemon` and `signalDaemon` refuse the pidfile with this code, and change nothing. */
async function cannotBeLookedAt(t: ExecutionContext, pidFile: string, code: string) {
  const before = snapshot(dirname(pidFile));
  await t.throwsAsync(() => daemonStatus({ pidFile }), { code });
  await t.throwsAsync(signalDaemon({ pidFile }, 'SIGTERM'), { code });
  const error = await t.throwsAsync(stopDaemon({ pidFile }), { code });
  t.true(isDaemonError(error) && error.message.includes(pidFile), error?.message);
  t.deepEqual(snapshot(dirname(pidFile)), before);
}

const link = 'it is a symbolic link, or leads through too many (ELOOP)';
const cases: {
  what: string;
  make: (pidFile: string, workspace: Workspace) => void;
  code: string;
  reason: string;
}[] = [
  {
    what: 'a symbolic link to a pidfile',
    make: (pidFile, { at }) => (writeFileSync(at('other.pid'), `${noPid}\n`), symlinkSync(at('other.pid'), pidFile)),
    code: 'ELOOP',
    reason: link,
  },
  {
    what: 'a dangling symbolic link',
    make: (pidFile, { at }) => symlinkSync(at('nowhere'), pidFile),
    code: 'ELOOP',
    reason: link,
  },
  {
    what: 'a directory',
    make: (pidFile) => mkdirSync(pidFile),
    code: 'ERR_NOT_A_PIDFILE',
    reason: 'it is a directory',
  },
  {
    what: 'a FIFO',
    make: (pidFile) => void spawnSync('mkfifo', [pidFile]),
    code: 'ERR_NOT_A_PIDFILE',
    reason: 'it is a FIFO',
  },
  {
    what: 'a file with another hard link',
    make: (pidFile, { at }) => (writeFileSync(at('other.pid'), `${noPid}\n`), linkSync(at('other.pid'), pidFile)),
    code: 'ERR_NOT_A_PIDFILE',
    reason: 'it has more than one hard link',
  },
  ...[
    ['text', 'do not lose me\n'],
    ['JSON', `{"pid":${noPid}}\n`],
    ['a pid with a comment', `${noPid} # the service\n`],
    ['bytes that are no text', '\xff\xfe\x00\x01'],
    ['endless digits', '7'.repeat(5000)],
  ].map(([what, content]) => ({
    what: `a file that holds ${what}`,
    make: (pidFile: string) => writeFileSync(pidFile, content!, 'latin1'),
    code: 'ERR_NOT_A_PIDFILE',
    reason: 'it holds something other than a process id',
  })),
];

for (const { what, make, code, reason } of cases) {
  test(`a pidfile that is ${what} is refused and untouched`, async (t) => {
    const folder = workspace(t);
    const pidFile = folder.at('a.pid');
    make(pidFile, folder);
    const isCall = !code.startsWith('ERR_');
    const says = isCall ? `cannot open the pidfile ${pidFile}: ${reason}` : `${pidFile} is not a pidfile: ${reason}`;
    const step = isCall ? { step: 'open-pidfile' } : {};
    await refuses(t, pidFile, { code, ...step, path: pidFile, says: `did not start: ${says}` });
    await cannotBeLookedAt(t, pidFile, code);
    const { error } = await bench(t).call('PidFile.acquire(args[0])', { args: [pidFile] });
    t.like(error, { code });
    t.true(error?.message.includes(reason));
  });
}

test('a pidfile that is a socket is refused and untouched', async (t) => {
  const { at } = workspace(t);
  const pidFile = at('a.pid');
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(pidFile, resolve));
  t.teardown(() => server.close());
  const says = `did not start: ${pidFile} is not a pidfile: it is a socket, or a device that is not there`;
  await refuses(t, pidFile, { code: 'ERR_NOT_A_PIDFILE', path: pidFile, says });
  await cannotBeLookedAt(t, pidFile, 'ERR_NOT_A_PIDFILE');
});

test('a pidfile that is a device is refused', async (t) => {
  const { error } = await bench(t).call("daemonize({ pidFile: '/dev/null' })");
  t.like(error, { code: 'ERR_NOT_A_PIDFILE', path: '/dev/null' });
  t.is(error?.message, 'call.mjs did not start: /dev/null is not a pidfile: it is a device');
  await t.throwsAsync(() => daemonStatus({ pidFile: '/dev/null' }), { code: 'ERR_NOT_A_PIDFILE' });
});

test('a pidfile whose path names no file is refused', async (t) => {
  const { error } = await bench(t).call("daemonize({ pidFile: '/' })");
  t.like(error, { code: 'ERR_NOT_A_PIDFILE', path: '/' });
});

test('a pidfile in a missing directory is refused, and the directory is not made', async (t) => {
  const { at } = workspace(t);
  const directory = at('missing');
  const pidFile = at('missing', 'a.pid');
  const says = `did not start: cannot open the pidfile's directory ${directory}: No such file or directory (ENOENT)`;
  await refuses(t, pidFile, { code: 'ENOENT', step: 'open-directory', path: directory, says });
  t.is((await daemonStatus({ pidFile })).state, 'stopped');
  t.deepEqual(await stopDaemon({ pidFile }), { outcome: 'not-running' });
});

test('a pidfile below a file is refused', async (t) => {
  const { at } = workspace(t);
  writeFileSync(at('file'), '');
  const says = `did not start: cannot open the pidfile's directory ${at('file')}: Not a directory (ENOTDIR)`;
  await refuses(t, at('file', 'a.pid'), { code: 'ENOTDIR', step: 'open-directory', path: at('file'), says });
});

for (const [what, mode] of [
  ['enter', 0o700],
  ['write', 0o755],
] as const) {
  testUnless(noOtherUser)(`a pidfile in a directory that the user may not ${what} is refused`, async (t) => {
    const { path, at } = workspace(t);
    chmodSync(path, 0o755);
    mkdirSync(at('closed'), { mode });
    const pidFile = at('closed', 'a.pid');
    const says = `did not start: cannot open the pidfile ${pidFile}: Permission denied (EACCES)`;
    await refuses(t, pidFile, { code: 'EACCES', step: 'open-pidfile', path: pidFile, says }, { ...nobody, cwd: '/' });
  });
}

testUnless(noOtherUser)("another user's pidfile that may only be read is refused and untouched", async (t) => {
  const { path, at } = workspace(t);
  chmodSync(path, 0o777);
  writeFileSync(at('a.pid'), `${noPid}\n`);
  const says = `did not start: cannot open the pidfile ${at('a.pid')}: Permission denied (EACCES)`;
  const fields = { code: 'EACCES', step: 'open-pidfile', path: at('a.pid'), says };
  await refuses(t, at('a.pid'), fields, { ...nobody, cwd: '/' });
});

/** Runs a service and two calls on a file system of its own, mounted over the workspace and prepared by a shell. */
async function onOwnFileSystem(t: ExecutionContext, options: string, prepare: string, { path, at }: Workspace) {
  const script = `
    mount -t tmpfs -o ${options} tmpfs "$0" || exit 99
    ${prepare}
    "$1" "$2"; echo "exit $?"
    for program in "$3" "$4"; do "$1" "$program" "$0/a.pid"; done
    ls -A "$0"`;
  const { write } = bench(t);
  const programs = [
    write(service({ pidFile: at('a.pid') }, 'run')),
    write(calling('daemonize({ pidFile: args[0] })'), 'daemonize.mjs'),
    write(calling('PidFile.acquire(args[0])'), 'acquire.mjs'),
  ];
  const command = ['sh', '-c', script, path, process.execPath, ...programs];
  const { stdout, stderr } = await run('unshare', [...ownMounts.slice(1), ...command]);
  const [exit, daemonized = '{}', acquired = '{}', ...files] = stdout.trimEnd().split('\n');
  return { exit, stderr, errors: [daemonized, acquired].map((line) => JSON.parse(line).error), files, at };
}

testUnless(noOwnMounts)('a pidfile on a full disk is told, and no file stays behind', async (t) => {
  const folder = workspace(t);
  const pidFile = folder.at('a.pid');
  const fill = 'cat /dev/zero >"$0/fill" 2>/dev/null';
  const { exit, stderr, errors, files } = await onOwnFileSystem(t, 'size=8k', fill, folder);
  const sentence = `cannot write the pidfile ${pidFile}: No space left on device (ENOSPC)`;
  t.is(stderr, `program.mjs did not start: ${sentence}\n`);
  t.is(exit, 'exit 1');
  for (const error of errors) t.like(error, { code: 'ENOSPC', step: 'write-pid', path: pidFile });
  t.deepEqual(files, ['fill']);
});

testUnless(noOwnMounts)('a pidfile on a read-only file system is told and untouched', async (t) => {
  const folder = workspace(t);
  const pidFile = folder.at('a.pid');
  const { exit, stderr, errors, files } = await onOwnFileSystem(t, 'size=1m', 'mount -o remount,bind,ro "$0"', folder);
  const sentence = `cannot open the pidfile ${pidFile}: Read-only file system (EROFS)`;
  t.is(stderr, `program.mjs did not start: ${sentence}\n`);
  t.is(exit, 'exit 1');
  for (const error of errors) t.like(error, { code: 'EROFS', step: 'open-pidfile', path: pidFile });
  t.deepEqual(files, []);
});

testUnless(noLinux)(
  'a pidfile held by another daemon: the second start fails with its pid and changes nothing',
  async (t) => {
    const { at, daemon } = bench(t);
    const pidFile = at('a.pid');
    const pid = await daemon(service({ pidFile }));
    const locks = locksOn(pidFile);
    const says = `is already running with pid ${pid} (pidfile ${pidFile})`;
    await refuses(t, pidFile, { code: 'ERR_ALREADY_RUNNING', path: pidFile, pid, says });
    t.deepEqual(locksOn(pidFile), locks);
    t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
  },
);

testUnless(noLinux)(
  'what keeps the lock of a dead daemon, and is not to be ended with it, is named, and nothing is signalled',
  async (t) => {
    const folder = bench(t);
    const pidFile = folder.at('a.pid');
    const { helper, pid } = await startHelper(t, folder, pidFile, '.lock');
    process.kill(pid, 'SIGKILL');
    await until('the daemon has ended', async () => (await daemonStatus({ pidFile })).state === 'unknown');

    t.deepEqual(await daemonStatus({ pidFile }), { state: 'unknown', pidFile, heldBy: helper });
    const sentence = `the pidfile ${pidFile} is locked by process ${helper}, not by the daemon named in it`;
    const fields = { code: 'ERR_PIDFILE_HELD', path: pidFile, pid: helper };
    await refuses(t, pidFile, { ...fields, says: `did not start: ${sentence}` });
    t.like(await t.throwsAsync(stopDaemon({ pidFile }), { message: sentence }), fields);
    t.like(await t.throwsAsync(signalDaemon({ pidFile }, 'SIGTERM')), fields);

    // The dead daemon's pid is another process's by now.
    const stranger = startStranger(t);
    writeFileSync(pidFile, `${stranger.pid}\n`);
    t.deepEqual(await daemonStatus({ pidFile }), { state: 'unknown', pidFile, heldBy: helper });
    await t.throwsAsync(stopDaemon({ pidFile }), { code: 'ERR_PIDFILE_HELD' });
    t.false(hasEnded(helper));
    t.false(hasEnded(stranger.pid!));

    await kill(helper);
    t.like(await daemonStatus({ pidFile }), { state: 'dead' });
    await folder.daemon(service({ pidFile }));
  },
);

testUnless(noLinux)(
  'what keeps only the pidfile of a dead daemon, and is not to be ended with it, is in nobody’s way',
  async (t) => {
    const folder = bench(t);
    const pidFile = folder.at('a.pid');
    const { helper, pid } = await startHelper(t, folder, pidFile, '.pid');
    process.kill(pid, 'SIGKILL');
    await until('the daemon has ended', async () => (await daemonStatus({ pidFile })).state === 'dead');
    const next = await folder.daemon(service({ pidFile }));
    t.deepEqual(await stopDaemon({ pidFile }), { outcome: 'stopped', pid: next });
    t.false(hasEnded(helper));
  },
);

testUnless(noLinux)(
  'a pidfile that a stranger has locked keeps nothing from starting, and its holder lives on',
  async (t) => {
    const { at, daemon } = bench(t);
    const pidFile = at('a.pid');
    writeFileSync(pidFile, `${noPid}\n`);
    const holder = spawn('flock', ['--no-fork', pidFile, 'sleep', '1000'], { stdio: 'ignore' });
    t.teardown(() => holder.kill('SIGKILL'));
    await until('it is locked', () => locksOn(pidFile).length > 0);
    t.deepEqual(await daemonStatus({ pidFile }), { state: 'unknown', pidFile, heldBy: holder.pid! });
    const pid = await daemon(service({ pidFile }));
    t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
    t.deepEqual(await stopDaemon({ pidFile }), { outcome: 'stopped', pid });
    t.is(holder.signalCode, null);
  },
);

for (const [what, content] of [
  ['empty', ''],
  ['full of NULs', '\0'.repeat(512)],
  ['with a negative pid', `-${noPid}\n`],
  ['with the pid 0', '0\n'],
  ['with an overlong pid', '99999999999999999999\n'],
  ['with two pids', `${noPid} ${noPid}\n`],
] as const) {
  test(`an old pidfile ${what} is dead, stops nobody and blocks no start`, async (t) => {
    const { at, daemon } = bench(t);
    const pidFile = at('a.pid');
    writeFileSync(pidFile, content);
    t.deepEqual(await daemonStatus({ pidFile }), { state: 'dead', pidFile });
    t.deepEqual(await stopDaemon({ pidFile }), { outcome: 'not-running' });
    await t.throwsAsync(signalDaemon({ pidFile }, 'SIGTERM'), { code: 'ERR_NOT_RUNNING' });
    t.is(readFileSync(pidFile, 'latin1'), content);
    const pid = await daemon(service({ pidFile }));
    t.is(readFileSync(pidFile, 'utf8'), `${pid}\n`);
  });
}

for (const newlines of ['', '\n', '\n\n']) {
  test(`a recycled pid in an old pidfile (${newlines.length} newlines): its process is never signalled`, async (t) => {
    const { at, daemon } = bench(t);
    const pidFile = at('a.pid');
    const stranger = startStranger(t);
    writeFileSync(pidFile, `${stranger.pid}${newlines}`);
    t.deepEqual(await daemonStatus({ pidFile }), { state: 'dead', pidFile, lastPid: stranger.pid! });
    t.deepEqual(await stopDaemon({ pidFile }), { outcome: 'not-running' });
    await t.throwsAsync(signalDaemon({ pidFile }, 'SIGTERM'), { code: 'ERR_NOT_RUNNING' });
    const pid = await daemon(service({ pidFile }));
    t.is(readFileSync(pidFile, 'utf8'), `${pid}\n`);
    t.deepEqual(await stopDaemon({ pidFile }), { outcome: 'stopped', pid });
    t.false(hasEnded(stranger.pid!));
  });
}

/** A live process that any signal would end. */
function startStranger(t: ExecutionContext) {
  const stranger = spawn('sleep', ['1000'], { stdio: 'ignore' });
  t.teardown(() => stranger.kill('SIGKILL'));
  return stranger;
}

/** A daemon whose helper keeps the descriptor of a file with this ending. */
async function startHelper(t: ExecutionContext, { daemon, noted }: Bench, pidFile: string, kind: '.lock' | '.pid') {
  const body = `
    import { spawn } from 'node:child_process';
    daemonize({ pidFile: args[0], onStarted: started, killMode: 'process' });
    const fd = Number(fs.readdirSync('/proc/self/fd').find((fd) => {
      try { return fs.readlinkSync('/proc/self/fd/' + fd).endsWith(args[1]); } catch { return false; }
    }));
    const env = { ...process.env, DAEMONRY_TEST: args[0] };
    const helper = spawn('sleep', ['1000'], { stdio: ['ignore', 'ignore', 'ignore', fd], env });
    note(helper.pid);
    forever();`;
  const pid = await daemon(body, { args: [pidFile, kind] });
  const helper = Number(await noted(/^\d+$/));
  t.teardown(() => hasEnded(helper) || process.kill(helper, 'SIGKILL'));
  return { pid, helper };
}
