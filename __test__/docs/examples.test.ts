import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, connect, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { daemonPaths, daemonStatus, stopDaemon } from '../../dist/index.js';
import { BadInput } from '../../examples/command-line.js';
import { nextRing, readAlarms, Schedule, type Alarm } from '../../examples/schedule.js';
import { read } from '../helpers/files.js';
import { hasEnded } from '../helpers/processes.js';
import { run, start } from '../helpers/run.js';
import { removePlaces } from '../helpers/named.js';
import { noOtherUser, testUnless } from '../helpers/privileges.js';
import { until } from '../helpers/until.js';
import { workspace } from '../helpers/workspace.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
// Germany's clocks go forward at 02:00 on 29 March 2026 and back at 03:00 on 25 October.
process.env['TZ'] = 'Europe/Berlin';
// Where names lead to, unless for root.
const state = mkdtempSync(join(tmpdir(), 'daemonry-test-state-'));
process.env['XDG_STATE_HOME'] = state;
test.after.always(() => rmSync(state, { recursive: true }));

let names = 0;

/** One of the examples under a name of its own; it is stopped, and what it wrote removed, when the test is over. */
function example(t: ExecutionContext, program: 'alarm' | 'heartbeat' | 'web') {
  const name = `daemonry-test-${process.pid}-${++names}`;
  const { pidFile, logFile } = daemonPaths(name);
  t.teardown(async () => {
    await stopDaemon({ pidFile });
    removePlaces(name);
  });
  const log = () => read(logFile);
  return {
    name,
    pidFile,
    logFile,
    log,
    logs: (text: RegExp) => until(`${text} in the log`, () => text.exec(log())?.[0]),
    run: (...args: string[]) =>
      run(process.execPath, ['--import', 'tsx', `examples/${program}.ts`, '--name', name, ...args], { cwd: root }),
  };
}

/** An alarm for each second of the next two minutes: one of them is due soon, however slow this machine is. */
function soon(label: string, command?: string): Alarm[] {
  return Array.from({ length: 120 }, (_, index) => {
    const time = new Date(Date.now() + index * 1000).toTimeString().slice(0, 8);
    return { label: `${label} ${index}`, time, ...(command === undefined ? {} : { command }) };
  });
}

const daily: Alarm[] = [{ label: 'Lunch', time: '12:30' }];
const local = (date: Date) => date.toString().slice(0, 33);

for (const [rings, alarm, after, ring] of [
  ['later today', { time: '07:00' }, '2026-11-20T06:59:59.999', 'Fri Nov 20 2026 07:00:00 GMT+0100'],
  ['tomorrow, at the very moment', { time: '07:00' }, '2026-11-20T07:00:00', 'Sat Nov 21 2026 07:00:00 GMT+0100'],
  ['at a second', { time: '07:00:30' }, '2026-11-20T07:00:29', 'Fri Nov 20 2026 07:00:30 GMT+0100'],
  ['across the year', { time: '00:00' }, '2026-12-31T12:00', 'Fri Jan 01 2027 00:00:00 GMT+0100'],
  [
    'on its weekday',
    { time: '07:00', weekdays: ['mon', 'wed'] },
    '2026-11-20T08:00',
    'Mon Nov 23 2026 07:00:00 GMT+0100',
  ],
  ['a week later', { time: '07:00', weekdays: ['fri'] }, '2026-11-20T07:00', 'Fri Nov 27 2026 07:00:00 GMT+0100'],
  ['at the same local time in spring', { time: '07:00' }, '2026-03-28T08:00', 'Sun Mar 29 2026 07:00:00 GMT+0200'],
  ['at the same local time in autumn', { time: '07:00' }, '2026-10-24T08:00', 'Sun Oct 25 2026 07:00:00 GMT+0100'],
  ['after an hour that is skipped', { time: '02:30' }, '2026-03-29T01:00', 'Sun Mar 29 2026 03:30:00 GMT+0200'],
  ['in an hour that is repeated', { time: '02:30' }, '2026-10-25T01:00', 'Sun Oct 25 2026 02:30:00 GMT+0200'],
  ['not when it is repeated', { time: '02:30' }, '2026-10-25T00:30Z', 'Mon Oct 26 2026 02:30:00 GMT+0100'],
  ['nor in between', { time: '02:30' }, '2026-10-25T01:15Z', 'Mon Oct 26 2026 02:30:00 GMT+0100'],
] as const) {
  test(`an alarm rings ${rings}`, (t) => {
    t.is(local(nextRing({ label: 'a', ...alarm }, new Date(after))), ring);
  });
}

