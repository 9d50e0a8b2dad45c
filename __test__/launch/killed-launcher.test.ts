/** A launcher that is killed or stopped decides nothing: whether its daemon is up follows from the daemon and the clock. */
import { existsSync, writeFileSync } from 'node:fs';
import anyTest, { type ExecutionContext } from 'ava';
import { daemonStatus, isDaemonError, spawnDaemon, stopDaemon } from '../../dist/index.js';
import { bench } from '../helpers/bench.js';
import { testOnLinux } from '../helpers/privileges.js';
import { hasEnded, stat } from '../helpers/processes.js';
import { start } from '../helpers/run.js';
import { freePort } from '../helpers/requests.js';
import { until } from '../helpers/until.js';

const test = anyTest.serial;
const rounds = Number(process.env['DAEMONRY_TEST_ROUNDS'] ?? 10);
/** Long enough for a slow machine to see the daemon before it has passed. */
const aliveFor = 4000;

const programs = {
  // Starts a program that says nothing.
  'spawns.mjs': `
    import { spawnDaemon } from 'daemonry';
    const { pid } = await spawnDaemon('sleep', ['1000'], JSON.parse(process.argv[2]));
    console.log(pid);`,
  // Becomes a daemon; its main settles when the file is there.
  'becomes.mjs': `
    import { existsSync } from 'node:fs';
    import { setTimeout as sleep } from 'node:timers/promises';
    import { daemonize } from 'daemonry';
    const told = ({ pid }) => console.log(pid);
    daemonize({ onStarted: told, mode: 'daemon', ...JSON.parse(process.argv[2]) }, async () => {
      setInterval(() => {}, 1000);
      while (!existsSync(process.argv[3])) await sleep(10);
    });`,
};

/** A launcher of one of these programs, and its daemon. */
function launching(t: ExecutionContext, program: keyof typeof programs, options: object) {
  const folder = bench(t, programs);
  const { at, path } = folder;
  const pidFile = at('a.pid');
  const all = { pidFile, env: { PLACE: path }, ...options };
  const launch = (options: object) =>
    start(process.execPath, [at(program), JSON.stringify(options), at('settle')], { cwd: path });
  const launcher = launch(all);
  launcher.done.catch(() => {});
  t.teardown(() => launcher.child.kill('SIGKILL'));
  return {
    ...folder,
    ...launcher,
    pidFile,
    settle: () => writeFileSync(at('settle'), ''),
    /** The pid of the daemon, while it is starting. */
    starting: () =>
      until('it is starting', async () => {
        const found = await daemonStatus({ pidFile });
        return found.state === 'starting' ? found.pid : undefined;
      }),
    running: (pid: number) =>
      until('it is running', async () => {
        const found = await daemonStatus({ pidFile });
        return found.state === 'running' && found.pid === pid;
      }),
    stops: () => {
      launcher.child.kill('SIGSTOP');
      return until('the launcher is stopped', () => /^[Tt]/.test(stat(launcher.child.pid!)?.state ?? 'T'));
    },
    /** Whether another start of the program finds the daemon of this pid. */
    async reuses(pid: number) {
      const { code, stdout } = await launch({ ...all, ifRunning: 'reuse' }).done;
      return code === 0 && stdout === `${pid}\n` && !hasEnded(pid);
    },
    replaces: () => spawnDaemon('sleep', ['1000'], { pidFile, ifRunning: 'replace', env: { PLACE: path } }),
  };
}

