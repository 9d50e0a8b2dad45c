/** Sockets bound before the daemon runs: by the launcher, by a service manager, or by the program in the foreground. */
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, lstatSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer, connect, type AddressInfo, type Server } from 'node:net';
import { once } from 'node:events';
import test, { type ExecutionContext } from 'ava';
import { daemonPaths, daemonStatus, spawnDaemon, stopDaemon } from '../../dist/index.js';
import { bench } from '../helpers/bench.js';
import { named } from '../helpers/named.js';
import { nobody, noOtherUser, testOnLinux, testUnless } from '../helpers/privileges.js';
import { descriptors, environmentOf, statusField } from '../helpers/processes.js';
import { run } from '../helpers/run.js';
import { until } from '../helpers/until.js';
import { workspace } from '../helpers/workspace.js';

const asRoot = testUnless(noOtherUser);

/** Serves its pid on every socket that it was given. */
const server = `
  import { createServer } from 'node:net';
  import { daemonize } from 'daemonry';
  import { tell } from './tell.cjs';
  const options = JSON.parse(process.argv[2]);
  const told = ({ listeners }) => console.log(JSON.stringify(listeners));
  daemonize({ pidFile: 'a.pid', onStarted: told, ...options }, async (daemon) => {
    const addresses = {};
    for (const [name, fd] of Object.entries(daemon.listeners)) {
      const one = createServer((socket) => socket.end(name + ' ' + process.pid));
      daemon.serve(one);
      await new Promise((resolve) => one.listen({ fd }, resolve));
      addresses[name] = one.address();
    }
    tell({ addresses, listeners: daemon.listeners, uid: process.getuid() });
  });
`;

/** What a server says. */
async function say(address: { port: number; host?: string } | { path: string }): Promise<string> {
  const socket = connect(address);
  let said = '';
  socket.setEncoding('utf8').on('data', (text: string) => (said += text));
  await once(socket, 'close');
  return said;
}

/** A port that is taken until the test ends. */
async function takenPort(t: ExecutionContext, host = '127.0.0.1'): Promise<{ port: number; blocker: Server }> {
  const blocker = createServer().listen(0, host);
  await once(blocker, 'listening');
  t.teardown(() => blocker.close());
  return { port: (blocker.address() as AddressInfo).port, blocker };
}

test('the daemon serves on ports and paths that its launcher has bound, and the launcher tells which', async (t) => {
  const app = bench(t, { 'app.mjs': server });
  const listen = {
    any: { port: 0 },
    four: { port: 0, host: '127.0.0.1' },
    six: { port: 0, host: '::1', ipv6Only: true },
    name: { port: 0, host: 'localhost', backlog: 3 },
    ctl: { path: 'ctl.sock' },
  };
  const { code, stdout, stderr } = await app.node(['app.mjs', JSON.stringify({ listen })]);
  t.is(code, 0, stderr);
  const endpoints = JSON.parse(stdout) as Record<string, { address: string; port: number; path: string }>;
  const { pid, addresses, listeners } = app.told()! as unknown as {
    pid: number;
    addresses: Record<string, { port: number }>;
    listeners: Record<string, number>;
  };
  t.deepEqual(listeners, { any: 3, four: 4, six: 5, name: 6, ctl: 7 });
  t.deepEqual(Object.keys(endpoints), Object.keys(listen));
  t.is(endpoints['four']!.address, '127.0.0.1');
  t.is(endpoints['six']!.address, '::1');
  t.deepEqual(endpoints['ctl'], { path: app.at('ctl.sock') } as never);
  for (const name of ['any', 'four', 'six', 'name']) t.is(endpoints[name]!.port, addresses[name]!.port);
  t.is(await say({ port: endpoints['any']!.port, host: '127.0.0.1' }), `any ${pid}`);
  t.is(await say({ port: endpoints['four']!.port, host: '127.0.0.1' }), `four ${pid}`);
  t.is(await say({ port: endpoints['six']!.port, host: '::1' }), `six ${pid}`);
  t.is(await say({ path: app.at('ctl.sock') }), `ctl ${pid}`);
  t.is(app.told()!.env['LISTEN_FDS'], undefined);

  await stopDaemon({ pidFile: app.at('a.pid') });
  t.false(existsSync(app.at('ctl.sock')), 'its socket stays behind');
});

