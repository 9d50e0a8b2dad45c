/** What root opens, makes and removes for a daemon where other users can change names. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  existsSync,
  linkSync,
  lstatSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  statSync,
  symlinkSync,
  unlinkSync,
} from 'node:fs';
import { connect, createServer } from 'node:net';
import { once } from 'node:events';
import type { ExecutionContext } from 'ava';
import { spawnDaemon, stopDaemon, type DaemonError, type SpawnDaemonOptions } from '../../dist/index.js';
import { bench, calling } from '../helpers/bench.js';
import { count, type Counts } from '../helpers/counts.js';
import { read } from '../helpers/files.js';
import { asWww, bob, exchanging, neighbourhood, perl, www, type Neighbourhood } from '../helpers/neighbour.js';
import { noLinux, noOtherUser, testUnless } from '../helpers/privileges.js';
import { statusField } from '../helpers/processes.js';
import { until } from '../helpers/until.js';

const asRoot = testUnless(noOtherUser);
const asRootOnLinux = testUnless(noOtherUser ?? noLinux);

const waiting = 'echo written; exec sleep 60';

/** Starts a shell as a daemon, and stops it when the test ends. */
async function shell(t: ExecutionContext, { at }: Neighbourhood, script: string, options: SpawnDaemonOptions = {}) {
  const pidFile = at('a.pid');
  t.teardown(() => stopDaemon({ pidFile }, { timeout: 2000 }));
  return spawnDaemon('/bin/sh', ['-c', script], { pidFile, ...options });
}

/** The error of a start that fails and leaves no pidfile. */
async function failure(t: ExecutionContext, place: Neighbourhood, options: SpawnDaemonOptions, script = waiting) {
  const error = await t.throwsAsync(shell(t, place, script, options));
  t.false(existsSync(place.at('a.pid')), 'the pidfile is left');
  return error as DaemonError & { step?: string; stderr?: string; path?: string };
}

/** Waits until the daemon has written its line. */
async function written(path: string) {
  await until('the daemon has written', () => read(path).includes('written\n'));
}

for (const [level, link, target] of [
  ['its directory', 'app/logs/deep', 'secret'],
  ['the directory above', 'app/logs', 'secret'],
] as const) {
  for (const exists of [true, false]) {
    const what = exists ? 'a file of root' : "a directory of root's";
    asRoot(`a user cannot lead its daemon's log into ${what} by a link for ${level}`, async (t) => {
      const place = neighbourhood(t);
      const { at } = place;
      const file = link === 'app/logs' ? 'secret/deep/app.log' : 'secret/app.log';
      if (link === 'app/logs') place.directory('secret/deep', { uid: 0, mode: 0o700 });
      else place.directory('app/logs');
      if (exists) place.file(file, 'of root\n', { uid: 0, mode: 0o600 });
      symlinkSync(at(target), at(link));
      const log = at('app/logs/deep/app.log');
      const error = await failure(t, place, { log, ...asWww });
      t.like(error, { code: 'EACCES', step: 'open-stdout', path: log });
      t.regex(error.message, /^sh did not start: cannot open the log .*app\.log: Permission denied \(EACCES\)$/);
      if (exists) t.is(readFileSync(at(file), 'utf8'), 'of root\n');
      else t.false(existsSync(at(file)));
    });
  }
}

for (const [depth, directory] of ['app', 'app/logs', 'app/logs/deep'].entries()) {
  asRoot(`a daemon opens its log itself, ${depth} directories below one of its user`, async (t) => {
    const place = neighbourhood(t);
    const { at } = place;
    if (depth > 0) place.directory('app/logs');
    // Root's, but below the user's: the user can put another in its place.
    if (depth > 1) place.directory('app/logs/deep', { uid: 0 });
    const log = at(directory, 'app.log');
    if (depth > 1) place.file(`${directory}/app.log`, '', { mode: 0o600 });
    const script = 'echo error >&2; echo written; exec sleep 60';
    await shell(t, place, script, { log: { path: log, mode: 0o604 }, umask: 0o077, ...asWww });
    await written(log);
    t.is(readFileSync(log, 'utf8'), 'error\nwritten\n');
    const { uid, gid, mode } = statSync(log);
    t.deepEqual([uid, gid, mode & 0o7777], [www.uid, www.gid, depth > 1 ? 0o600 : 0o604]);
    await stopDaemon({ pidFile: at('a.pid') });
    await shell(t, place, 'echo written; exec sleep 60', { log: { path: log, append: false }, ...asWww });
    await until('it is empty but for one line', () => readFileSync(log, 'utf8') === 'written\n');
  });
}

