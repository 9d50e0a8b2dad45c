/** The journal of a named daemon: what has happened to it, by whom and how it ended, also after a reboot. */
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { daemonEvents, daemonPaths, daemonStatus, forgetDaemon, spawnDaemon, stopDaemon } from '../../dist/index.js';
import { bench } from '../helpers/bench.js';
import { daemonry, main, startDaemonry } from '../helpers/command.js';
import { read } from '../helpers/files.js';
import { eventsOf, journalOf, named } from '../helpers/named.js';
import { isRoot, nobody, noOtherUser, noOwnMounts, ownMounts, testOnLinux, testUnless } from '../helpers/privileges.js';
import { hasEnded, kill } from '../helpers/processes.js';
import { run, start, type RunOptions } from '../helpers/run.js';
import { removeState } from '../helpers/state.js';
import { endOf } from '../helpers/status.js';
import { until } from '../helpers/until.js';

const kinds = async (name: string) => (await eventsOf(name)).map(({ event }) => event);

/** The lines as they are, without noticing anything. */
const lines = (name: string) => read(journalOf(name)).split('\n').slice(0, -1);

/** Starts `sleep`, which no process of daemonry sees exiting. */
async function sleeper(name: string, options: object = {}): Promise<number> {
  return (await spawnDaemon('sleep', ['1000'], { name, ...options })).pid;
}

/** Named daemons in places where no other test looks, because whoever looks writes down what is missing. */
function alone(t: ExecutionContext) {
  const name = named(t);
  const { at, ...place } = bench(t);
  chmodSync(at('.'), 0o777);
  mkdirSync(at('state'));
  if (isRoot) chownSync(at('state'), nobody.uid, nobody.gid);
  const options = { ...(isRoot ? nobody : {}), cwd: '/', env: { ...process.env, XDG_STATE_HOME: at('state') } };
  const command = (...args: string[]) => daemonry(args, options);
  t.teardown(() => command('stop', name));
  return {
    ...place,
    name,
    options,
    lines: () =>
      read(at('state', 'daemonry', name, `${name}.jsonl`))
        .split('\n')
        .slice(0, -1),
    ok: async (...args: string[]) => {
      const { code, stdout, stderr } = await command(...args);
      t.is(code, 0, stderr);
      return stdout;
    },
  };
}

const testAlone = testUnless(isRoot ? noOtherUser : undefined);

/** As after a reboot: what lies in /run is gone, and the journal tells of an earlier boot. */
function reboot(name: string): void {
  const { pidFile } = daemonPaths(name);
  removeState((found) => found === pidFile);
  rmSync(pidFile, { force: true });
  const text = read(journalOf(name));
  const machine = /"machine":"[0-9a-f]{8}/;
  if (machine.test(text))
    writeFileSync(journalOf(name), text.replaceAll(new RegExp(machine, 'g'), '"machine":"00000000'));
}