testOnLinux('no variable about the sockets is left for what the daemon starts, nor are the sockets', async (t) => {
  const app = bench(t, {
    'app.mjs': `
      import { spawnSync } from 'node:child_process';
      import { daemonize } from 'daemonry';
      import { tell } from './tell.cjs';
      daemonize({ pidFile: 'a.pid', listen: { http: { port: 0 } } }, (daemon) => {
        const script = 'env | grep ^LISTEN_; ls -l /proc/self/fd | grep -c socket';
        tell({ inChild: spawnSync('sh', ['-c', script], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).stdout });
        setInterval(() => {}, 60_000);
      });
    `,
  });
  const { code, stderr } = await app.node(['app.mjs']);
  t.is(code, 0, stderr);
  t.is(app.told()!['inChild'], '0\n');
});

test('an address that cannot be had is a typed error that names it, and nothing is left', async (t) => {
  const app = bench(t, { 'app.mjs': server });
  const { port } = await takenPort(t);
  writeFileSync(app.at('file'), 'no socket');
  const alive = createServer().listen(app.at('alive.sock'));
  await once(alive, 'listening');
  t.teardown(() => alive.close());
  const cases = [
    [{ port, host: '127.0.0.1' }, `127.0.0.1:${port}: Address already in use (EADDRINUSE)`],
    [
      { port: 0, host: '192.0.2.1' },
      '192.0.2.1:0: it is not an address of this machine, or its name cannot be resolved (EADDRNOTAVAIL)',
    ],
    [
      { port: 0, host: 'no.such.host.invalid' },
      'no.such.host.invalid:0: it is not an address of this machine, or its name cannot be resolved (EADDRNOTAVAIL)',
    ],
    [
      { path: 'alive.sock' },
      `${app.at('alive.sock')}: another process listens there, or it is not a socket (EADDRINUSE)`,
    ],
    [{ path: 'file' }, `${app.at('file')}: another process listens there, or it is not a socket (EADDRINUSE)`],
    [{ path: 'missing/ctl.sock' }, `${app.at('missing/ctl.sock')}: No such file or directory (ENOENT)`],
  ] as const;
  for (const [address, message] of cases) {
    // The first is bound, and goes again.
    const listen = { first: { path: 'first.sock' }, second: address };
    const { code, stderr } = await app.node(['app.mjs', JSON.stringify({ listen })]);
    t.is(code, 1);
    t.is(stderr, `app.mjs did not start: cannot listen on ${message}\n`);
    t.false(existsSync(app.at('a.pid')));
    t.false(existsSync(app.at('first.sock')));
  }
  t.is(readFileSync(app.at('file'), 'utf8'), 'no socket');
  const error = await t.throwsAsync(spawnDaemon('sleep', ['60'], { listen: { http: { port, host: '127.0.0.1' } } }));
  t.like(error, { code: 'EADDRINUSE', step: 'listen', syscall: 'bind', address: '127.0.0.1', port });
});

test('a running daemon is told before its port is found taken', async (t) => {
  const app = bench(t, { 'app.mjs': server });
  const listen = { http: { port: await takenPort(t).then(({ port, blocker }) => (blocker.close(), port)) } };
  t.is((await app.node(['app.mjs', JSON.stringify({ listen })])).code, 0);
  const { code, stderr } = await app.node(['app.mjs', JSON.stringify({ listen })]);
  t.is(code, 1);
  t.regex(stderr, /already running with pid \d+/);
});

