/** Programs that put themselves into the background: nothing of a failed start runs on, nothing of another one is touched. */
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, writeFileSync } from 'node:fs';
import {
  daemonStatus,
  isDaemonError,
  spawnDaemon,
  stopDaemon,
  type SpawnDaemonOptions,
  type StartError,
} from '../../dist/index.js';
import { bench, type Bench } from '../helpers/bench.js';
import { daemonry } from '../helpers/command.js';
import { read } from '../helpers/files.js';
import { noLinux, noOtherUser, nobody, testOnLinux, testUnless } from '../helpers/privileges.js';
import { hasEnded, kill, processes } from '../helpers/processes.js';
import { until } from '../helpers/until.js';

const inBackground = 'it puts itself into the background; start it in its foreground mode';
const perhaps =
  'it left other processes running; if it puts itself into the background, start it in its foreground mode';

/** What a shell leaves behind: it writes the pid into `helper`. */
const leave = (helper: string) => `${helper} & echo $! >helper`;

/** The pid of what was left behind. */
const helperOf = ({ at }: Bench) => Number(read(at('helper')));

/** A start that has to fail, and its error. */
async function failed(
  { at, path, pidFile }: Bench,
  [program, ...args]: readonly [string, ...string[]],
  options: SpawnDaemonOptions = {},
): Promise<StartError> {
  const start = spawnDaemon(program, args, {
    pidFile,
    cwd: at('.'),
    env: { PLACE: path },
    aliveFor: 20_000,
    ...options,
  });
  const error: unknown = await start.then(
    ({ pid }) => new Error(`started with pid ${pid}`),
    (reason: unknown) => reason,
  );
  if (!isDaemonError(error) || error.code !== 'ERR_START_FAILED') throw error;
  return error;
}

async function endHelper(pid: number): Promise<void> {
  await kill(pid);
}

// Overwrites its environment with its title, as nginx does.
const titled = String.raw`use POSIX; pipe R, W; $pid = fork;
  if ($pid) { close W; open F, ">", "helper"; print F $pid; close F; <R>; exit 0 }
  setsid(); $0 = "a title" x 1000; close R; close W; sleep 1000`;

for (const [how, program] of [
  ['in the same session', ['sh', '-c', leave('sleep 1000')]],
  ['in a session of its own', ['sh', '-c', leave('setsid sleep 1000')]],
  ['without the descriptors that it inherited', ['sh', '-c', leave('setsid sleep 1000 3>&- 4>&- 5>&- 6>&-')]],
  ['by two forks', ['sh', '-c', `setsid sh -c '${leave('sleep 1000')}' & wait; exit 0`]],
  ['without an environment', ['perl', '-e', titled]],
  ['deaf to SIGTERM', ['sh', '-c', leave(`setsid sh -c 'trap "" TERM; exec sleep 1000'`)]],
] as const) {
  testOnLinux(
    `a program that puts itself into the background fails to start, and nothing is left: ${how}`,
    async (t) => {
      const place = bench(t);
      const error = await failed(place, program);
      t.is(error.message, `${program[0]} did not start: the daemon exited before it was up: ${perhaps}`);
      t.like(error, { othersEnded: 1, othersLeft: undefined });
      t.true(hasEnded(helperOf(place)));
      t.is((await daemonStatus({ pidFile: place.pidFile })).state, 'stopped');
    },
  );
}

testOnLinux('daemonry start prints what to do about it', async (t) => {
  const { at, path, pidFile } = bench(t);
  const program = ['sh', '-c', `${leave(`setsid sleep 1000`)}; exit 0`];
  const { code, stderr } = await daemonry(['start', '-p', pidFile, ...program], {
    cwd: at('.'),
    env: { ...process.env, PLACE: path },
  });
  t.is(code, 1);
  t.is(stderr, `daemonry: sh did not start: the daemon exited with code 0 before it was up: ${inBackground}\n`);
});

testOnLinux(
  'a program that crashes is reported with its exit code and last words, and its helper is ended',
  async (t) => {
    const place = bench(t);
    const { at, path, pidFile } = place;
    const program = ['sh', '-c', `${leave('setsid sleep 1000')}; echo no license >&2; exit 3`];
    const log = ['--log', at('log')];
    const { code, stderr } = await daemonry(['start', '-p', pidFile, ...log, ...program], {
      cwd: at('.'),
      env: { ...process.env, PLACE: path },
    });
    t.is(code, 1);
    t.regex(
      stderr,
      /^daemonry: sh did not start: the daemon exited with code 3 before it was up: its last words were "no license" \(see \S*\)\n$/,
    );
    t.true(hasEnded(helperOf(place)));
    const error = await failed(place, ['sh', '-c', `${leave('setsid sleep 1000')}; echo no license >&2; exit 3`], {
      log: at('other.log'),
    });
    t.is(
      error.message,
      `sh did not start: the daemon exited before it was up: its last words were "no license"; ${perhaps} (see ${at('other.log')})`,
    );
    t.true(hasEnded(helperOf(place)));
  },
);

