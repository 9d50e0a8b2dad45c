/** Daemons whose files are removed, or taken by others, while they run. */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { Agent, get, type IncomingMessage } from 'node:http';
import { connect, createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import test, { type ExecutionContext } from 'ava';
import { connectDaemon, daemonPaths, daemonStatus, spawnDaemon, stopDaemon } from '../../dist/index.js';
import { bench, type Bench } from '../helpers/bench.js';
import { daemonry, main } from '../helpers/command.js';
import { locksOn, read } from '../helpers/files.js';
import { eventsOf, journalOf, named, recordOf, removePlaces } from '../helpers/named.js';
import { isRoot, nobody, noLinux, noOtherUser, testUnless } from '../helpers/privileges.js';
import { environmentOf, hasEnded } from '../helpers/processes.js';
import { removeState } from '../helpers/state.js';
import { pidOf } from '../helpers/status.js';
import { until } from '../helpers/until.js';

const asRoot = testUnless(noOtherUser);
/** A server on the socket of its name, which answers each connection with its pid. */
const serving = (name: string, options = '') => `
  import { createServer } from 'node:net';
  daemonize({ name: '${name}', log: at('log'), ${options} }, async (daemon) => {
    const server = createServer((connection) => connection.on('error', () => {}).end(String(process.pid)));
    note(await daemon.listen(server));
  });
`;

/** Starts a named daemon; returns its pid and its places. */
async function started(t: ExecutionContext, tools: Bench, program = serving, options = '') {
  const name = named(t);
  const { code, stderr } = await tools.launch(program(name, options));
  t.is(code, 0, stderr);
  const found = await daemonStatus(name);
  if (found.state !== 'running') throw new Error(`it is ${found.state}`);
  return { name, pid: found.pid, ...daemonPaths(name) };
}

async function answerAt(socket: string): Promise<string> {
  return text(connect(socket));
}

/** How often something stands in the log. */
function timesIn(log: string, line: string): number {
  return read(log)
    .split('\n')
    .filter((found) => found.includes(line)).length;
}

test('a daemon whose directory was removed makes it again, with pidfile and socket, and everybody finds it', async (t) => {
  const tools = bench(t);
  const { name, pid, pidFile, socket } = await started(t, tools);
  t.deepEqual(tools.notes(), [socket]);
  const directory = dirname(pidFile);
  const before = [directory, pidFile, socket].map((path) => lstatSync(path)).map(({ mode, uid }) => ({ mode, uid }));
  t.is(before[2]!.mode & 0o777, 0o600);
  rmSync(directory, { recursive: true });

  // Nobody has to wait for the files to be told that it runs.
  t.like(await daemonStatus(name), { state: 'running', pid });
  const second = await tools.launch(serving(name));
  t.is(second.code, 1);
  t.regex(second.stderr, new RegExp(`is already running with pid ${pid} `));
  const connection = await connectDaemon(process.execPath, [tools.at('program.mjs')], { name });
  t.is(await text(connection), `${pid}`);

  await until('the pidfile is there', () => read(pidFile) === `${pid}\n`);
  const after = [directory, pidFile, socket].map((path) => lstatSync(path)).map(({ mode, uid }) => ({ mode, uid }));
  t.deepEqual(after, before);
  await until(
    'what it says about itself is there',
    async () => (await daemonStatus(name)).record?.socket === socket || !isRoot,
  );
  if (noLinux === undefined) {
    await until('both locks are taken', () => new Set(locksOn(pidFile).map((lock) => lock.kind)).size === 2);
  }
  if (noOtherUser === undefined) {
    const { stdout } = spawnSync(process.execPath, [main, 'status', name], { ...nobody, cwd: '/', encoding: 'utf8' });
    t.regex(stdout, new RegExp(`is running with pid ${pid} `));
  }
  t.is(timesIn(tools.at('log'), `the pidfile ${pidFile} was missing and has been made again`), 1);
  t.like(await stopDaemon(name), { outcome: 'stopped', pid });
  t.false(existsSync(pidFile));
  t.false(existsSync(socket));
});

test('a server whose socket alone was removed can be reached again, twice, and finishes all connections when it stops', async (t) => {
  const tools = bench(t);
  const talking = (name: string) => `
    import { createServer } from 'node:net';
    daemonize({ name: '${name}', log: at('log') }, async (daemon) => {
      const server = createServer({ allowHalfOpen: true }, (connection) => {
        connection.on('error', () => {}).write('hello ');
        connection.resume().on('end', () => connection.end('and goodbye'));
      });
      await daemon.listen(server);
    });
  `;
  const { name, socket } = await started(t, tools, talking);
  const open = [connect(socket)];
  await once(open[0]!, 'connect');
  for (const _ of [1, 2]) {
    rmSync(socket);
    open.push(await connectDaemon(process.execPath, [tools.at('program.mjs')], { name }));
  }
  const stopping = stopDaemon(name);
  await until('the socket is gone', () => !existsSync(socket));
  // The server's own connection first: the others have come another way.
  for (const connection of open) {
    connection.end();
    t.is(await text(connection), 'hello and goodbye');
  }
  t.like(await stopping, { outcome: 'stopped' });
});

test('an HTTP server whose socket was removed answers on the new one, and loses no request when it stops', async (t) => {
  const tools = bench(t);
  const web = (name: string) => `
    import { createServer } from 'node:http';
    daemonize({ name: '${name}', log: at('log') }, async (daemon) => {
      const server = createServer((request, response) => response.end('answered'));
      server.keepAliveTimeout = 0;
      await daemon.listen(server);
    });
  `;
  const { name, socket } = await started(t, tools, web);
  rmSync(socket);
  await until('the socket is there', () => existsSync(socket));
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const ask = async () => {
    const request = get({ socketPath: socket, agent });
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    return [request.reusedSocket, await text(response), response.headers.connection];
  };
  t.deepEqual(await ask(), [false, 'answered', 'keep-alive']);
  // One that has never asked for anything.
  const unused = connect(socket);
  await once(unused, 'connect');
  const ended = once(unused.resume(), 'end');
  const stopping = stopDaemon(name);
  await until('the socket is gone', () => !existsSync(socket));
  t.deepEqual(await ask(), [true, 'answered', 'close']);
  const outcome = await stopping;
  t.is(outcome.outcome, 'stopped');
  t.is('handlers' in outcome ? outcome.handlers : undefined, undefined);
  await ended;
});

test('a socket of the option "listen" on which a server listens is made again, with its mode', async (t) => {
  const { daemon, at, pidFile } = bench(t);
  await daemon(`
    import { createServer } from 'node:net';
    daemonize({ ...options, log: at('log'), listen: { ctl: { path: at('socket'), mode: 0o640 } } }, async (daemon) => {
      const server = createServer((connection) => connection.end('here'));
      daemon.serve(server);
      await once(server.listen({ fd: daemon.listeners.ctl }), 'listening');
    });
  `);
  rmSync(at('socket'));
  await until('the socket is there', () => existsSync(at('socket')));
  t.is(lstatSync(at('socket')).mode & 0o777, 0o640);
  t.is(await answerAt(at('socket')), 'here');
  t.like(await stopDaemon({ pidFile }), { outcome: 'stopped' });
  t.false(existsSync(at('socket')));
});

test('a pidfile that was named by its path is made again with its mode and its locks, but its directory is not', async (t) => {
  const tools = bench(t);
  const { at, write } = tools;
  mkdirSync(at('run'));
  const pidFile = at('run', 'a.pid');
  write(`daemonize({ pidFile: at('run/a.pid'), log: at('log') }, forever);`);
  const { code, stderr } = await tools.launch(readFileSync(at('program.mjs'), 'utf8').split('\n').at(-1)!);
  t.is(code, 0, stderr);
  t.teardown(() => stopDaemon({ pidFile }));
  const { mode } = statSync(pidFile);
  const found = await daemonStatus({ pidFile });
  const pid = found.state === 'running' ? found.pid : 0;
  rmSync(pidFile);
  await until('the pidfile is there', () => read(pidFile) === `${pid}\n`);
  t.is(statSync(pidFile).mode, mode);

  rmSync(at('run'), { recursive: true });
  await until(
    'the log says so',
    () => timesIn(at('log'), `the pidfile ${pidFile} is lost: cannot open the pidfile's directory ${at('run')}`) > 0,
  );
  t.false(existsSync(at('run')));
  t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
  mkdirSync(at('run'));
  await until('the pidfile is there again', () => read(pidFile) === `${pid}\n`);
  t.is(timesIn(at('log'), 'is lost'), 1);
  t.like(await stopDaemon({ pidFile }), { outcome: 'stopped', pid });
  t.false(existsSync(pidFile));
});

test('a pidfile whose path leads elsewhere since a link was flipped is no other daemon’s', async (t) => {
  const tools = bench(t);
  const { at } = tools;
  for (const release of ['one', 'two']) mkdirSync(at(release));
  const flip = (release: string) => {
    spawnSync('ln', ['-sfn', release, at('current')]);
  };
  const program = `daemonize({ pidFile: at('current/a.pid'), log: at('log') }, forever);`;
  flip('one');
  t.is((await tools.launch(program)).code, 0);
  flip('two');
  t.is((await tools.launch(program)).code, 0);
  const [one, two] = ['one', 'two'].map((release) => at(release, 'a.pid'));
  t.teardown(() => Promise.all([stopDaemon({ pidFile: one! }), stopDaemon({ pidFile: two! })]));
  const pids = [read(one!), read(two!)];
  t.not(pids[0], pids[1]);
  rmSync(one!);
  await until('the pidfile is there', () => existsSync(one!));
  t.deepEqual([read(one!), read(two!)], pids);
});

test('what others have put into the places is left alone, told once in the log, and left alone at the end', async (t) => {
  const tools = bench(t);
  const { name, pid, pidFile, socket } = await started(t, tools);
  const log = tools.at('log');
  // Renamed into the places, so that there is no moment in which they are free.
  const other = createServer((connection) => connection.end('another server'));
  await once(other.listen(`${socket}2`), 'listening');
  t.teardown(() => other.close());
  renameSync(`${socket}2`, socket);
  writeFileSync(`${pidFile}2`, 'my notes\n');
  renameSync(`${pidFile}2`, pidFile);
  await until(
    'the log names the pidfile',
    () => timesIn(log, `the pidfile ${pidFile} is lost: another file is in its place`) > 0,
  );
  await until(
    'the log names the socket',
    () => timesIn(log, `the socket ${socket} is lost: cannot listen on ${socket}`) > 0,
  );
  // Two more checks at least: the pidfile comes first.
  for (const turn of [1, 2]) {
    rmSync(pidFile);
    await until(`round ${turn}: the pidfile is there`, () => read(pidFile) === `${pid}\n`);
  }
  t.is(timesIn(log, `the socket ${socket} is lost`), 1);
  writeFileSync(`${pidFile}2`, 'my notes\n');
  renameSync(`${pidFile}2`, pidFile);
  t.is(await answerAt(socket), 'another server');
  t.like(await stopDaemon(name), { outcome: 'stopped', pid });
  t.is(read(pidFile), 'my notes\n');
  t.is(await answerAt(socket), 'another server');
});

test('a daemon whose record, journal and log were removed makes them again, and can be restarted at once', async (t) => {
  const tools = bench(t);
  const name = named(t);
  const { code, stderr } = await tools.launch(`daemonize({ name: '${name}' }, () => {
    forever();
    setInterval(() => console.log('tick'), 50);
  });`);
  t.is(code, 0, stderr);
  const { logFile } = daemonPaths(name);
  const [record, journal] = [recordOf(name), journalOf(name)];
  const before = read(record);
  const pid = await pidOf(name);
  for (const file of [record, journal]) rmSync(file);
  rmSync(dirname(logFile), { recursive: true });

  // Nobody has to wait for the record to be told what runs.
  t.is((await daemonStatus(name)).record?.program, process.execPath);
  await until('the record is there', () => read(record) === before);
  for (const file of [record, journal]) await until(`${file} is there`, () => existsSync(file));
  t.is(statSync(record).mode & 0o7777, 0o600);
  await until('the log goes on', () => read(logFile).includes('tick'));
  const events = await eventsOf(name);
  t.like(events[0], { event: 'start', unseen: true });
  t.like(events[1], { event: 'up', unseen: true, pid });
  t.is(events.length, 2);
  t.is(timesIn(logFile, `the record of ${name} was missing and has been made again`), 1);
  t.is(timesIn(logFile, `the log ${logFile} was missing and has been made again`), 1);
  t.is((await daemonStatus(name)).record?.problem, undefined);

  for (const file of [record, journal]) rmSync(file);
  const restarted = await daemonry(['restart', name]);
  t.is(restarted.code, 0, restarted.stderr);
  t.not(await pidOf(name), pid);
  t.true(existsSync(record));
});

test('a program of another author can be restarted after its record was removed', async (t) => {
  const { path } = bench(t);
  const name = named(t);
  const { pid } = await spawnDaemon('sleep', ['1000'], { name, cwd: path, env: { MARK: path } });
  rmSync(recordOf(name));
  t.like((await daemonStatus(name)).record, { program: 'sleep', arguments: ['sleep', '1000'] });
  const { code, stderr } = await daemonry(['restart', name]);
  t.is(code, 0, stderr);
  t.not(await pidOf(name), pid);
  t.true(environmentOf((await pidOf(name))!)?.includes(`MARK=${path}`) ?? true);
  t.true(existsSync(recordOf(name)));
});

test('a daemon whose user has removed all of its state makes it again', async (t) => {
  const tools = bench(t);
  chmodSync(tools.path, 0o777);
  const state = tools.at('state');
  const as = {
    ...(noOtherUser === undefined ? nobody : {}),
    cwd: '/',
    env: { ...process.env, XDG_STATE_HOME: state },
  };
  const command = (...args: string[]) => daemonry(args, as);
  t.teardown(() => command('stop', 'mine'));
  const { code, stderr } = await tools.launch(
    `import { createServer } from 'node:net';
    daemonize({ name: 'mine' }, async (daemon) => { await daemon.listen(createServer()); });`,
    as,
  );
  t.is(code, 0, stderr);
  const files = ['mine.pid', 'mine.sock', 'mine.json', 'mine.jsonl', 'mine.log', 'mine.self.json'];
  const places = files.map((file) => join(state, 'daemonry', 'mine', file));
  // The record is kept in memory by then.
  rmSync(places[0]!);
  await until('the pidfile is there', () => existsSync(places[0]!));
  if (isRoot) removeState((pidFile) => pidFile === places[0]);
  rmSync(state, { recursive: true });
  for (const place of places) await until(`${place} is there`, () => existsSync(place));
  t.regex((await command('events', 'mine')).stdout, /mine +start .*\n.*mine +up +pid \d+\n$/);
});

test('a log that is only renamed is written until the reload', async (t) => {
  const { daemon, at, pidFile } = bench(t);
  await daemon(`
    daemonize({ ...options, log: at('log') });
    setInterval(() => console.log('tick'), 10);
  `);
  renameSync(at('log'), at('log.1'));
  // Two checks at least.
  for (const round of [1, 2]) {
    rmSync(pidFile);
    await until(`round ${round}: the pidfile is there`, () => existsSync(pidFile));
  }
  const { size } = statSync(at('log.1'));
  await until('it is written', () => statSync(at('log.1')).size > size);
  t.false(existsSync(at('log')));
  rmSync(at('log.1'));
  await until('the log is opened again', () => read(at('log')).includes('tick'));
});

for (const [what, listens, isRefused] of [
  ['"listen"', `listen: { ctl: { path: at('socket') } }`, true],
  ['"listen", and no server', `listen: { ctl: { path: at('socket') } }`, true],
  ['a server that listens by itself', '', false],
] as const) {
  test(`of two daemons with one socket the one that has lost it says so: ${what}`, async (t) => {
    const tools = bench(t);
    const { at } = tools;
    const program = (name: string) => `
      import { createServer } from 'node:net';
      daemonize({ name: '${name}', log: at('log.${name}'), ${listens} }, async (daemon) => {
        forever();
        if (${what.includes('no server')}) return;
        const server = createServer((connection) => connection.end('${name}'));
        daemon.serve(server);
        if (${isRefused}) server.listen({ fd: daemon.listeners.ctl });
        else {
          fs.rmSync(at('socket'), { force: true });
          server.listen(at('socket'));
        }
        await once(server, 'listening');
      });
    `;
    const [one, two] = [named(t), named(t)];
    t.is((await tools.launch(program(one))).code, 0);
    if (isRefused) {
      const { code, stderr } = await tools.launch(program(two));
      t.is(code, 1);
      t.regex(stderr, /cannot listen on .*socket: another process listens there/);
      t.is((await daemonStatus(one)).record?.problem, undefined);
      // Renamed into its place, so that there is no moment in which it is free.
      const other = createServer((connection) => connection.end('another'));
      await once(other.listen(at('other')), 'listening');
      t.teardown(() => other.close());
      renameSync(at('other'), at('socket'));
    } else t.is((await tools.launch(program(two))).code, 0);
    const problem = await until('it says so', async () => (await daemonStatus(one)).record?.problem);
    t.true(problem.startsWith(`the socket ${at('socket')} is lost: `), problem);
    t.is((await daemonStatus(two)).record?.problem, undefined);
    t.is(timesIn(at(`log.${one}`), `the socket ${at('socket')} is lost`), 1);
    t.regex((await daemonry(['status', one])).stdout, /problem: the socket .* is lost/);
    rmSync(at('socket'));
    if (isRefused && !what.includes('no server')) {
      await until('the problem is over', async () => (await daemonStatus(one)).record?.problem === undefined);
      t.is(await answerAt(at('socket')), one);
    }
  });
}

asRoot('a daemon of another user cannot make its directory again, and says so; the next start makes it', async (t) => {
  const tools = bench(t);
  chmodSync(tools.path, 0o755);
  const asNobody = (name: string) => `
    import { createServer } from 'node:net';
    daemonize({ name: '${name}', log: at('log'), user: ${nobody.uid}, group: ${nobody.gid} }, async (daemon) => {
      await daemon.listen(createServer((connection) => connection.end(String(process.getuid()))));
    });
  `;
  const { name, pid, pidFile, socket } = await started(t, tools, asNobody);
  rmSync(dirname(pidFile), { recursive: true });
  const sentence = (what: string) =>
    `the ${what} is lost: cannot make the directory ${dirname(pidFile)}: Permission denied`;
  await until('the log names the pidfile', () => timesIn(tools.at('log'), sentence(`pidfile ${pidFile}`)) > 0);
  await until('the log names the socket', () => timesIn(tools.at('log'), sentence(`socket ${socket}`)) > 0);
  const second = await tools.launch(asNobody(name));
  t.regex(second.stderr, new RegExp(`is already running with pid ${pid} `));
  await until('the socket is there', () => existsSync(socket));
  await until('the pidfile is there', () => read(pidFile) === `${pid}\n`);
  for (const path of [dirname(pidFile), pidFile, socket]) t.is(lstatSync(path).uid, nobody.uid);
  t.is(await answerAt(socket), `${nobody.uid}`);
});

asRoot('a directory that another user has made is not used, and nothing of it is touched', async (t) => {
  const tools = bench(t);
  const { pidFile, socket } = await started(t, tools);
  const directory = dirname(pidFile);
  // It exists before it has the name.
  mkdirSync(`${directory}.new`);
  spawnSync('chown', [`${nobody.uid}`, `${directory}.new`]);
  renameSync(directory, `${directory}.old`);
  renameSync(`${directory}.new`, directory);
  t.teardown(() => rmSync(`${directory}.old`, { recursive: true }));
  const reason = 'another user can exchange a directory on the way there';
  await until(
    'the log says so',
    () => timesIn(tools.at('log'), `is lost: cannot open the pidfile ${pidFile}: ${reason}`) > 0,
  );
  await until('the log names the socket', () => timesIn(tools.at('log'), `the socket ${socket} is lost`) > 0);
  t.deepEqual([existsSync(pidFile), existsSync(socket)], [false, false]);
});

test('a daemon stops when another process holds its lock, and leaves that one’s pidfile alone', async (t) => {
  const tools = bench(t);
  const { at, pidFile } = tools;
  const first = await tools.daemon(`daemonize({ ...options, log: at('log') }, forever);`);
  // Without these no start can know of it; another user's daemon is told by the locks of the pidfile.
  removeState((path) => path === pidFile);
  if (!isRoot) rmSync(pidFile);
  const second = await tools.daemon(`daemonize({ ...options, log: at('log2') }, forever);`);
  t.not(first, second);
  await until('the first one has ended', () => hasEnded(first));
  t.regex(read(at('log')), new RegExp(`process ${second} is the daemon of .*daemon.pid now: this one stops`));
  t.is(read(pidFile), `${second}\n`);
  t.like(await daemonStatus({ pidFile }), { state: 'running', pid: second });
});

test('a program that has nothing to do any more ends, although its pidfile is watched', async (t) => {
  const { foreground, pidFile } = bench(t);
  const { done } = await foreground(`daemonize(options, () => { note('up'); setTimeout(() => {}, 100); });`);
  t.like(await done, { code: 0, signal: null });
  t.false(existsSync(pidFile));
});

test('a socket that a killed server left is replaced by the next one', async (t) => {
  const tools = bench(t);
  const { name, pid, socket } = await started(t, tools);
  process.kill(pid, 'SIGKILL');
  await until('it is dead', async () => (await daemonStatus(name)).state === 'dead');
  t.true(existsSync(socket));
  const next = await connectDaemon(process.execPath, [tools.at('program.mjs')], { name });
  t.not(await text(next), `${pid}`);
});

test('a call of daemon.listen() that cannot be meant, or not be done, is a typed error of one sentence', async (t) => {
  const tools = bench(t);
  const name = named(t);
  const refusals = async (options: object, work = 'await daemon.listen(createServer())') => {
    await tools.launch(`
      import { createServer } from 'node:net';
      daemonize({ log: at('log'), ...${JSON.stringify(options)} }, async (daemon) => {
        try { ${work} } catch (error) {
          note(isDaemonError(error) + ' ' + error.code + ': ' + error.message);
          await daemon.stop();
        }
      });
    `);
    return tools.notes().at(-1)!;
  };
  t.is(
    await refusals({ pidFile: tools.pidFile }),
    'true ERR_INVALID_OPTION: daemon.listen() needs a daemon with a name, as in daemonize({ name })',
  );
  t.is(
    await refusals(
      { name },
      'const server = createServer(); await once(server.listen(0), "listening"); await daemon.listen(server)',
    ),
    'true ERR_INVALID_OPTION: daemon.listen() needs a server that does not listen yet',
  );
  const long = `${name}-${'x'.repeat(60)}`;
  t.teardown(() => removePlaces(long));
  t.regex(
    await refusals({ name: long }),
    /^true ERR_INVALID_OPTION: the socket's path \S+ is too long: it has \d+ bytes, and 10\d are possible$/,
  );

  const { socket } = daemonPaths(name);
  const connections: string[] = [];
  const other = createServer((connection) => connections.push(String(connection.end())));
  mkdirSync(dirname(socket), { recursive: true });
  await once(other.listen(socket), 'listening');
  t.teardown(() => other.close());
  t.is(
    await refusals({ name }),
    `true EADDRINUSE: cannot listen on ${socket}: another process listens there, or it is not a socket (EADDRINUSE)`,
  );
  t.is(await answerAt(socket), '');
  t.is(connections.length, 1, 'a server that was only looked at got a connection');
});

test('nobody but the own user and root can connect to the socket of daemon.listen()', async (t) => {
  const tools = bench(t);
  const { socket } = await started(t, tools, (name) => serving(name, 'umask: 0,'));
  t.is(lstatSync(socket).mode & 0o777, 0o600);
  if (noOtherUser !== undefined) return;
  const script = `require('net').connect(${JSON.stringify(socket)}).on('error', ({ code }) => console.log(code)).on('connect', () => console.log('connected'))`;
  t.is(spawnSync(process.execPath, ['-e', script], { ...nobody, cwd: '/', encoding: 'utf8' }).stdout, 'EACCES\n');
});

test('a server that is closed by the program takes its socket with it', async (t) => {
  const tools = bench(t);
  const { name, socket } = await started(
    t,
    tools,
    (name) => `
    import { createServer } from 'node:net';
    daemonize({ name: '${name}' }, async (daemon) => {
      const server = createServer();
      await daemon.listen(server);
      void exists('close').then(() => server.close());
      forever();
    });
  `,
  );
  t.true(existsSync(socket));
  tools.write('', 'close');
  await until('the socket is gone', () => !existsSync(socket));
  t.like(await daemonStatus(name), { state: 'running' });
});

test('a call that waits for a socket which does not come back says what it has waited for', async (t) => {
  const tools = bench(t);
  const own = (name: string) => `
    import { createServer } from 'node:net';
    daemonize({ name: '${name}', log: at('log') }, async () => {
      await once(createServer().listen(daemonPaths('${name}').socket), 'listening');
    });
  `;
  const { name, pidFile, socket } = await started(t, tools, own);
  rmSync(socket);
  await t.throwsAsync(connectDaemon(process.execPath, [tools.at('program.mjs')], { name, startTimeout: 500 }), {
    code: 'ERR_START_TIMEOUT',
    message: `${name} is running (pidfile ${pidFile}), but its socket ${socket} was still missing after 1000 ms: restart it`,
  });
});

test('a worker of a cluster cannot have the socket of the daemon', async (t) => {
  const { daemon, noted } = bench(t);
  const name = named(t);
  await daemon(`
    import cluster from 'node:cluster';
    import { createServer } from 'node:net';
    daemonize({ ...options, name: '${name}' }, async (daemon) => {
      if (cluster.isPrimary) return void cluster.fork();
      await daemon.listen(createServer()).catch((error) => note(error.message));
    });
  `);
  await noted(
    'daemon.listen() belongs in the primary of a cluster: a worker listens on a socket of the option "listen"',
  );
  t.pass();
});

test('spawnDaemon gives its name to a program that has none of its own', async (t) => {
  const tools = bench(t);
  const name = named(t);
  tools.write(`
    import { createServer } from 'node:net';
    daemonize({}, async (daemon) => note(await daemon.listen(createServer())));
  `);
  await spawnDaemon(process.execPath, [tools.at('program.mjs')], { name, waitFor: 'ready' });
  t.deepEqual(tools.notes(), [daemonPaths(name).socket]);
});

test('a server that listens by itself leaves the socket of another in its place when it stops', async (t) => {
  for (const [kind, handler] of [
    ['net', "(connection) => connection.on('error', () => {}).end('first')"],
    ['http', "(_, response) => response.end('first')"],
  ]) {
    const { daemon, at, pidFile } = bench(t);
    await daemon(`
      import { createServer } from 'node:${kind}';
      daemonize(options, async (daemon) => {
        const server = createServer(${handler});
        daemon.serve(server);
        await once(server.listen(at('socket')), 'listening');
      });
    `);
    const other = createServer((connection) => connection.end('second'));
    await once(other.listen(at('socket2')), 'listening');
    t.teardown(() => other.close());
    const open = connect(at('socket'));
    await once(open, 'connect');
    renameSync(at('socket2'), at('socket'));
    const stopping = stopDaemon({ pidFile });
    open.resume().end();
    t.like(await stopping, { outcome: 'stopped' });
    t.is(await answerAt(at('socket')), 'second');
  }
});

test('a worker of a cluster that stops leaves the socket to the others', async (t) => {
  const { daemon, at, notes, noted, pidFile } = bench(t);
  await daemon(`
    import cluster from 'node:cluster';
    import { createServer } from 'node:net';
    daemonize({ ...options, log: at('log') }, async (daemon) => {
      if (cluster.isPrimary) {
        for (const _ of [1, 2]) await once(cluster.fork(), 'listening');
        cluster.on('exit', () => note('exit'));
        return;
      }
      const server = createServer((connection) => connection.end('worker'));
      daemon.serve(server);
      await once(server.listen(at('socket')), 'listening');
      note(String(process.pid));
    });
  `);
  await until('both listen', () => notes().length === 2);
  process.kill(Number(notes()[0]), 'SIGTERM');
  await noted('exit');
  t.is(await answerAt(at('socket')), 'worker');
  t.like(await stopDaemon({ pidFile }), { outcome: 'stopped' });
});