test('a socket that a killed daemon has left is replaced; its mode is exact, whatever the umask', async (t) => {
  const app = bench(t, { 'app.mjs': server });
  const options = JSON.stringify({ listen: { ctl: { path: 'ctl.sock', mode: 0o666 } }, umask: 0o077 });
  t.is((await app.node(['app.mjs', options])).code, 0);
  const { pid } = app.told()!;
  process.kill(pid, 'SIGKILL');
  await until('it has ended', async () => (await daemonStatus({ pidFile: app.at('a.pid') })).state === 'dead');
  t.true(existsSync(app.at('ctl.sock')));
  const { code, stderr } = await run('sh', ['-c', `umask 077; exec "$0" app.mjs '${options}'`, process.execPath], {
    cwd: app.path,
  });
  t.is(code, 0, stderr);
  t.is(statSync(app.at('ctl.sock')).mode & 0o7777, 0o666);
  t.regex(await say({ path: app.at('ctl.sock') }), /^ctl \d+$/);
});

test('a failed start takes its socket with it', async (t) => {
  const app = bench(t, {
    'app.mjs': `
      import { daemonize } from 'daemonry';
      daemonize({ pidFile: 'a.pid', listen: { ctl: { path: 'ctl.sock' } } }, () => process.abort());
    `,
  });
  t.is((await app.node(['app.mjs'])).code, 1);
  t.false(existsSync(app.at('ctl.sock')));
  t.false(existsSync(app.at('a.pid')));
});

testOnLinux('any other program gets them as from systemd', async (t) => {
  const { at } = workspace(t);
  t.teardown(() => stopDaemon({ pidFile: at('a.pid') }));
  const listen = { http: { port: 0, host: '127.0.0.1' }, 'c.t-l': { path: at('ctl.sock') } };
  const { pid, listeners } = await spawnDaemon('sleep', ['60'], { pidFile: at('a.pid'), listen });
  const variables = environmentOf(pid)!.filter((variable) => variable.startsWith('LISTEN_'));
  t.deepEqual(variables.toSorted(), ['LISTEN_FDNAMES=http:c.t-l', 'LISTEN_FDS=2', `LISTEN_PID=${pid}`]);
  t.regex(descriptors(pid).get(3)!, /^socket:/);
  t.regex(descriptors(pid).get(4)!, /^socket:/);
  t.is((listeners as Record<string, { path?: string }>)['c.t-l']?.path, at('ctl.sock'));
  // The backlog takes it.
  const waiting = connect((listeners as unknown as { http: { port: number } }).http.port, '127.0.0.1');
  await once(waiting, 'connect');
  waiting.destroy();
});

test('a Node program that spawnDaemon starts with sockets finds them, and binds what it asks for besides', async (t) => {
  const app = bench(t, { 'app.mjs': server });
  const listen = { http: { port: 0, host: '127.0.0.1' } };
  const asked = { listen: { own: { path: app.at('own.sock') }, http: { port: 1 } } };
  const { pid, listeners } = await spawnDaemon(process.execPath, [app.at('app.mjs'), JSON.stringify(asked)], {
    pidFile: app.at('a.pid'),
    cwd: app.path,
    waitFor: 'ready',
    listen,
  });
  t.is(
    await say({ port: (listeners as unknown as { http: { port: number } }).http.port, host: '127.0.0.1' }),
    `http ${pid}`,
  );
  t.is(await say({ path: app.at('own.sock') }), `own ${pid}`);
});

/** Hands listening sockets to a program as systemd does: `LISTEN_PID` is the process itself. */
function activated(
  app: { path: string },
  names: string | undefined,
  sockets: readonly Server[],
  options: object,
  env: Record<string, string>,
) {
  const named = names === undefined ? '' : `export LISTEN_FDNAMES='${names}';`;
  const script = `export LISTEN_PID=$$ LISTEN_FDS=${sockets.length}; ${named} exec "$0" app.mjs "$1"`;
  // eslint-disable-next-line no-underscore-dangle -- nothing public tells the descriptor
  const handles = sockets.map((socket) => (socket as unknown as { _handle: { fd: number } })._handle.fd);
  const child = spawn('sh', ['-c', script, process.execPath, JSON.stringify(options)], {
    cwd: app.path,
    stdio: ['ignore', 'pipe', 'pipe', ...handles],
    env: { ...process.env, ...env },
  });
  let stderr = '';
  child.stderr!.on('data', (text: Buffer) => (stderr += text.toString()));
  return { child, done: once(child, 'close').then(([code]) => ({ code: code as number, stderr })) };
}