test('an alarm is due once, also when the clock is set back a little', (t) => {
  const schedule = new Schedule([{ label: 'a', time: '07:00' }], new Date('2026-11-20T06:00'));
  const due = (time: string) => schedule.due(new Date(time)).map(({ ring }) => local(ring).slice(0, 24));
  t.deepEqual(due('2026-11-20T06:59:59'), []);
  t.deepEqual(due('2026-11-20T07:00:01'), ['Fri Nov 20 2026 07:00:00']);
  t.deepEqual(due('2026-11-20T06:59:30'), []);
  t.deepEqual(due('2026-11-20T07:00:00'), []);
  t.deepEqual(due('2026-11-21T07:00:00'), ['Sat Nov 21 2026 07:00:00']);
});

test('an alarm is due at the time that the clock shows after it was set, and only with its latest ring', (t) => {
  const schedule = new Schedule([{ label: 'a', time: '07:00' }], new Date('2026-11-20T06:00'));
  const due = (time: string) => schedule.due(new Date(time)).map(({ ring }) => local(ring).slice(0, 24));
  t.deepEqual(due('2026-11-23T07:05'), ['Mon Nov 23 2026 07:00:00']);
  t.deepEqual(due('2026-11-10T06:00'), []);
  t.deepEqual(due('2026-11-10T07:00'), ['Tue Nov 10 2026 07:00:00']);
});

test('the clock is looked at when an alarm is due, and each minute', (t) => {
  const now = new Date('2026-11-20T06:59:59.250');
  const wait = (...times: string[]) =>
    new Schedule(
      times.map((time) => ({ label: 'a', time })),
      now,
    ).wait(now);
  t.is(wait('08:00', '07:00'), 750);
  t.is(wait('06:00'), 60_000);
  t.is(wait(), 60_000);
});

test('the alarm daemon starts, tells its pid and logs its alarms with their next ring', async (t) => {
  const { at } = workspace(t);
  const alarm = example(t, 'alarm');
  writeFileSync(at('alarms.json'), JSON.stringify([...daily, { label: 'Tea', time: '17:00', weekdays: ['sun'] }]));
  const { code, stdout, stderr } = await alarm.run(at('alarms.json'));
  t.is(code, 0, stderr);
  const pid = Number(stdout.match(/started with pid (\d+), log (.*)\n$/)?.[1]);
  t.like(await daemonStatus({ pidFile: alarm.pidFile }), { state: 'running', pid });
  const lines = alarm.log().split('\n');
  t.true(lines[0]?.endsWith(`started with pid ${pid}, alarms from ${at('alarms.json')}`), lines[0]);
  t.regex(lines[2]!, /"Lunch" at 12:30 every day, next ring \w{3} \w{3} \d\d \d{4} 12:30:00$/);
  t.regex(lines[3]!, /"Tea" at 17:00 sun, next ring Sun \w{3} \d\d \d{4} 17:00:00$/);

  const second = await alarm.run(at('alarms.json'));
  t.is(second.code, 1);
  t.true(second.stderr.includes(`already running with pid ${pid}`), second.stderr);
});

test('--status tells the state, and by its exit code; --kill stops the daemon and removes the pidfile', async (t) => {
  const { at } = workspace(t);
  const alarm = example(t, 'alarm');
  writeFileSync(at('alarms.json'), JSON.stringify(daily));
  t.like(await alarm.run('--status'), { code: 3, stderr: '' });
  t.is((await alarm.run(at('alarms.json'))).code, 0);
  const { pid } = (await daemonStatus({ pidFile: alarm.pidFile })) as { pid: number };

  const running = await alarm.run('--status');
  t.is(running.code, 0);
  t.true(running.stdout.startsWith(`${alarm.name} is running with pid ${pid} since `), running.stdout);
  t.true(running.stdout.includes(`log: ${alarm.logFile}\n`), running.stdout);

  t.like(await alarm.run('--kill'), { code: 0, stdout: `${alarm.name}: stopped (pid ${pid})\n`, stderr: '' });
  t.true(hasEnded(pid));
  t.false(existsSync(alarm.pidFile));
  t.regex(alarm.log(), / stopped\n$/);
  t.like(await alarm.run('--kill'), { code: 0, stdout: `${alarm.name}: not-running\n` });
});