asRoot('two streams of a user in two files, and a limit of very few descriptors', async (t) => {
  const place = neighbourhood(t);
  const { at } = place;
  const files = { stdin: place.file('app/in', 'from a file\n'), stdout: at('app/out'), stderr: at('app/err') };
  await shell(t, place, 'cat; echo written; exec sleep 60', { ...files, limits: { nofile: 7 }, ...asWww });
  await written(files.stdout);
  t.is(readFileSync(files.stdout, 'utf8'), 'from a file\nwritten\n');
  t.is(statSync(files.stderr).uid, www.uid);
});

asRoot("a user's own links may lead to its log, and root's to where root alone can change anything", async (t) => {
  const place = neighbourhood(t);
  const { at } = place;
  place.directory('elsewhere');
  symlinkSync(at('elsewhere'), at('app/logs'));
  await shell(t, place, waiting, { log: at('app/logs/app.log'), ...asWww });
  await written(at('elsewhere/app.log'));
  await stopDaemon({ pidFile: at('a.pid') });

  place.directory('logs', { uid: 0, mode: 0o700 });
  symlinkSync('logs', at('link'));
  symlinkSync('link/app.log', at('current.log'));
  await shell(t, place, waiting, { log: at('link/app.log'), ...asWww });
  await written(at('logs/app.log'));
  t.is(statSync(at('logs/app.log')).uid, www.uid);
  await stopDaemon({ pidFile: at('a.pid') });
  await shell(t, place, 'echo again; exec sleep 60', { log: at('current.log'), ...asWww });
  await until('it has written', () => readFileSync(at('logs/app.log'), 'utf8') === 'written\nagain\n');
});

asRoot('a log that root owns in directories of root is used for every user', async (t) => {
  const place = neighbourhood(t);
  const log = place.file('secret/app.log', 'before\n', { uid: 0, mode: 0o600 });
  await shell(t, place, waiting, { log, ...asWww });
  await written(log);
  t.is(readFileSync(log, 'utf8'), 'before\nwritten\n');
  t.is(statSync(log).uid, 0);
});

asRootOnLinux('a log can be the standard output of the launcher, whoever the daemon is', async (t) => {
  const place = neighbourhood(t);
  // The runner's own pipes are sockets, which cannot be opened.
  const script = `
    const options = { pidFile: args[0], log: '/dev/stdout', waitFor: 'exec', aliveFor: 300, ...JSON.parse(args[1]) };
    const error = await spawnDaemon('/bin/sh', ['-c', 'echo said; exit 3'], options).catch((error) => error);
    return error.code;`;
  for (const user of [{}, asWww]) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const { stdout } = await bench(t).launch(calling(script), {
      via: ['sh', '-c', '"$@" | cat', 'sh'],
      args: [place.at('a.pid'), JSON.stringify(user)],
    });
    t.is(stdout, 'said\n{"returned":"ERR_START_FAILED"}\n');
  }
});

asRoot("another user's file in a directory of root is not opened for a daemon's user", async (t) => {
  const place = neighbourhood(t);
  const log = place.file('app.log', 'of bob\n', { ...bob, mode: 0o600 });
  const error = await failure(t, place, { log, ...asWww });
  t.like(error, { code: 'EPERM', step: 'open-stdout', path: log });
  t.regex(
    error.message,
    /: it belongs to user 54322, and root uses there only what is its own or the daemon user's \(EPERM\)$/,
  );
  t.is(readFileSync(log, 'utf8'), 'of bob\n');
});

for (const [whose, options] of [
  ['root', {}],
  ['another user', { user: bob.uid, group: bob.gid, groups: [] }],
] as const) {
  asRoot(`a file that a user has left in a sticky directory is no log of a daemon of ${whose}`, async (t) => {
    const place = neighbourhood(t);
    const { at } = place;
    place.directory('tmp', { uid: 0, mode: 0o1777 });
    const log = place.file('tmp/x.log', 'of www\n', { mode: 0o666 });
    for (const append of [true, false]) {
      const error = await failure(t, place, { log: { path: log, append }, ...options });
      t.like(error, { code: 'EPERM', step: 'open-stdout', path: log });
      t.regex(error.message, /: it belongs to user 54321, /);
      t.is(readFileSync(log, 'utf8'), 'of www\n');
    }
    // That user itself may use it; without it, so may any other.
    await shell(t, place, waiting, { log, ...asWww });
    await written(log);
    await stopDaemon({ pidFile: at('a.pid') });
    unlinkSync(log);
    await shell(t, place, waiting, { log, ...options });
    await written(log);
    t.is(statSync(log).uid, 'user' in options ? bob.uid : 0);
  });
}