/** `exec` by a launcher that knows no more than that, and `ready` by a daemon that says so. */
for (const program of ['spawns.mjs', 'becomes.mjs'] as const) {
  const options = { aliveFor, startTimeout: 20_000 };

  test(`${program}: once its launcher is killed, a daemon is up when aliveFor has passed, and can be reused and replaced`, async (t) => {
    const { child, done, starting, running, settle, reuses, replaces } = launching(t, program, options);
    settle();
    const pid = await starting();
    const begun = Date.now();
    child.kill('SIGKILL');
    t.is((await done).signal, 'SIGKILL');
    await running(pid);
    // It began before it was seen.
    t.true(Date.now() - begun < aliveFor + 10_000);
    t.true(await reuses(pid));
    const next = await replaces();
    t.is(next.outcome, 'replaced');
    t.not(next.pid, pid);
    t.true(hasEnded(pid));
  });

  test(`${program}: a caller that comes while aliveFor of a killed launcher passes waits, and reuses the daemon`, async (t) => {
    const { child, starting, settle, reuses } = launching(t, program, options);
    settle();
    const pid = await starting();
    child.kill('SIGKILL');
    t.true(await reuses(pid));
  });

  test(`${program}: a daemon whose launcher was killed while aliveFor passes can be replaced`, async (t) => {
    const { child, starting, settle, replaces } = launching(t, program, options);
    settle();
    const pid = await starting();
    child.kill('SIGKILL');
    const next = await replaces();
    t.is(next.outcome, 'replaced');
    t.true(hasEnded(pid));
  });

  testOnLinux(`${program}: while its launcher is stopped, a daemon is up when aliveFor has passed`, async (t) => {
    const { child, done, starting, running, settle, stops, reuses } = launching(t, program, options);
    settle();
    const pid = await starting();
    await stops();
    await running(pid);
    t.true(await reuses(pid));
    child.kill('SIGCONT');
    const { code, stdout } = await done;
    t.is(code, 0);
    t.is(stdout, `${pid}\n`);
    t.false(hasEnded(pid));
  });
}

testOnLinux('while its launcher is stopped, a daemon whose main settles is up at once', async (t) => {
  const { child, done, starting, running, settle, stops, reuses } = launching(t, 'becomes.mjs', {});
  const pid = await starting();
  await stops();
  settle();
  await running(pid);
  t.true(await reuses(pid));
  child.kill('SIGCONT');
  t.is((await done).code, 0);
});

test('once its launcher is killed, a daemon whose main settles later is up then', async (t) => {
  const { child, starting, running, settle, pidFile } = launching(t, 'becomes.mjs', {});
  const pid = await starting();
  child.kill('SIGKILL');
  t.like(await daemonStatus({ pidFile }), { state: 'starting', pid });
  settle();
  await running(pid);
  t.false(hasEnded(pid));
});

test(`a start right after SIGTERM finds the port free, however long the daemon takes to go, ${rounds} times`, async (t) => {
  t.timeout(rounds * 20_000);
  const { at, path } = bench(t, {
    // The kernel frees the memory before the sockets.
    'server.mjs': `
      import { createServer } from 'node:net';
      import { daemonize } from 'daemonry';
      daemonize({ listen: JSON.parse(process.argv[2]) }, async (daemon) => {
        globalThis.memory = Array.from({ length: 8 }, () => Buffer.alloc(64 * 2 ** 20, 1));
        const server = createServer((socket) => socket.end());
        await new Promise((resolve) => server.listen({ fd: daemon.listeners.http }, resolve));
      });`,
  });
  const pidFile = at('a.pid');
  const listen = { http: { port: await freePort(), host: '127.0.0.1' } };
  const server = [at('server.mjs'), JSON.stringify(listen)];
  const launch = () => spawnDaemon(process.execPath, server, { pidFile, listen, waitFor: 'ready', cwd: path });
  let again = 0;
  let { pid } = await launch();
  for (let round = 0; round < rounds; round++) {
    process.kill(pid, 'SIGTERM');
    const former = pid;
    while (pid === former) {
      try {
        ({ pid } = await launch());
      } catch (error) {
        // The signal has not reached it yet.
        if (!isDaemonError(error) || error.code !== 'ERR_ALREADY_RUNNING' || error.pid !== former) throw error;
        again += 1;
      }
    }
    t.true(hasEnded(former));
  }
  t.log(`${rounds} starts, ${again} of them called again`);
  await stopDaemon({ pidFile });
  t.false(existsSync(pidFile));
});