test('a journal tells of a start, of being up, of a stop and of the end, when and by whom', async (t) => {
  const name = named(t);
  const before = Date.now();
  const pid = await sleeper(name, { version: '1.2' });
  await stopDaemon(name);
  const events = await eventsOf(name);
  t.deepEqual(
    events.map(({ event }) => event),
    ['start', 'up', 'stop', 'exit'],
  );
  const [begun, up, asked, exit] = events;
  const by = { uid: process.getuid!(), command: /ava/ };
  for (const event of [begun, asked, exit]) {
    if (event === undefined || !('by' in event)) return t.fail(`no caller: ${JSON.stringify(event)}`);
    t.is(event.by?.uid, by.uid);
    t.regex(event.by!.command, by.command);
  }
  t.like(begun, { name, version: '1.2' });
  t.like(up, { name, pid });
  t.like(asked, { name, pid, signal: 'SIGTERM' });
  t.like(exit, { name, pid, reason: 'stopped' });
  for (const { at, unseen } of events) {
    t.true(at.getTime() >= before && at.getTime() <= Date.now());
    t.is(unseen, undefined);
  }
  t.like(await endOf(name), { reason: 'stopped', at: exit!.at, by: { uid: by.uid } });
  t.is(statSync(journalOf(name)).mode & 0o7777, 0o600);
  for (const line of lines(name)) t.regex(line, /^\{"at":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z","event":"\w+",.*\}$/);
});

test('an end that no process has seen is written down once, however many look at the same time', async (t) => {
  const name = named(t);
  const pid = await sleeper(name);
  await kill(pid);
  const looks = await Promise.all(Array.from({ length: 8 }, () => daemonry(['status', name])));
  for (const { code, stdout } of looks) {
    t.is(code, 1);
    t.regex(stdout, /is dead: it ended, and no process saw how/);
  }
  t.deepEqual(await kinds(name), ['start', 'up', 'exit']);
  t.like((await eventsOf(name)).at(-1), { pid, reason: 'vanished', unseen: true });
  t.deepEqual(await endOf(name), { reason: 'vanished' });

  const next = await sleeper(name);
  await kill(next);
  await sleeper(name);
  t.deepEqual(
    await kinds(name),
    ['start', 'up', 'exit', 'start', 'up', 'exit', 'start', 'up'],
    'the next start looks, too',
  );
});

testAlone('a daemon that crashes writes down its end itself, and no terminal obeys its last words', async (t) => {
  const { name, launch, write, lines, ok, options } = alone(t);
  const program = `daemonize({ name: '${name}' }, () => {
    exists('go').then(() => { throw new Error('no\\x1b[31m luck\\u009b2J\\u202e'); });
  });`;
  const { code, stderr } = await launch(program, options);
  t.is(code, 0, stderr);
  write('', 'go');
  await until('it has written down its end', () => lines().length === 3);
  t.regex(
    lines()[2]!,
    /"event":"exit",.*"reason":"crashed","exitCode":1,"lastWords":"Error: no\\u001b\[31m luck\\u009b2J\\u202e"/,
  );
  t.regex(await ok('events', name), /  exit     pid \d+ crashed with exit code 1: Error: no luck\\u202e\n$/);
  const [, , exit] = (await ok('events', '--json', name)).split('\n');
  t.like(JSON.parse(exit!), { reason: 'crashed', lastWords: 'Error: no\x1b[31m luck\u009b2J\u202e' });
  t.is(lines().length, 3);
});

test('a daemon that is started again has been replaced', async (t) => {
  const name = named(t);
  const first = await sleeper(name);
  const restarted = await daemonry(['restart', name]);
  t.is(restarted.code, 0, restarted.stderr);
  const second = (await daemonStatus(name)) as { pid: number };
  await sleeper(name, { ifRunning: 'replace' });
  const events = await eventsOf(name);
  t.deepEqual(
    events.map(({ event }) => event),
    ['start', 'up', 'restart', 'exit', 'start', 'up', 'restart', 'exit', 'start', 'up'],
  );
  t.like(events[2], { pid: first, signal: 'SIGTERM' });
  t.regex((events[2] as { by: { command: string } }).by.command, /cli\.js restart /);
  t.like(events[3], { pid: first, reason: 'replaced', by: { uid: process.getuid!() } });
  t.like(events[7], { pid: second.pid, reason: 'replaced' });
  t.is(events[7]!.unseen, undefined);
});

test('a program that was to be replaced by one that is missing is reported as replaced', async (t) => {
  const name = named(t);
  await sleeper(name);
  const missing = spawnDaemon('/nowhere/program', [], { name, ifRunning: 'replace' });
  await t.throwsAsync(async () => missing, { code: 'ENOENT' });
  const found = await daemonStatus(name);
  if (found.state === 'running') return t.pass('it was found out before');
  t.is(found.state, 'stopped');
  t.like(await endOf(name), { reason: 'replaced' });
  t.deepEqual((await kinds(name)).slice(-2), ['start', 'failed']);
});

test('a failed start is in the journal with its reason, and the end before it stays', async (t) => {
  const name = named(t);
  const { launch } = bench(t);
  const fails = () => launch(`daemonize({ name: '${name}' }, () => { throw new Error('no luck'); });`);
  t.is((await fails()).code, 1);
  t.deepEqual(await kinds(name), ['start', 'failed']);
  const [, failed] = await eventsOf(name);
  t.regex(failed?.event === 'failed' ? failed.reason : '', /before it was up: Error: no luck$/);
  t.is(await endOf(name), undefined);
  t.is((await daemonStatus(name)).state, 'stopped');
  t.regex((await daemonry(['events'])).stdout, new RegExp(`  ${name}  failed   .*: Error: no luck\n`));

  await kill(await sleeper(name));
  t.is((await fails()).code, 1);
  t.deepEqual(await kinds(name), ['start', 'failed', 'start', 'up', 'exit', 'start', 'failed']);
  t.is((await daemonStatus(name)).state, 'dead');
  t.deepEqual(await endOf(name), { reason: 'vanished' });
});

test('a failed start of any program has one text, last words included, wherever it is reported', async (t) => {
  const name = named(t);
  const program = ['sh', '-c', 'echo no config >&2; exit 3'];
  const { code, stderr } = await daemonry(['start', '--name', name, ...program]);
  t.is(code, 1);
  const reason = 'the daemon exited with code 3 before it was up: its last words were "no config"';
  t.is(stderr, `daemonry: ${name} did not start: ${reason} (see ${daemonPaths(name).logFile})\n`);
  const reasons = async () => (await eventsOf(name)).flatMap((event) => (event.event === 'failed' ? event.reason : []));
  t.deepEqual(await reasons(), [reason]);

  // A caller that lives on does not learn the exit code.
  await t.throwsAsync(spawnDaemon(program[0]!, program.slice(1), { name, aliveFor: 20_000 }));
  t.regex(
    (await reasons())[1]!,
    /^the daemon exited(?: with code 3)? before it was up: its last words were "no config"$/,
  );

  const { at } = bench(t);
  await t.throwsAsync(spawnDaemon('sleep', ['1'], { name, log: at('none/log') }), {
    message: `${name} did not start: cannot open the log ${at('none/log')}: No such file or directory (ENOENT)`,
  });
  t.is((await reasons())[2], `cannot open the log ${at('none/log')}: No such file or directory (ENOENT)`);
});

test('a restart that fails before the program calls daemonize() is in the journal, once', async (t) => {
  const name = named(t);
  const space = bench(t);
  const { daemon, write } = space;
  await daemon(`
    if (fs.existsSync(at('bad'))) process.exit(3);
    daemonize({ name: '${name}', onStarted: options.onStarted }, () => {
      if (fs.existsSync(at('worse'))) throw new Error('no luck');
      forever();
    });`);
  const { at } = space;
  write('', 'worse');
  t.is((await daemonry(['restart', name])).code, 1);
  t.deepEqual((await kinds(name)).slice(-3), ['exit', 'start', 'failed']);
  rmSync(at('worse'));
  t.is((await daemonry(['restart', name])).code, 0);
  t.is(await endOf(name), undefined);
  write('', 'bad');
  t.is((await daemonry(['restart', name])).code, 1);
  t.deepEqual((await kinds(name)).slice(-2), ['exit', 'failed']);
  t.like((await eventsOf(name)).at(-1), { reason: 'the program exited with code 3 before it was up' });
  t.like(await endOf(name), { reason: 'replaced', replacementFailed: true });
});

test('how a daemon has ended outlives a reboot', async (t) => {
  const name = named(t);
  const pid = await sleeper(name);
  await stopDaemon(name);
  const before = await endOf(name);
  t.is(before?.reason, 'stopped');
  reboot(name);
  t.deepEqual(await endOf(name), before);
  t.is((await daemonStatus(name)).state, 'stopped');
  t.is((await daemonry(['status', name])).code, 3);
  t.like((await eventsOf(name)).at(-1), { pid, reason: 'stopped' });
});

test('a daemon that ran when the machine ended is lost, which is written down once', async (t) => {
  const name = named(t);
  const pid = await sleeper(name);
  // In this order: whoever looks in between writes down what it sees.
  reboot(name);
  await kill(pid);
  t.deepEqual(await endOf(name), { reason: 'lost' });
  t.like(await daemonStatus(name), { state: 'dead', lastPid: pid });
  const { code, stdout } = await daemonry(['status', name]);
  t.is(code, 1);
  t.regex(stdout, /is dead: it ended with the machine or the container/);
  t.deepEqual(await kinds(name), ['start', 'up', 'exit']);

  const next = await sleeper(name);
  reboot(name);
  await kill(next);
  await sleeper(name);
  const events = await eventsOf(name);
  t.deepEqual(
    events.map(({ event }) => event),
    ['start', 'up', 'exit', 'start', 'up', 'exit', 'start', 'up'],
  );
  t.like(events[5], { reason: 'lost', unseen: true });
});

testAlone('a program in the foreground keeps its journal itself', async (t) => {
  const { name, foreground, noted, lines, ok, options } = alone(t);
  const program = `daemonize({ name: '${name}' }, (daemon) => {
    forever();
    daemon.onStop(() => note('stops'));
    setImmediate(() => note('up'));
  });`;
  const { child, done } = await foreground(program, options);
  await until('it is up', () => lines().length === 2);
  child.kill('SIGTERM');
  await noted('stops');
  await done;
  t.is(lines().length, 3);
  const events = (await ok('events', '--json', name)).trimEnd().split('\n');
  const [begun, up, exit] = events.map((line) => JSON.parse(line) as object);
  t.like(begun, { event: 'start' });
  t.like(up, { event: 'up', pid: child.pid! });
  t.like(exit, { event: 'exit', pid: child.pid!, reason: 'stopped', exitCode: 0 });
});

testUnless(noOtherUser)(
  'a daemon of another user cannot write the journal, and root adds what it has said',
  async (t) => {
    const name = named(t);
    const { launch, write, at } = bench(t);
    chmodSync(at('.'), 0o755);
    const { code, stderr } =
      await launch(`daemonize({ name: '${name}', user: ${nobody.uid}, group: ${nobody.gid}, groups: [] }, () => {
    const journal = '${journalOf(name)}';
    exists('go').then(() => {
      try { fs.appendFileSync(journal, 'mine\\n'); } catch { throw new Error('no luck'); }
    });
  });`);
    t.is(code, 0, stderr);
    write('', 'go');
    await until('it has ended', async () => (await daemonStatus(name)).state === 'dead');
    t.is(lines(name).length, 3);
    t.like((await eventsOf(name))[2], { event: 'exit', reason: 'crashed', exitCode: 1, lastWords: 'Error: no luck' });
    t.is(statSync(journalOf(name)).uid, 0);
    t.deepEqual(await kinds(name), ['start', 'up', 'exit']);
  },
);

test('a journal that cannot be written makes no start and no stop fail, and stderr says so', async (t) => {
  const name = named(t);
  await sleeper(name);
  await stopDaemon(name);
  rmSync(journalOf(name));
  mkdirSync(journalOf(name));
  t.teardown(() => rmSync(journalOf(name), { recursive: true }));
  for (const command of [
    ['start', '--name', name, '--alive-for', '1', 'sleep', '1000'],
    ['stop', name],
  ]) {
    const { code, stderr } = await daemonry(command);
    t.is(code, 0, stderr);
    t.regex(stderr, /^daemonry: note: an event was not recorded: cannot write the journal \S+\.jsonl: .* \(\w+\)\n$/);
  }
});

testOnLinux(
  'a stop that finds the journal locked tries for an instant, sends its signal, and reports what is missing',
  async (t) => {
    const name = named(t);
    const { at } = bench(t);
    const pid = await sleeper(name);
    const holder = start('flock', ['--no-fork', journalOf(name), 'sh', '-c', `: >'${at('held')}'; exec sleep 1000`]);
    await until('it is locked', () => existsSync(at('held')));
    const traced = ['-f', '-qq', '-o', at('calls'), '-e', 'trace=flock,pidfd_send_signal'];
    const { code, stderr } = await run('strace', [...traced, process.execPath, main, 'stop', name]);
    holder.child.kill('SIGKILL');
    await holder.done;
    t.is(code, 0, stderr);
    t.regex(
      stderr,
      /^daemonry: note: an event was not recorded: cannot write the journal \S+\.jsonl: .* \(EAGAIN\)\n$/,
    );
    const [before, ...signals] = read(at('calls')).split(/pidfd_send_signal\(\d+, SIGTERM/);
    t.true(signals.length > 0);
    // One every 2 ms: for 200 ms at most, and other processes wait for the decision meanwhile.
    const tries = before!.match(/ = -1 EAGAIN/g)!.length;
    t.true(tries >= 1 && tries <= 101, String(tries));
    t.true(hasEnded(pid));
    // Only the request is missing: the end is written down by the next who looks.
    t.deepEqual(await kinds(name), ['start', 'up', 'exit']);
    t.like((await eventsOf(name)).at(-1), { pid, reason: 'stopped', by: { uid: process.getuid!() } });
  },
);

for (const how of ['replaced', 'crashed'] as const) {
  testUnless(isRoot ? noOwnMounts : 'only root has a directory of its own for locks')(
    `a daemon whose lock lies where locks lay while /run was read-only, and that is ${how} by a start`,
    async (t) => {
      const name = named(t);
      const { at } = bench(t);
      // A helper without its environment is known only while the main process lives.
      const helper = how === 'crashed' ? 'sleep 1000' : 'env -i sleep 1000';
      writeFileSync(at('main.sh'), `${helper} & echo $$ $! >pids.new; mv pids.new pids; wait`);
      const script = `
        mkdir -p /run/daemonry && mount -t tmpfs -o size=1m,mode=755 tmpfs /run/daemonry && mount -o remount,ro /run/daemonry || exit 90
        "$@" start --name ${name} --cwd ${at('.')} sh main.sh || exit 91
        while ! [ -e ${at('pids')} ]; do sleep 0.05; done
        [ -e /run/daemonry/locks ] && exit 92
        mount -o remount,rw /run/daemonry || exit 93
        read main helper <${at('pids')}
        [ ${how} = crashed ] && kill -KILL $main
        "$@" start --name ${name} --replace sleep 1000 || exit 94
        grep -q '^State:.[RSD]' /proc/$helper/status && { kill -KILL $helper; exit 95; }
        "$@" stop ${name}`;
      const [command, ...args] = [...ownMounts, 'sh', '-c', script, 'sh', process.execPath, main];
      const { code, stdout, stderr } = await run(command!, args);
      t.is(code, 0, `${stdout}${stderr}`);
      const events = await eventsOf(name);
      const seen = events.map(({ event }) => event).join(' ');
      t.is(seen, `start up ${how === 'crashed' ? 'exit cleanup' : 'restart exit'} start up stop exit`);
      t.like(events[3], how === 'crashed' ? { othersEnded: 1 } : { reason: 'replaced', by: { uid: 0 } });
      t.like(events[how === 'crashed' ? 2 : 3], { unseen: how === 'crashed' || undefined });
    },
  );
}

testUnless(isRoot ? noOwnMounts : 'only root has a directory of its own for journals')(
  'a full disk makes no stop fail, and leaves no part of a line',
  async (t) => {
    const name = named(t);
    const script = `
      for place in /var/lib/daemonry /run/daemonry; do
        mkdir -p $place && mount -t tmpfs -o size=256k,mode=755 tmpfs $place || exit 90
      done
      "$@" start --name ${name} --alive-for 1 sleep 1000 || exit 91
      dd if=/dev/zero bs=1 count=$((4090 - $(stat -c %s ${journalOf(name)}))) 2>/dev/null | tr '\\0' '\\n' >>${journalOf(name)}
      for place in /var/lib/daemonry /run/daemonry; do dd if=/dev/zero of=$place/fill bs=4096 2>/dev/null; done
      "$@" stop ${name} || exit 92
      echo; cat ${journalOf(name)}`;
    const [command, ...args] = [...ownMounts, 'sh', '-c', script, 'sh', process.execPath, main];
    const { code, stdout, stderr } = await run(command!, args);
    t.is(code, 0, `${stdout}${stderr}`);
    t.regex(stderr, /^daemonry: note: an event was not recorded: .*No space left on device \(ENOSPC\)\n$/);
    t.regex(stdout, /stopped \(pid \d+\)\n\n(\{.*\}\n){2}\n*$/);
  },
);

test('the command prints an event a line, of one daemon, of several or of all, and JSON', async (t) => {
  const [one, other] = [named(t), named(t)];
  const pid = await sleeper(one);
  await sleeper(other);
  await stopDaemon(one);
  const { stdout, stderr, code } = await daemonry(['events', one]);
  t.is(code, 0, stderr);
  const time = String.raw`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`;
  const expected = [
    `start    by \\w+.*: .*ava.*`,
    `up       pid ${pid}`,
    `stop     pid ${pid} with SIGTERM by \\w+.*: .*`,
    `exit     pid ${pid} was stopped by \\w+.*`,
  ];
  t.regex(stdout, new RegExp(`^${expected.map((line) => `${time}  ${one}  ${line}\n`).join('')}$`));

  const both = (await daemonry(['events', '--json', one, other])).stdout.trimEnd().split('\n');
  const parsed = both.map((line) => JSON.parse(line) as { at: string; name: string; event: string });
  t.deepEqual(
    parsed.map(({ name, event }) => `${name === one ? 'one' : 'other'} ${event}`),
    ['one start', 'one up', 'other start', 'other up', 'one stop', 'one exit'],
  );
  for (const line of parsed)
    t.deepEqual(
      Object.keys(line).filter((key) => ['start', 'machine'].includes(key)),
      [],
    );
  const all = (await daemonry(['events', '--json'])).stdout;
  for (const name of [one, other]) t.true(all.includes(`"name":"${name}"`));
});

test('a daemon that was never started has no journal, nor has one with only a pidfile', async (t) => {
  const name = named(t);
  const { code, stdout, stderr } = await daemonry(['events', name]);
  t.deepEqual([code, stdout], [6, '']);
  t.is(stderr, `daemonry: there is no journal of ${name}: no daemon of that name has been started\n`);
  t.deepEqual(await eventsOf(name), []);

  const { at, daemon, pidFile, entries } = bench(t);
  await daemon(`daemonize(options, forever);`);
  await stopDaemon({ pidFile });
  t.deepEqual(
    entries().filter((file) => file.includes('json')),
    [],
    at('.'),
  );
  t.throws(() => daemonEvents({ pidFile } as never), {
    code: 'ERR_INVALID_OPTION',
    message: "only a named daemon has a journal: give the daemon's name",
  });
  t.throws(() => daemonEvents('a/b'), { code: 'ERR_INVALID_OPTION' });
  t.throws(() => daemonEvents(name, { follow: 1 } as never), { code: 'ERR_INVALID_OPTION' });
  t.throws(() => daemonEvents(name, { signal: {} } as never), { code: 'ERR_INVALID_OPTION' });
  t.throws(() => daemonEvents(name, { since: 1 } as never), { code: 'ERR_INVALID_OPTION' });
});

/** `daemonry events -f`, and waiting for what it prints. */
function follow(t: ExecutionContext, args: readonly string[], options?: RunOptions) {
  const { child, done } = startDaemonry(['events', '-f', ...args], options);
  t.teardown(() => child.kill('SIGKILL'));
  let text = '';
  child.stdout!.on('data', (chunk: string) => (text += chunk));
  return { child, done, printed: (what: RegExp) => until(`${what} is printed`, () => what.exec(text)) };
}

testAlone('events -f goes on with what happens later, also with ends that nothing else notices', async (t) => {
  const { name, ok, options } = alone(t);
  const begin = () => ok('start', '--name', name, '--alive-for', '1', 'sleep', '1000');
  await begin();
  const { child, done, printed } = follow(t, [name], options);
  const [, pid] = await printed(/  up       pid (\d+)\n$/);
  await kill(Number(pid));
  await printed(new RegExp(`  exit     pid ${pid} ended, and no process saw how\n$`));
  await begin();
  const [, next] = await printed(/  start    [^\n]*\n[^\n]*  up       pid (\d+)\n$/);
  t.not(next, pid);
  child.kill('SIGINT');
  const { signal, stderr, stdout } = await done;
  t.is(signal, 'SIGINT');
  t.is(stderr, '');
  t.is(stdout.split('\n').length - 1, 5);
});

testOnLinux('events -f asks for the state of a daemon only if there is a reason', async (t) => {
  const name = named(t);
  const pid = await sleeper(name);
  const { at } = bench(t);
  const calls = ['-f', '-qq', '-e', 'trace=openat,statx', '-o', at('calls'), process.execPath, main];
  const { child, done } = start('strace', [...calls, 'events', '-f', name]);
  let text = '';
  child.stdout!.on('data', (chunk: string) => (text += chunk));
  await until('it has printed the start', () => text.includes(`  up       pid ${pid}\n`));
  // strace itself hears of no signal while it writes to a file.
  const traced = () => Number(/^\d+/.exec(read(at('calls')))?.[0]);
  t.teardown(() => done.catch(() => {}));
  t.teardown(() => traced() > 0 && child.exitCode === null && process.kill(traced(), 'SIGKILL'));
  const made = (call: RegExp) => read(at('calls')).match(call)?.length ?? 0;
  const checks = () => made(new RegExp(`statx\\(.*"${journalOf(name)}"`, 'g'));
  const looks = () => made(/openat\(.*\.lock"/g);
  const isQuiet = async () => {
    const [checked, looked] = [checks(), looks()];
    await until('it has checked ten times more', () => checks() >= checked + 10);
    return looks() === looked;
  };
  t.true(looks() > 0);
  // What it has noticed itself is a reason, once.
  await until('nothing is left to be noticed', isQuiet);
  await kill(pid);
  await until('its end is printed', () => text.includes(`  exit     pid ${pid} ended`));
  await until('nothing is left to be noticed', isQuiet);
});

test('a daemon that is forgotten has no journal any more, and events -f goes on with the next one', async (t) => {
  const name = named(t);
  const first = await sleeper(name);
  const { child, done, printed } = follow(t, [name]);
  await stopDaemon(name);
  await printed(new RegExp(`  exit     pid ${first} was stopped by [^\n]*\n$`));
  t.is((await forgetDaemon(name)).outcome, 'forgotten');
  t.false(existsSync(journalOf(name)));
  const last = await sleeper(name);
  await printed(new RegExp(`  start    [^\n]*\n[^\n]*  up       pid ${last}\n$`));
  child.kill('SIGINT');
  t.is((await done).stdout.split('\n').length - 1, 4 + 2);
});

test('events -f without a name shows daemons that are started later', async (t) => {
  const name = named(t);
  const { child, done, printed } = follow(t, ['--json']);
  const pid = await sleeper(name);
  await printed(new RegExp(`"name":"${name}",.*"event":"up","pid":${pid}\\}\n`));
  child.kill('SIGINT');
  t.is((await done).stderr, '');
});

test('an iteration over events ends with a break or an abort', async (t) => {
  const name = named(t);
  const pid = await sleeper(name);
  for await (const { event } of daemonEvents(name, { follow: true })) {
    if (event === 'up') break;
  }
  const controller = new AbortController();
  const seen: string[] = [];
  for await (const event of daemonEvents([name], { follow: true, signal: controller.signal })) {
    seen.push(event.event);
    if (event.event === 'up') await kill(pid);
    // While the iteration waits.
    if (event.event === 'exit') setImmediate(() => controller.abort());
  }
  t.deepEqual(seen, ['start', 'up', 'exit']);
  t.deepEqual(await eventsOf(name, { signal: AbortSignal.abort() }), []);
});

testUnless(noOtherUser)("another user does not read root's journal", async (t) => {
  const name = named(t);
  await sleeper(name);
  const { at } = bench(t);
  chmodSync(at('.'), 0o777);
  const options = { uid: nobody.uid, gid: nobody.gid, cwd: '/', env: { ...process.env, HOME: at('.') } };
  const asked = await daemonry(['events', name], options);
  t.is(asked.code, 4, asked.stderr);
  t.regex(asked.stderr, /^daemonry: cannot read the journal .*\.jsonl: .*\(EACCES\)\n$/);
  const all = await daemonry(['events'], options);
  t.deepEqual([all.code, all.stdout, all.stderr], [0, '', '']);
});

test('what lies in the place of a journal and is none says nothing', async (t) => {
  const name = named(t);
  const pid = await sleeper(name);
  const own = readFileSync(journalOf(name), 'utf8');
  const noise = [
    '{"at":"never","event":"exit"}',
    '{}',
    'null',
    '[1',
    `{"at":"2026-11-30T09:00:00.000Z","event":"exit","start":"a"}`,
  ];
  writeFileSync(journalOf(name), `${noise.join('\n')}\n${own}${noise[0]}`);
  t.deepEqual(await kinds(name), ['start', 'up']);
  await kill(pid);
  t.deepEqual(await kinds(name), ['start', 'up', 'exit']);
});