asRoot("root's file that a user has moved into a sticky directory is not opened for that user", async (t) => {
  const place = neighbourhood(t);
  const { at } = place;
  place.directory('tmp', { uid: 0, mode: 0o1777 });
  renameSync(place.file('app/of-root', 'of root\n', { uid: 0, mode: 0o600 }), at('tmp/x.log'));
  const error = await failure(t, place, { log: at('tmp/x.log'), ...asWww });
  t.like(error, { code: 'EACCES', step: 'open-stdout' });
  t.is(readFileSync(at('tmp/x.log'), 'utf8'), 'of root\n');
});

for (const [what, plant, reason] of [
  ['file', (_log, { file }) => void file('app/app.log', 'of www\n', { mode: 0o666 }), /: it belongs to user 54321, /],
  ['FIFO', (log) => makeFifo(log), /: it belongs to user 54321, /],
  [
    'link',
    (log, { file }) => symlinkSync(file('secret/x', '', { uid: 0, mode: 0o600 }), log),
    /: it is a symbolic link, or leads through too many \(ELOOP\)$/,
  ],
  [
    "hard link to root's file",
    (log, { file }) => linkSync(file('secret/x', '', { uid: 0, mode: 0o600 }), log),
    /: it has hard links in a directory that is not root's alone \(EMLINK\)$/,
  ],
] as readonly [string, (log: string, place: Neighbourhood) => void, RegExp][]) {
  asRoot(`a daemon that runs as root does not log into a user's ${what}`, async (t) => {
    const place = neighbourhood(t);
    const log = place.at('app/app.log');
    plant(log, place);
    // A FIFO is opened only if a process reads it.
    const reader = what === 'FIFO' ? openSync(log, constants.O_RDWR | constants.O_NONBLOCK) : undefined;
    const error = await failure(t, place, { log });
    t.is(error.step, 'open-stdout');
    t.regex(error.message, reason);
    if (reader !== undefined) closeSync(reader);
    for (const file of ['app/app.log', 'secret/x'].filter((file) => existsSync(place.at(file)) && what !== 'FIFO')) {
      t.false(readFileSync(place.at(file), 'utf8').includes('written'), file);
    }
  });
}

function makeFifo(path: string) {
  execFileSync('mkfifo', ['-m', '666', path]);
  chownSync(path, www.uid, www.gid);
}

asRoot(
  "a daemon that runs as root logs below a user's directory into its own file, and follows no link there",
  async (t) => {
    const place = neighbourhood(t);
    const { at } = place;
    place.directory('app/logs');
    const log = at('app/logs/app.log');
    for (const times of [1, 2]) {
      await shell(t, place, waiting, { log });
      await until('it has written', () => readFileSync(log, 'utf8') === 'written\n'.repeat(times));
      await stopDaemon({ pidFile: at('a.pid') });
      t.is(statSync(log).uid, 0);
    }
    renameSync(at('app/logs'), at('app/other'));
    symlinkSync(at('secret'), at('app/logs'));
    const error = await failure(t, place, { log });
    t.like(error, { code: 'ELOOP', step: 'open-stdout', path: log });
    t.deepEqual(readdirSync(at('secret')), []);
  },
);

asRoot(
  'in a directory that a group of others may write, logs of root and of users work, as in /var/log of Ubuntu',
  async (t) => {
    const place = neighbourhood(t);
    const { at } = place;
    place.directory('log', { uid: 0, gid: bob.gid, mode: 0o775 });
    await shell(t, place, waiting, { log: at('log/root.log') });
    await written(at('log/root.log'));
    t.is(statSync(at('log/root.log')).uid, 0);
    await stopDaemon({ pidFile: at('a.pid') });
    for (const times of [1, 2]) {
      await shell(t, place, waiting, { log: at('log/www.log'), ...asWww });
      await until('it has written', () => readFileSync(at('log/www.log'), 'utf8') === 'written\n'.repeat(times));
      t.is(statSync(at('log/www.log')).uid, www.uid);
      await stopDaemon({ pidFile: at('a.pid') });
    }
    // A member of that group can move files of root's there.
    place.file('log/moved.log', 'of root\n', { uid: 0, mode: 0o600 });
    const error = await failure(t, place, { log: at('log/moved.log'), ...asWww, groups: [bob.gid] });
    t.like(error, { code: 'EACCES', step: 'open-stdout' });
  },
);