for (const [title, names] of [
  ['of that name', 'other:http'],
  ['of a unit of that name', 'other.socket:http.socket'],
] as const) {
  test(`a socket ${title} that systemd has bound is taken through the launcher into the daemon`, async (t) => {
    const app = bench(t, { 'app.mjs': server });
    const [other, http] = [await takenPort(t), await takenPort(t)];
    const options = { listen: { http: { port: http.port, host: '127.0.0.1' } } };
    const { code, stderr } = await activated(app, names, [other.blocker, http.blocker], options, {}).done;
    t.is(code, 0, stderr);
    http.blocker.close();
    t.is(await say({ port: http.port, host: '127.0.0.1' }), `http ${app.told()!.pid}`);
  });
}

test('the only socket of systemd is taken whatever its name, in the foreground, too, and keeps its file', async (t) => {
  const app = bench(t, { 'app.mjs': server });
  const ctl = createServer().listen(app.at('ctl.sock'));
  await once(ctl, 'listening');
  const options = { listen: { ctl: { path: app.at('ctl.sock') } } };
  const { child, done } = activated(app, 'unit', [ctl], options, { DAEMONRY_MODE: 'foreground' });
  t.teardown(() => child.kill('SIGKILL'));
  await until('it serves', () => app.told() !== undefined);
  t.is(app.told()!.pid as number | undefined, child.pid);
  t.is(app.told()!.env['LISTEN_PID'], undefined);
  child.kill('SIGTERM');
  t.is((await done).code, 0);
  t.true(lstatSync(app.at('ctl.sock')).isSocket(), 'a service manager listens on it');
  ctl.close();
});

test('in the foreground a program binds its sockets itself, and tells why it cannot', async (t) => {
  const app = bench(t, { 'app.mjs': server });
  const { port } = await takenPort(t);
  const foreground = { env: { ...process.env, DAEMONRY_MODE: 'foreground' } };
  const taken = await app.node(
    ['app.mjs', JSON.stringify({ listen: { http: { port, host: '127.0.0.1' } } })],
    foreground,
  );
  t.is(taken.code, 1);
  t.is(taken.stderr, `app.mjs: cannot listen on 127.0.0.1:${port}: Address already in use (EADDRINUSE)\n`);
  t.false(existsSync(app.at('a.pid')), 'the pidfile is left');
  const child = spawn(process.execPath, ['app.mjs', JSON.stringify({ listen: { ctl: { path: 'ctl.sock' } } })], {
    cwd: app.path,
    stdio: 'ignore',
    ...foreground,
  });
  t.teardown(() => child.kill('SIGKILL'));
  await until('it serves', () => app.told() !== undefined);
  t.is(await say({ path: app.at('ctl.sock') }), `ctl ${child.pid}`);
  child.kill('SIGTERM');
  await once(child, 'close');
  t.false(existsSync(app.at('ctl.sock')));
});