test('--list prints each alarm and its next ring, and starts nothing', async (t) => {
  const { at } = workspace(t);
  const alarm = example(t, 'alarm');
  writeFileSync(at('alarms.json'), JSON.stringify([{ label: 'Tea', time: '17:00', command: 'kettle on' }]));
  const { code, stdout } = await alarm.run('--list', at('alarms.json'));
  t.is(code, 0);
  t.regex(stdout, /^"Tea" at 17:00 every day, runs "kettle on", next ring \w{3} \w{3} \d\d \d{4} 17:00:00\n$/);
  t.is((await daemonStatus({ pidFile: alarm.pidFile })).state, 'stopped');
});

test('an alarm that is due writes to the log or runs its command, once', async (t) => {
  const { at } = workspace(t);
  const alarm = example(t, 'alarm');
  const command = `echo rang >>${at('rang')}; echo on stdout; exit 3`;
  writeFileSync(at('alarms.json'), JSON.stringify([...soon('line'), ...soon('command', command)]));
  t.is((await alarm.run(at('alarms.json'))).code, 0);
  await alarm.logs(/"line \d+" rings/);
  const title = await alarm.logs(/"command \d+"(?=: its command ended with 3)/);
  t.true(alarm.log().includes('\non stdout\n'));
  await alarm.logs(/("line \d+" rings[^]*){3}/);
  t.is((await alarm.run('--kill')).code, 0);
  t.is(alarm.log().split(`${title} rings`).length, 2);
  t.true(readFileSync(at('rang'), 'utf8').startsWith('rang\n'));
});

test('a command that still runs is ended with the daemon', async (t) => {
  const { at } = workspace(t);
  const alarm = example(t, 'alarm');
  // Not the shell itself sleeps, but a child of it.
  const command = `sleep 600 & echo $! >${at('pid')}; wait`;
  writeFileSync(at('alarms.json'), JSON.stringify(soon('long', command)));
  t.is((await alarm.run(at('alarms.json'))).code, 0);
  const pid = await until('the command runs', () => Number(read(at('pid'))));
  t.false(hasEnded(pid));
  t.is((await alarm.run('--kill')).code, 0);
  await until('the command has ended', () => hasEnded(pid));
  t.pass();
});

test('--reload adopts the changed file; a broken one is reported, and the old alarms still ring', async (t) => {
  const { at } = workspace(t);
  const alarm = example(t, 'alarm');
  writeFileSync(at('alarms.json'), JSON.stringify(daily));
  t.is((await alarm.run('--reload')).code, 1);
  t.is((await alarm.run(at('alarms.json'))).code, 0);
  const { pid } = (await daemonStatus({ pidFile: alarm.pidFile })) as { pid: number };

  writeFileSync(at('alarms.json'), JSON.stringify(soon('new')));
  t.like(await alarm.run('--reload'), { code: 0, stdout: `${alarm.name}: reloaded (pid ${pid})\n`, stderr: '' });
  await alarm.logs(/"new \d+" rings/);

  writeFileSync(at('alarms.json'), '[{ "label": "half');
  const broken = await alarm.run('--reload');
  t.is(broken.code, 1);
  t.regex(broken.stderr, /^alarm\.ts: the daemon with pid \d+ did not reload: Error: .*alarms\.json is not JSON: /);
  await alarm.logs(/a reload handler failed: .*alarms\.json is not JSON: [^]*"new \d+" rings/);
  t.like(await daemonStatus({ pidFile: alarm.pidFile }), { state: 'running', pid });
});

for (const [input, content, said] of [
  ['a file without an array', '{}', 'must hold an array of alarms'],
  ['an alarm that is no object', '[7]', 'alarm 1: not an object: 7'],
  ['a missing label', '[{"time":"07:00"}]', 'alarm 1: label must be a text, not missing'],
  ['a time of no day', '[{"label":"a","time":"24:00"}]', 'alarm 1: time must be "HH:MM" or "HH:MM:SS", not "24:00"'],
  ['a short time', '[{"label":"a","time":"7:00"}]', 'alarm 1: time must be "HH:MM" or "HH:MM:SS", not "7:00"'],
  ['no weekday', '[{"label":"a","time":"07:00","weekdays":[]}]', 'alarm 1: weekdays must name some, not []'],
  ['a command that is no line', '[{"label":"a","time":"07:00","command":7}]', 'alarm 1: command must be a line'],
  ['an unknown property', '[{"label":"a","time":"07:00","day":"mon"}]', 'alarm 1: unknown property "day"'],
] as const) {
  test(`reading alarms fails for ${input}`, (t) => {
    const file = workspace(t).at('alarms.json');
    writeFileSync(file, content);
    const { message } = t.throws(() => readAlarms(file), { instanceOf: BadInput });
    t.true(message.startsWith(file), message);
    t.true(message.includes(said), message);
  });
}