/** Lets www write in a directory by an access control list (acl(5)). False where the file system has none. */
function letWrite(directory: string): boolean {
  const entries = [
    [0x01, 7, 0xffff_ffff],
    [0x02, 7, www.uid],
    [0x04, 5, 0xffff_ffff],
    [0x10, 7, 0xffff_ffff],
    [0x20, 5, 0xffff_ffff],
  ].flat();
  const [command, ...args] = perl(
    `my ($path, @entries) = @ARGV;
    my ($name, $list) = ("system.posix_acl_access\\0", pack("V(vvV)*", 2, @entries));
    exit(syscall($NUMBER{setxattr}, $path, $name, $list, length $list, 0) != 0);`,
    directory,
    ...entries.map(String),
  );
  return spawnSync(command, args).status === 0;
}

asRootOnLinux(
  'a directory that a user may change by an access control list is not taken for one of root alone',
  async (t) => {
    const place = neighbourhood(t);
    const { at } = place;
    place.directory('list', { uid: 0 });
    if (!letWrite(at('list'))) {
      t.log('skipped: the file system has no access control lists');
      return t.pass();
    }
    t.is(statSync(at('list')).mode & 0o7777, 0o775, 'it looks like the permissions of the group 0');
    place.file('app/of-root', 'of root\n', { uid: 0, mode: 0o600 });
    const { status, stderr } = spawnSync('mv', [at('app/of-root'), at('list/app.log')], { ...www, encoding: 'utf8' });
    t.is(status, 0, stderr);
    const error = await failure(t, place, { log: at('list/app.log'), ...asWww });
    t.like(error, { code: 'EACCES', step: 'open-stdout' });
    t.is(readFileSync(at('list/app.log'), 'utf8'), 'of root\n');
  },
);

for (const [title, plant] of [
  ['a link to it', (input, secret) => symlinkSync(secret, input)],
  ['a hard link to it', (input, secret) => linkSync(secret, input)],
] as readonly [string, (input: string, secret: string) => void][]) {
  asRoot(`a user cannot make root hand it a file of root's as standard input, by ${title}`, async (t) => {
    const place = neighbourhood(t);
    const { at } = place;
    const secret = place.file('secret/key', 'a secret\n', { uid: 0, mode: 0o600 });
    plant(at('app/input'), secret);
    const error = await failure(t, place, { stdin: at('app/input'), stdout: at('app/out'), ...asWww }, 'exec cat');
    t.like(error, { code: 'EACCES', step: 'open-stdin', path: at('app/input') });
    const ofRoot = await failure(t, place, { stdin: at('app/input'), stdout: at('secret/out') }, 'exec cat');
    t.like(ofRoot, { code: title.includes('hard') ? 'EMLINK' : 'ELOOP', step: 'open-stdin' });
  });
}

asRoot('what root keeps for a daemon where root alone can change anything is its standard input', async (t) => {
  const place = neighbourhood(t);
  const stdin = place.file('secret/input', 'written\n', { uid: 0, mode: 0o600 });
  await shell(t, place, 'cat; exec sleep 60', { stdin, stdout: place.at('app/out'), ...asWww });
  await written(place.at('app/out'));
  t.is(statSync(place.at('app/out')).uid, www.uid);
});

const socket = (path: string) => ({ listen: { ctl: { path, mode: 0o604 } } });

asRoot(
  "a socket in a directory of the daemon's user is that user's, with its mode from the start, and replaces an abandoned one",
  async (t) => {
    const place = neighbourhood(t);
    const { at } = place;
    place.directory('app/run');
    const path = at('app/run/ctl.sock');
    for (const _ of [1, 2]) {
      const { pid, listeners } = await shell(t, place, waiting, { ...socket(path), umask: 0o027, ...asWww });
      t.deepEqual(listeners, { ctl: { path } });
      const { uid, gid, mode } = lstatSync(path);
      t.deepEqual([uid, gid, mode & 0o7777], [www.uid, www.gid, 0o604]);
      t.is(await answers(path), true);
      t.is(statusField(pid, 'Umask'), '0027');
      await stopDaemon({ pidFile: at('a.pid') });
      t.is(await answers(path), false);
    }
  },
);

