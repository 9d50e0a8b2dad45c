/** What a daemon may use, and what it does not inherit: limits, niceness, OOM score, privileges to come, environment, signals. */
import { readFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { spawnDaemon, stopDaemon } from '../../dist/index.js';
import { service } from '../fixtures/service.js';
import { bench } from '../helpers/bench.js';
import { binding } from '../helpers/binding.js';
import { noOtherUser, testOnLinux, testUnless } from '../helpers/privileges.js';
import { descriptors, environmentOf, hasEnded, statField, statusField } from '../helpers/processes.js';
import { until } from '../helpers/until.js';
import { workspace } from '../helpers/workspace.js';

const asRoot = testUnless(noOtherUser);

/** `[soft, hard]` of a row of `/proc/PID/limits`. */
function limitOf(pid: number, row: string): string[] {
  const line = readFileSync(`/proc/${pid}/limits`, 'utf8')
    .split('\n')
    .find((line) => line.startsWith(row));
  return line?.slice(row.length).trim().split(/\s+/).slice(0, 2) ?? [];
}

const niceness = (pid: number) => statField(pid, 19);

/** A plain program as a daemon, stopped in the end. */
async function sleeper(t: ExecutionContext, options: Parameters<typeof spawnDaemon>[2]) {
  const { at } = workspace(t);
  t.teardown(() => stopDaemon({ pidFile: at('a.pid') }));
  const { pid } = await spawnDaemon('sleep', ['60'], { pidFile: at('a.pid'), ...options });
  return pid;
}

/** What each resource is called in `/proc/PID/limits`. */
const rows: Readonly<Record<string, string>> = {
  as: 'Max address space',
  core: 'Max core file size',
  cpu: 'Max cpu time',
  data: 'Max data size',
  fsize: 'Max file size',
  locks: 'Max file locks',
  memlock: 'Max locked memory',
  msgqueue: 'Max msgqueue size',
  nice: 'Max nice priority',
  nofile: 'Max open files',
  nproc: 'Max processes',
  rss: 'Max resident set',
  rtprio: 'Max realtime priority',
  rttime: 'Max realtime timeout',
  sigpending: 'Max pending signals',
  stack: 'Max stack size',
};

testOnLinux('every resource of the platform can be limited', async (t) => {
  t.deepEqual(binding.resources().toSorted(), Object.keys(rows).toSorted());
  // Each another value, and below what this machine allows.
  const limits = Object.fromEntries(
    Object.entries(rows).map(([name, row], index) => {
      const most = limitOf(process.pid, row)[1];
      const wanted = ['nice', 'rtprio'].includes(name) ? 0 : 2 ** 30 + index * 4096;
      return [name, most === 'unlimited' ? wanted : Math.min(wanted, Number(most) - index)];
    }),
  );
  const pid = await sleeper(t, { limits: { ...limits, nice: 0, rtprio: 0 } });
  for (const [name, limit] of Object.entries({ ...limits, nice: 0, rtprio: 0 })) {
    t.deepEqual(limitOf(pid, rows[name]!), [`${limit}`, `${limit}`], name);
  }
});

testOnLinux('the soft and the hard limit, each by itself', async (t) => {
  const pid = await sleeper(t, {
    limits: { nofile: { soft: 100 }, core: { soft: 0, hard: 4096 }, stack: { hard: 2 ** 20 } },
  });
  t.is(limitOf(pid, rows['nofile']!)[0], '100');
  t.not(limitOf(pid, rows['nofile']!)[1], '100');
  t.deepEqual(limitOf(pid, rows['core']!), ['0', '4096']);
  // A soft limit that was higher comes down with the hard one.
  t.deepEqual(limitOf(pid, rows['stack']!), [`${2 ** 20}`, `${2 ** 20}`]);
});

test('a limit that cannot be set is told with the resource', async (t) => {
  const error = await t.throwsAsync(sleeper(t, { limits: { nofile: 2 ** 40 } }));
  t.like(error, { code: 'EPERM', step: 'set-limit', syscall: 'setrlimit', resource: 'nofile' });
  t.regex(error!.message, /cannot set the limit of nofile to 1099511627776/);
  const above = await t.throwsAsync(sleeper(t, { limits: { nofile: { soft: 2 ** 40 } } }));
  t.like(above, { code: 'ERR_INVALID_OPTION' });
  t.regex(
    above!.message,
    /the soft limit of nofile \(1099511627776\) is above the hard one \(\d+\): give both to raise it/,
  );
});

test('a file size limit of nothing does not keep the start from writing its pidfile', async (t) => {
  const pid = await sleeper(t, { limits: { fsize: 0 } });
  t.false(hasEnded(pid));
});

testOnLinux('niceness, OOM score and the flag against new privileges', async (t) => {
  const pid = await sleeper(t, { nice: 7, oomScoreAdjust: 500, noNewPrivileges: true });
  t.is(niceness(pid), 7);
  t.is(readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8'), '500\n');
  t.is(statusField(pid, 'NoNewPrivs'), '1');
  t.not(niceness(process.pid), 7);
  t.not(readFileSync('/proc/self/oom_score_adj', 'utf8'), '500\n', 'it is of this process, too');
});

asRoot('what only root may do is done before its rights are given up', async (t) => {
  const pid = await sleeper(t, { user: 'nobody', nice: -5 });
  t.is(niceness(pid), -5);
  t.is(statusField(pid, 'Uid')?.split('\t')[0], '65534');
});

test('variables that mean another process do not come through, unless they are given', async (t) => {
  const app = bench(t, {
    'app.mjs': `
      import { daemonize } from 'daemonry';
      import { tell } from './tell.cjs';
      daemonize({ pidFile: 'a.pid', env: { WATCHDOG_USEC: '7' } }, () => {
        tell();
        setInterval(() => {}, 60_000);
      });
    `,
  });
  const foreign = {
    NOTIFY_SOCKET: '@no/such/socket',
    LISTEN_PID: '1',
    LISTEN_FDS: '1',
    LISTEN_FDNAMES: 'http',
    NODE_CHANNEL_SERIALIZATION_MODE: 'json',
    NODE_UNIQUE_ID: '3',
    WATCHDOG_USEC: '1000',
    WATCHDOG_PID: '1',
    INVOCATION_ID: 'x',
    JOURNAL_STREAM: '8:1',
    MAINPID: '1',
    PIDFILE: '/run/other.pid',
    OLDPWD: '/elsewhere',
    _: '/usr/bin/node',
    KEPT: 'kept',
  };
  const { code, stderr } = await app.node(['app.mjs'], { env: { ...process.env, ...foreign } });
  t.is(code, 0, stderr);
  const { env } = app.told()!;
  for (const name of Object.keys(foreign)) {
    t.is(env[name], { KEPT: 'kept', WATCHDOG_USEC: '7' }[name], name);
  }
  t.is(env['PWD'], undefined);
});

testOnLinux('signals that the shell ignores are back to their default in the daemon', async (t) => {
  const { at, launch } = bench(t);
  const program = `
    console.log((await spawnDaemon('sleep', ['60'], { pidFile: '${at('a.pid')}' })).pid);
  `;
  const ignoring = `trap '' HUP INT QUIT PIPE TERM USR1 TSTP; exec "$0" "$1"`;
  const { stdout, stderr } = await launch(program, { via: ['sh', '-c', ignoring] });
  const pid = Number(stdout);
  t.true(pid > 0, stderr);
  t.is(statusField(pid, 'SigIgn'), '0000000000000000');
  t.is(statusField(pid, 'SigBlk'), '0000000000000000');
});

testOnLinux(
  "a shell's descriptor 200 is not in the daemon, and the lock on it is free when the shell has gone",
  async (t) => {
    const app = bench(t);
    const via = ['bash', '-c', 'exec 200>lock; flock 200; "$0" "$1"'];
    const pid = await app.daemon(service({ pidFile: app.at('a.pid') }, 'run'), { via, cwd: app.path });
    t.false(hasEnded(pid));
    t.false([...descriptors(pid).values()].includes(app.at('lock')));
    t.is((await app.shell('flock --nonblock lock true')).code, 0, 'somebody still holds the lock');
  },
);

testOnLinux('an inspector stays with the launcher', async (t) => {
  const { at, daemon } = bench(t);
  const pid = await daemon(service({ pidFile: at('a.pid') }, 'run'), {
    env: { ...process.env, NODE_OPTIONS: '--inspect=0 --no-warnings' },
  });
  const environment = environmentOf(pid)!;
  t.deepEqual(
    environment.filter((variable) => variable.startsWith('NODE_OPTIONS=')).map((variable) => variable.trim()),
    ['NODE_OPTIONS= --no-warnings'].map((variable) => variable.trim()),
  );
  await until('it runs', () => !hasEnded(pid));
});