for (const [input, content, args, said] of [
  ['a missing file', undefined, [], 'cannot read FILE: ENOENT: no such file or directory'],
  ['a file that is not JSON', '[\n  {]', [], 'FILE is not JSON: '],
  [
    'a bad time',
    '[{"label":"a","time":"09:60"}]',
    [],
    'FILE: alarm 1: time must be "HH:MM" or "HH:MM:SS", not "09:60"',
  ],
  [
    'an unknown weekday',
    '[{"label":"a","time":"07:00"},{"label":"b","time":"07:00","weekdays":["mon","Tue"]}]',
    [],
    'FILE: alarm 2: unknown weekday "Tue": it must be one of sun, mon, tue, wed, thu, fri, sat',
  ],
  ['an unknown option', '[]', ['--lits'], "Unknown option '--lits' (usage: "],
  ['a pair of commands', '[]', ['--list', '--kill'], '--list and --kill do not go together'],
  ['a second file', '[]', ['more.json'], 'unexpected argument "more.json"'],
] as const) {
  test(`the alarm clock tells ${input} in one sentence, and nothing is started`, async (t) => {
    const { at } = workspace(t);
    const alarm = example(t, 'alarm');
    if (content !== undefined) writeFileSync(at('alarms.json'), content);
    const { code, stdout, stderr } = await alarm.run(at('alarms.json'), ...args);
    t.is(code, 2);
    t.is(stdout, '');
    t.regex(stderr, /^alarm\.ts: [^\n]+\n$/);
    t.true(stderr.includes(said.replace('FILE', at('alarms.json'))), stderr);
    t.false(existsSync(dirname(alarm.pidFile)));
  });
}