/** Whether a process listens on a Unix socket. */
async function answers(path: string): Promise<boolean> {
  const client = connect(path);
  const outcome = await once(client, 'connect').then(
    () => true,
    () => false,
  );
  client.destroy();
  return outcome;
}

for (const listens of [true, false]) {
  asRoot(
    `a user's socket is ${listens ? 'not replaced while a process listens' : 'replaced by no other kind of file'}`,
    async (t) => {
      const place = neighbourhood(t);
      const path = place.at('app/ctl.sock');
      const server = createServer();
      if (listens) {
        server.listen(path);
        await once(server, 'listening');
        chmodSync(path, 0o666);
        t.teardown(() => server.close());
      } else {
        place.file('app/ctl.sock', 'a file\n');
      }
      const error = await failure(t, place, { ...socket(path), ...asWww });
      t.like(error, { code: 'EADDRINUSE', step: 'listen', path });
      t.true(existsSync(path));
    },
  );
}

for (const [what, options, script] of [
  ['the child', { cwd: '/nowhere/at/all' }, waiting],
  ['the program', { aliveFor: 20_000 }, 'exit 3'],
] as const) {
  asRoot(
    `a start that fails in ${what} takes the socket and the empty log in its user's directory with it`,
    async (t) => {
      const place = neighbourhood(t);
      const { at } = place;
      place.directory('app/run');
      const directory = at('app/closed');
      place.directory('app/closed', { uid: 0, mode: 0o700 });
      const cwd = what === 'the child' ? { cwd: directory } : {};
      const error = await failure(
        t,
        place,
        { ...options, ...cwd, ...socket(at('app/run/ctl.sock')), log: at('app/run/app.log'), ...asWww },
        script,
      );
      if (what === 'the child') t.like(error, { code: 'EACCES', step: 'chdir' });
      else t.is(error.code, 'ERR_START_FAILED');
      t.deepEqual(readdirSync(at('app/run')), []);
    },
  );
}

asRoot('a failed start removes nothing in a directory that is neither of root nor of its user', async (t) => {
  const place = neighbourhood(t);
  const { at } = place;
  place.directory('bob', { ...bob, mode: 0o777 });
  place.file('bob/app.log', 'of www\n');
  // The user moves the file away, and what has its name then is another one.
  const script = `mv ${at('bob/app.log')} ${at('bob/moved')}; echo of www >${at('bob/app.log')}; exit 3`;
  await failure(
    t,
    place,
    { ...socket(at('bob/ctl.sock')), log: at('bob/new.log'), aliveFor: 20_000, ...asWww },
    script,
  );
  t.deepEqual(readdirSync(at('bob')).toSorted(), ['app.log', 'ctl.sock', 'moved', 'new.log']);
});

asRoot('a child that fails removes its sockets itself where root leaves everything alone', async (t) => {
  const place = neighbourhood(t);
  const { at } = place;
  place.directory('bob', { ...bob, mode: 0o777 });
  place.directory('closed', { uid: 0, mode: 0o700 });
  const error = await failure(t, place, { ...socket(at('bob/ctl.sock')), cwd: at('closed'), ...asWww });
  t.like(error, { code: 'EACCES', step: 'chdir' });
  t.deepEqual(readdirSync(at('bob')), []);
});

asRoot("the last words of a daemon come from the log that it has opened, and from no file of root's", async (t) => {
  const place = neighbourhood(t);
  const { at } = place;
  const log = at('app/app.log');
  place.file('secret/key', 'a secret\n', { uid: 0, mode: 0o600 });
  const plain = await failure(t, place, { log, aliveFor: 20_000, ...asWww }, 'echo boom >&2; exit 3');
  t.is(plain.stderr, 'boom\n');
  for (const command of ['ln -s', 'ln']) {
    unlinkSync(log);
    if (command === 'ln') linkSync(at('secret/key'), at('app/hard'));
    const plant = command === 'ln' ? `mv ${at('app/hard')} ${log}` : `ln -s ${at('secret/key')} ${log}`;
    const error = await failure(t, place, { log, aliveFor: 20_000, ...asWww }, `rm ${log}; ${plant}; exit 3`);
    t.is(error.stderr, '');
  }
});