for (const [how, end, sentence] of [
  ['throws', `throw new Error('after the helper')`, /: Error: after the helper$/m],
  ['exits with 0', 'process.exit(0)', new RegExp(`exited with code 0 before it was up: ${inBackground}$`, 'm')],
] as const) {
  testOnLinux(`a helper in a session of its own is ended with a daemonize() that ${how}`, async (t) => {
    const place = bench(t);
    const { code, stderr } = await place.launch(`
      import { spawn } from 'node:child_process';
      daemonize(options, () => {
        const helper = spawn('sleep', ['1000'], { detached: true, stdio: 'ignore', env: { ...process.env, PLACE: at('') } });
        fs.writeFileSync(at('helper'), String(helper.pid));
        ${end};
      });
    `);
    t.is(code, 1);
    t.regex(stderr, sentence);
    t.true(hasEnded(helperOf(place)));
  });
}

testOnLinux('a start that was to wait for the execution only has succeeded, and nothing is touched', async (t) => {
  const place = bench(t);
  const { at, path, pidFile } = place;
  const program = `${leave('setsid sleep 1000')}; exit 0`;
  const { pid } = await spawnDaemon('sh', ['-c', program], { pidFile, cwd: at('.'), env: { PLACE: path } });
  await until('the program has ended', () => hasEnded(pid) && helperOf(place) > 0);
  t.like(await stopDaemon({ pidFile }).catch((error: unknown) => error), {
    code: 'ERR_PIDFILE_HELD',
    pid: helperOf(place),
  });
  t.false(hasEnded(helperOf(place)));
  await endHelper(helperOf(place));
});

testOnLinux('what a program leaves behind that ends by itself after its start is not touched', async (t) => {
  const place = bench(t);
  const { at, path, pidFile, write } = place;
  const program = `${leave('setsid sleep 1000 3>&- 4>&- 5>&- 6>&-')}; while [ ! -e go ]; do sleep 0.05; done`;
  const options = { pidFile, cwd: at('.'), env: { PLACE: path }, aliveFor: 100 };
  const { pid } = await spawnDaemon('sh', ['-c', program], options);
  write('', 'go');
  await until('the program has ended', () => hasEnded(pid));
  await failed({ ...place, pidFile: at('other.pid') }, ['sh', '-c', 'setsid sleep 1000 & exit 0']);
  t.is((await stopDaemon({ pidFile })).outcome, 'not-running');
  t.false(hasEnded(helperOf(place)));
  await endHelper(helperOf(place));
});

// setpriv(1) as a set-user-ID program: what it runs has another real uid than the daemon.
const noSetUid = noOtherUser ?? noLinux;
testUnless(noSetUid)('a process that has become another user is reported, and not signalled', async (t) => {
  const place = bench(t);
  const { at, path } = place;
  chmodSync(path, 0o777);
  copyFileSync('/usr/bin/setpriv', at('setpriv'));
  chmodSync(at('setpriv'), 0o4755);
  const becomes = `setsid ./setpriv --reuid=12345 --regid=12345 --clear-groups sleep 1000`;
  const waits = `until [ "$(stat -c %u /proc/$!)" = 12345 ]; do sleep 0.05; done; exit 0`;
  const { uid: user, gid: group } = nobody;
  const error = await failed(place, ['sh', '-c', `${leave(becomes)}; ${waits}`], { user, group, groups: [] });
  const left = '(1 process of another user that it started still runs)';
  t.is(error.message, `sh did not start: the daemon exited before it was up ${left}: ${perhaps}`);
  t.like(error, { othersEnded: undefined, othersLeft: 1 });
  t.false(hasEnded(helperOf(place)));
  await endHelper(helperOf(place));
});

const missing = (program: string) =>
  spawnSync('which', [program]).status === 0 ? noLinux : `${program} is not installed`;

const alive = ({ path }: Bench) =>
  processes()
    .filter((process) => process.mentions(path))
    .map(String);

testUnless(missing('nginx'))('nginx without "daemon off"', async (t) => {
  const place = bench(t);
  const { at } = place;
  const server = `server { listen unix:${at('nginx.sock')}; }`;
  writeFileSync(at('conf'), `pid ${at('nginx.pid')}; events {} http { access_log off; ${server} }`);
  await failed(place, ['nginx', '-c', at('conf'), '-e', at('error.log')]);
  t.deepEqual(alive(place), []);
});

testUnless(missing('redis-server'))('redis-server with "daemonize yes"', async (t) => {
  const place = bench(t);
  await failed(place, ['redis-server', '--daemonize', 'yes', '--port', '0', '--unixsocket', place.at('redis.sock')]);
  t.deepEqual(alive(place), []);
});