test('the alarm clock tells a name that is none in one sentence', async (t) => {
  const { code, stderr } = await example(t, 'alarm').run('--name', '../a');
  t.is(code, 1);
  t.regex(stderr, /^alarm\.ts: a daemon's name must [^\n]+"\.\.\/a": a path is given as the pidfile[^\n]+\n$/);
});

test('npm start shows the pid, the status, the first log lines and a command that stops the alarm daemon', async (t) => {
  const alarm = example(t, 'alarm');
  // Without the set-up, which would change this very installation if it were not up to date.
  const startAlarm = () => run('examples/start-alarm', ['--name', alarm.name], { cwd: root });
  const { code, stdout, stderr } = await startAlarm();
  t.is(code, 0, stderr);
  const { pid } = (await daemonStatus({ pidFile: alarm.pidFile })) as { pid: number };
  t.true(stdout.startsWith(`${alarm.name} started with pid ${pid}, log ${alarm.logFile}\n`), stdout);
  t.true(stdout.includes(`${alarm.name} is running with pid ${pid} since `), stdout);
  t.true(stdout.includes(alarm.log()), stdout);

  const again = await startAlarm();
  t.is(again.code, 0, again.stderr);
  t.true(again.stderr.includes(`already running with pid ${pid}`), again.stderr);
  t.is(again.stdout, stdout.slice(stdout.indexOf('\n') + 1));

  const command = stdout.trimEnd().split('\n').at(-1)!;
  t.is(command, `npm run alarm -- --name ${alarm.name} --kill`);
  t.is((await run('sh', ['-c', command], { cwd: root })).code, 0);
  t.true(hasEnded(pid));
  t.false(existsSync(alarm.pidFile));
});

test('npm start fails with the reason when the alarm daemon cannot start', async (t) => {
  const alarm = example(t, 'alarm');
  const { code, stdout, stderr } = await run('examples/start-alarm', ['--name', alarm.name], {
    cwd: root,
    env: { ...process.env, DAEMONRY_MODE: 'sideways' },
  });
  t.not(code, 0);
  t.is(stdout, '');
  t.true(stderr.includes('DAEMONRY_MODE must be auto, daemon or foreground'), stderr);
});

test('the heartbeat probes a Unix socket again and again, and logs start and end of each probe', async (t) => {
  const { at } = workspace(t);
  const heartbeat = example(t, 'heartbeat');
  let connections = 0;
  const server = createServer((socket) => {
    connections++;
    socket.end();
  });
  await new Promise<void>((resolve) => server.listen(at('socket'), resolve));
  t.teardown(() => server.close());

  const { code, stdout, stderr } = await heartbeat.run('--every', '0.1', at('socket'));
  t.is(code, 0, stderr);
  const { pid } = (await daemonStatus({ pidFile: heartbeat.pidFile })) as { pid: number };
  t.is(stdout, `Daemon PID ${pid}\n`);
  await heartbeat.logs(/(probe of \S+ starts\n.* probe of \S+ ended after \d+ ms: reachable\n[^]*){3}/);
  await until('the probes have arrived', () => connections >= 3);
  t.true(heartbeat.log().includes(`probe of ${at('socket')} starts\n`));

  server.close();
  await heartbeat.logs(/ms: unreachable \(ENOENT\)/);
  t.like(await heartbeat.run('--status'), { code: 0 });
  t.like(await heartbeat.run('--kill'), { code: 0, stdout: `${heartbeat.name}: stopped (pid ${pid})\n` });
  t.regex(heartbeat.log(), / stopped\n$/);
  t.false(existsSync(heartbeat.pidFile));
});

test('the heartbeat logs a closed port as unreachable and goes on', async (t) => {
  const heartbeat = example(t, 'heartbeat');
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  t.is((await heartbeat.run('--every', '0.1', `localhost:${port}`)).code, 0);
  await heartbeat.logs(
    new RegExp(`(probe of localhost:${port} ended after \\d+ ms: unreachable \\(ECONNREFUSED\\)[^]*){2}`),
  );
  t.is((await heartbeat.run('--kill')).code, 0);
});

test('the heartbeat gives up on a target that does not answer', async (t) => {
  const heartbeat = example(t, 'heartbeat');
  // Accepts nothing: when its short queue is full, the kernel leaves further connections unanswered.
  const program = `
    const server = require('node:net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
      require('node:fs').writeSync(1, server.address().port + '\\n');
      for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    });`;
  const { child, done } = start(process.execPath, ['-e', program]);
  t.teardown(async () => {
    child.kill('SIGKILL');
    await done;
  });
  const port = await new Promise<number>((resolve) => child.stdout!.once('data', (text) => resolve(Number(text))));
  const queue = Array.from({ length: 8 }, () => connect(port, '127.0.0.1').on('error', () => {}));
  t.teardown(() => queue.forEach((socket) => socket.destroy()));
  await until('the queue is full', () => queue.some((socket) => !socket.connecting));

  t.is((await heartbeat.run('--every', '0.2', `127.0.0.1:${port}`)).code, 0);
  await heartbeat.logs(/(ended after \d+ ms: unreachable \(no answer\)[^]*){2}/);
  t.is((await heartbeat.run('--kill')).code, 0);
});

for (const [input, args, said] of [
  ['no target', [], 'what to probe is missing (usage: '],
  ['a target without a port', ['localhost'], 'TARGET must be HOST:PORT, or a path with a slash in it, not "localhost"'],
  ['a port that is none', ['localhost:65536'], 'TARGET must be HOST:PORT'],
  ['an interval that is none', ['--every', 'often', 'localhost:80'], '--every must be a number of seconds'],
  ['an option without its value', ['localhost:80', '--every'], "Option '--every <value>' argument missing (usage: "],
] as const) {
  test(`the heartbeat tells ${input} in one sentence, and nothing is started`, async (t) => {
    const heartbeat = example(t, 'heartbeat');
    const { code, stdout, stderr } = await heartbeat.run(...args);
    t.is(code, 2);
    t.is(stdout, '');
    t.regex(stderr, /^heartbeat\.ts: [^\n]+\n$/);
    t.true(stderr.includes(said), stderr);
    t.false(existsSync(dirname(heartbeat.pidFile)));
  });
}

testUnless(noOtherUser)('web: a port that only root may have, served as nobody', async (t) => {
  const web = example(t, 'web');
  const { code, stdout, stderr } = await web.run();
  if (stderr.includes('EADDRINUSE')) return t.log('skipped: something listens on port 80 already');
  t.is(code, 0, stderr);
  const pid = Number(/^Daemon PID (\d+), port 80$/m.exec(stdout)?.[1]);
  t.is(await (await fetch('http://127.0.0.1/')).text(), `served by uid 65534 with pid ${pid}\n`);
  await web.logs(/ GET \/$/m);
  const stopped = await web.run('--kill');
  t.is(stopped.stdout, `${web.name}: stopped (pid ${pid})\n`);
  await t.throwsAsync(fetch('http://127.0.0.1/'));
});

test('web: bad input is one sentence', async (t) => {
  const web = example(t, 'web');
  for (const [args, message] of [
    [['--port', 'http'], '--port must be a number from 0 to 65535, not "http"'],
    [['--port', '0', '--user', 'no-such-user'], 'there is no user "no-such-user"'],
    [['here'], 'unexpected argument "here"'],
  ] as const) {
    const { code, stderr } = await web.run(...args);
    t.not(code, 0);
    t.is(stderr, `web.ts: ${message}\n`);
  }
});