asRoot("a user cannot lead its daemon's socket into a directory of root's", async (t) => {
  const place = neighbourhood(t);
  const { at } = place;
  symlinkSync(at('secret'), at('app/run'));
  const error = await failure(t, place, { ...socket(at('app/run/ctl.sock')), ...asWww });
  t.like(error, { code: 'EACCES', step: 'listen', path: at('app/run/ctl.sock') });
  t.regex(error.message, /^sh did not start: cannot listen on .*: Permission denied \(EACCES\)$/);
  t.deepEqual(readdirSync(at('secret')), []);
});

asRoot(
  'a daemon that runs as root binds no socket where a user could exchange a directory, but in /tmp and the like',
  async (t) => {
    const place = neighbourhood(t);
    const { at } = place;
    const error = await failure(t, place, socket(at('app/ctl.sock')));
    t.like(error, { code: 'EPERM', step: 'listen', path: at('app/ctl.sock') });
    t.is(
      error.message,
      `sh did not start: cannot listen on ${at('app/ctl.sock')}: another user could exchange a directory on the way there while root binds the socket (EPERM)`,
    );
    t.deepEqual(readdirSync(at('app')), []);
    place.directory('tmp', { uid: 0, mode: 0o1777 });
    await shell(t, place, waiting, socket(at('tmp/ctl.sock')));
    t.like(lstatSync(at('tmp/ctl.sock')), { uid: 0, gid: 0 });
  },
);

asRoot('a socket that a user has left in a sticky directory is removed for that user alone', async (t) => {
  const place = neighbourhood(t);
  const { at } = place;
  place.directory('tmp', { uid: 0, mode: 0o1777 });
  const path = at('tmp/ctl.sock');
  await shell(t, place, waiting, { ...socket(path), ...asWww });
  t.like(lstatSync(path), www);
  await stopDaemon({ pidFile: at('a.pid') });
  for (const options of [{}, { user: bob.uid, group: bob.gid }]) {
    const error = await failure(t, place, { ...socket(path), ...options });
    t.like(error, { code: 'EPERM', step: 'listen', path });
    t.regex(error.message, /: it belongs to user 54321, /);
    t.like(lstatSync(path), www);
  }
  await shell(t, place, waiting, { ...socket(path), ...asWww });
  t.true(await answers(path));
});

/** Starts a program in many rounds while the neighbour works; returns how often it started or failed with which error. */
async function startAgainAndAgain(t: ExecutionContext, command: string, options: SpawnDaemonOptions): Promise<Counts> {
  const rounds = Number(process.env['DAEMONRY_TEST_ROUNDS'] ?? 300);
  const outcomes: Counts = {};
  for (let round = 0; round < rounds; round += 1) {
    // eslint-disable-next-line no-await-in-loop -- one after the other, because the neighbour runs at the same time
    const outcome = await spawnDaemon(command, [], options).then(
      () => 'started',
      (error: DaemonError) => error.code,
    );
    count(outcomes, outcome);
  }
  t.log(outcomes);
  return outcomes;
}

asRootOnLinux(
  'a user who exchanges a directory and a link while root starts its daemons gets nothing of root',
  async (t) => {
    const place = neighbourhood(t);
    const { at } = place;
    place.directory('app/files');
    place.file('app/files/input', 'of www\n');
    place.file('secret/input', 'a secret\n', { uid: 0, mode: 0o600 });
    symlinkSync(at('secret'), at('app/other'));
    await exchanging(t, at('app/files'), at('app/other'));
    const files = {
      stdin: at('app/files/input'),
      stdout: at('app/files/out'),
      listen: { ctl: { path: at('app/files/ctl.sock') } },
    };
    const outcomes = await startAgainAndAgain(t, '/bin/cat', { ...files, ...asWww });
    t.deepEqual(readdirSync(at('secret')), ['input']);
    t.is(statSync(at('secret/input')).uid, 0);
    for (const directory of ['app/files', 'app/other']) {
      // The neighbour still exchanges them.
      t.false(read(at(directory, 'out')).includes('secret'));
    }
    t.true((outcomes['started'] ?? 0) > 0, 'the starts that found the directory came through');
  },
);

asRootOnLinux('a user who exchanges them while root starts daemons of its own gets nothing of root', async (t) => {
  const place = neighbourhood(t);
  const { at } = place;
  place.directory('app/files');
  symlinkSync(at('secret'), at('app/other'));
  await exchanging(t, at('app/files'), at('app/other'));
  const outcomes = await startAgainAndAgain(t, '/bin/true', { log: at('app/files/out') });
  t.deepEqual(readdirSync(at('secret')), []);
  t.true((outcomes['started'] ?? 0) > 0);
});