for (const mode of ['daemon', 'foreground']) {
  test(`the workers of a cluster serve on the sockets of their primary, which is a ${mode}`, async (t) => {
    const app = bench(t, {
      'app.mjs': `
        import cluster from 'node:cluster';
        import { once } from 'node:events';
        import { createServer } from 'node:net';
        import { daemonize } from 'daemonry';
        import { tell } from './tell.cjs';
        daemonize({ pidFile: 'a.pid', cwd: '.', listen: { http: { port: 0, host: '127.0.0.1' } } }, async (daemon) => {
          if (cluster.isPrimary) {
            const workers = [cluster.fork(), cluster.fork()];
            const [[{ port }]] = await Promise.all(workers.map((worker) => once(worker, 'listening')));
            tell({ port, workers: workers.map(({ process }) => process.pid) });
            daemon.onStop(() => workers.forEach((worker) => worker.kill('SIGKILL')));
          } else {
            createServer((socket) => socket.end(String(process.pid))).listen({ fd: daemon.listeners.http });
          }
        });
      `,
    });
    const child = spawn(process.execPath, ['app.mjs'], {
      cwd: app.path,
      stdio: 'ignore',
      env: { ...process.env, DAEMONRY_MODE: mode },
    });
    t.teardown(() => child.kill('SIGKILL'));
    await until('its workers listen', () => app.told() !== undefined);
    const { port, workers, pid } = app.told()! as unknown as { port: number; workers: number[]; pid: number };
    const answers = await Promise.all(Array.from({ length: 10 }, () => say({ port, host: '127.0.0.1' })));
    t.true(
      answers.every((answer) => workers.includes(Number(answer))),
      answers.join(),
    );
    t.like(await daemonStatus({ pidFile: app.at('a.pid') }), { pid });
    t.is((await stopDaemon({ pidFile: app.at('a.pid') })).outcome, 'stopped');
  });
}

test("sockets that were handed to another process are not this one's", async (t) => {
  const app = bench(t, { 'app.mjs': server });
  const env = { ...process.env, LISTEN_PID: '1', LISTEN_FDS: '1', LISTEN_FDNAMES: 'http' };
  const { code, stdout, stderr } = await app.node(['app.mjs', JSON.stringify({ listen: { http: { port: 0 } } })], {
    env,
  });
  t.is(code, 0, stderr);
  t.true((JSON.parse(stdout) as { http: { port: number } }).http.port > 0);
});

asRoot('a low port is bound as root and served as another user, whose the socket file is', async (t) => {
  const name = named(t);
  const app = bench(t, { 'app.mjs': server.replace("pidFile: 'a.pid', ", '') });
  chmodSync(app.path, 0o777);
  const { socket } = daemonPaths(name);
  // One that is hardly in use.
  const listen = { http: { port: 873, host: '127.0.0.1' }, ctl: { path: socket } };
  const { code, stderr } = await app.node(['app.mjs', JSON.stringify({ name, user: 'nobody', listen })]);
  t.is(code, 0, stderr);
  const { pid, uid } = app.told()! as unknown as { pid: number; uid: number };
  t.is(uid, nobody.uid);
  t.is(statusField(pid, 'Uid')?.split('\t')[1], `${nobody.uid}`);
  t.is(await say({ port: 873, host: '127.0.0.1' }), `http ${pid}`);
  t.like(statSync(socket), { uid: nobody.uid, gid: nobody.gid });
  t.is(statSync(socket).mode & 0o7777, 0o660);
  t.is((await daemonStatus(name)).record?.socket, socket);
  await stopDaemon(name);
  t.false(existsSync(socket));
});

asRoot('a low port without the privilege says what it takes', async (t) => {
  const { at, path, launch } = bench(t);
  chmodSync(path, 0o777);
  const script = `
    await spawnDaemon('sleep', ['60'], { pidFile: '${at('a.pid')}', listen: { http: { port: 80 } } }).catch((error) => {
      console.log(error.code, error.step, error.port, error.message);
    });
  `;
  const low = Number(readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8')) > 80;
  const { stdout, stderr } = await launch(script, { ...nobody, cwd: '/' });
  if (!low) return t.log('skipped: this machine lets everybody listen on port 80') as never;
  t.is(
    stdout,
    'EACCES listen 80 sleep did not start: cannot listen on port 80: a port this low requires root (EACCES)\n',
    stderr,
  );
  t.false(existsSync(at('a.pid')));
});
