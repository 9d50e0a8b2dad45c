/** The `daemonry` command, as an operator uses it. */
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { daemonPaths, daemonStatus, stopDaemon } from '../../dist/index.js';
import { bench } from '../helpers/bench.js';
import { daemonry, fails, main, ok, startDaemonry } from '../helpers/command.js';
import { read } from '../helpers/files.js';
import { named } from '../helpers/named.js';
import { isRoot, nobody, noOtherUser, testOnLinux, testUnless } from '../helpers/privileges.js';
import { environmentOf, statusField } from '../helpers/processes.js';
import { run, start, type RunOptions } from '../helpers/run.js';
import { pidOf } from '../helpers/status.js';
import { until } from '../helpers/until.js';
import { workspace } from '../helpers/workspace.js';

const document = readFileSync(new URL('../../docs/command-line.md', import.meta.url), 'utf8');
/** Pids and times become the same, whatever they are; so do widths of columns, and the system's daemons go. */
const masked = (text: string) =>
  text
    .replaceAll(/^(?!app )\S+ +(running|starting|stopping|dead|stopped|unknown)\b.*\n/gm, '')
    .replaceAll(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/g, 'TIME')
    .replaceAll(/pid \d+/g, 'pid PID')
    .replaceAll(/(TIME by) \S+( \(login uid \d+\))?/g, '$1 USER')
    .replaceAll(/^(app +running +)\d+/gm, '$1PID')
    .replaceAll(/(\S)  +/g, '$1  ')
    .replaceAll(/ +$/gm, '');

testUnless(isRoot ? noOtherUser : undefined)(
  'the session in the documentation is what an ordinary user sees',
  async (t) => {
    const { at, path } = workspace(t);
    const [, session] = /^```console\n([^]*?)```$/m.exec(document)!;
    const [, program] = /^```js\n([^]*?)```$/m.exec(document)!;
    writeFileSync(at('app.js'), program!);
    mkdirSync(at('bin'));
    symlinkSync(main, at('bin', 'daemonry'));
    chmodSync(path, 0o755);
    if (isRoot) chownSync(path, nobody.uid, nobody.gid);
    const { XDG_STATE_HOME: _, ...environment } = process.env;
    const options: RunOptions = {
      cwd: path,
      // The path by which Node is found, and no directory that this user cannot search.
      env: { ...environment, HOME: path, PATH: `${at('bin')}:/usr/local/bin:/usr/bin:/bin` },
      ...(isRoot ? nobody : {}),
    };
    const shell = async (line: string) => {
      const { stdout, stderr } = await run('sh', ['-c', `exec 2>&1; ${line}`], options);
      return masked((stdout + stderr).replaceAll(path, '/home/you'));
    };
    t.teardown(() => run('sh', ['-c', 'daemonry stop app'], options));

    for (const [, line, expected] of session!.matchAll(/^\$ (.*)\n((?:(?!\$ ).*\n)*)/gm)) {
      // What was written to a log a moment ago.
      if (line!.startsWith('daemonry logs')) {
        await until(`the log holds what ${line} shows`, async () => (await shell(line!)) === masked(expected!)).catch(
          () => {},
        );
      }
      t.is(await shell(line!), masked(expected!), line);
    }
  },
);

test('start, status and stop tell machines the same in JSON', async (t) => {
  const name = named(t);
  const started = JSON.parse(await ok(t, 'start', '--json', '-n', name, 'sleep', '100'));
  const { pidFile, logFile } = daemonPaths(name);
  t.deepEqual(started, { name, outcome: 'started', pid: started.pid, pidFile, logFile });
  t.like(JSON.parse(await ok(t, 'start', '--json', '-n', name, 'sleep', '100')), {
    outcome: 'reused',
    pid: started.pid,
  });
  const found = JSON.parse(await ok(t, 'status', '--json', name));
  t.like(found, { name, pidFile, state: 'running', pid: started.pid });
  t.like(found.record, { program: 'sleep', arguments: ['sleep', '100'], method: 'spawnDaemon' });
  t.true((JSON.parse(await ok(t, 'list', '--json')) as { name: string }[]).some((daemon) => daemon.name === name));
  t.deepEqual(JSON.parse(await ok(t, 'signal', '--json', 'cont', name)), {
    name,
    signal: 'SIGCONT',
    pid: started.pid,
  });
  t.deepEqual(JSON.parse(await ok(t, 'stop', '--json', name)), { name, outcome: 'stopped', pid: started.pid });
  t.deepEqual(JSON.parse(await ok(t, 'stop', '--json', name)), { name, outcome: 'not-running' });
});

test('a wrong command line is told in one sentence, with exit code 2', async (t) => {
  await fails(t, 2, 'unknown command "frobnicate": see daemonry --help', 'frobnicate');
  await fails(t, 2, 'unknown option --frob: see daemonry start --help', 'start', '--frob', 'a', 'sleep');
  await fails(t, 2, 'unknown option -x: see daemonry stop --help', 'stop', '-x', 'a');
  await fails(t, 2, '--lines needs a value: --lines N', 'logs', 'a', '--lines');
  await fails(t, 2, "option '--json' does not take an argument: see daemonry stop --help", 'stop', '--json=x', 'a');
  await fails(t, 2, 'no program is given: daemonry start [OPTIONS] [--] PROGRAM [ARGUMENT…]', 'start');
  await fails(t, 2, 'no daemon is given: daemonry stop [OPTIONS] NAME… | --all | -p FILE', 'stop');
  await fails(t, 2, 'unexpected argument "b"', 'list', 'b');
  await fails(t, 2, 'give a name or --pid-file, not both', 'stop', '-p', '/tmp/a', 'b');
  await fails(t, 2, /^daemonry: a daemon's name must be .*, not "a b"\n$/, 'stop', 'a b');
  await fails(
    t,
    2,
    /^daemonry: a daemon's name must be .*: a path is given as the pidfile/,
    'start',
    '-n',
    'a/b',
    'sleep',
  );
  await fails(t, 2, '"a b" cannot be a daemon\'s name: give one with --name', 'start', './a b');
  await fails(t, 2, '--lines must be a whole number, not "1s"', 'logs', '-n', '1s', 'a');
  await fails(t, 2, '--umask must be an octal number up to 777, not "8"', 'start', '--umask', '8', 'sleep');
  await fails(t, 2, '--umask must be an octal number up to 777, not "7777"', 'start', '--umask', '7777', 'sleep');
  await fails(t, 2, '--nice must be a whole number, not "much"', 'start', '--nice', 'much', 'sleep');
  await fails(t, 2, '--limit must be NAME=VALUE, not "nofile"', 'start', '--limit', 'nofile', 'sleep');
  const few = '--limit nofile must be a whole number or unlimited, not "few"';
  await fails(t, 2, few, 'start', '--limit', 'nofile=few', 'sleep');
  const nowhere = '--listen must name a port, HOST:PORT or a path with a slash, not "here"';
  await fails(t, 2, nowhere, 'start', '--listen', 'http=here', 'sleep');
  await fails(t, 2, '--env must be NAME=VALUE, not "A"', 'start', '-e', 'A', 'sleep');
  await fails(t, 2, '"FOO" is not the name of a signal', 'signal', 'FOO', 'a');
  await fails(t, 2, 'no signal is given: daemonry signal [OPTIONS] SIGNAL NAME… | -p FILE SIGNAL', 'signal');
  const nothing = await daemonry([]);
  t.is(nothing.code, 2);
  t.regex(nothing.stdout, /^Usage: daemonry COMMAND/);
});

test('a message spells the options as the command does', async (t) => {
  const most = 2_147_483_647;
  for (const [sentence, ...args] of [
    [`--wait must be 'exec', 'start' or 'ready', not "up"`, '-w', 'up'],
    [`--kill-mode must be 'session' or 'process', not "all"`, '--kill-mode', 'all'],
    ['--alive-for (1000) must be less than --timeout (10)', '-t', '10'],
    [`--timeout must be at most ${most} milliseconds (24 days), not ${most + 1}`, '-t', `${most + 1}`],
    [`--stop-timeout must be at most ${most} milliseconds (24 days), not ${most + 1}`, '--stop-timeout', `${most + 1}`],
    ['--nice must be an integer from -20 to 19, not 80', '--nice', '80'],
    ['--user must be a user\'s name or number, not ""', '--user', ''],
    ['--log must be a path, not ""', '--log', ''],
    ['--pid-file must be a path, not ""', '--pid-file', ''],
    ['the port of --listen http must be an integer from 0 to 65535, not 99999', '--listen', 'http=99999'],
    ['--listen has an impossible name: "a b"', '--listen', 'a b=80'],
  ] as const) {
    await fails(t, 2, sentence, 'start', ...args, 'sleep', '1');
  }
  const unknown = /^daemonry: --limit foo is not a resource of this platform, which has as, /;
  await fails(t, 2, unknown, 'start', '--limit', 'foo=1', 'sleep', '1');
  await fails(t, 2, '--pid-file must be a path, not ""', 'stop', '-p', '');
});

test('a slip of the fingers, or the word of another tool, is answered by what was meant', async (t) => {
  for (const [given, meant] of [
    ['strat', 'start'],
    ['stpo', 'stop'],
    ['statu', 'status'],
    ['ls', 'list'],
    ['ps', 'list'],
    ['delete', 'forget'],
    ['kill', 'stop'],
    ['describe', 'status'],
  ] as const) {
    await fails(t, 2, `unknown command "${given}": did you mean daemonry ${meant}?`, given, 'a');
  }
  await fails(t, 2, 'unknown command "constructor": see daemonry --help', 'constructor');
  await fails(t, 2, 'unknown option --nme: did you mean --name?', 'start', '--nme', 'a', 'sleep');
  await fails(t, 2, 'unknown option --tail: did you mean --lines?', 'logs', '--tail', '5', 'a');
  await fails(t, 2, 'unknown option --time: did you mean --timeout?', 'stop', '--time', '5', 'a');
  await fails(t, 2, 'unknown option --tail: see daemonry stop --help', 'stop', '--tail', 'a');
});

test('every command has a help that fits a screen', async (t) => {
  const overview = await ok(t, '--help');
  for (const name of ['start', 'stop', 'restart', 'reload', 'signal', 'status', 'logs', 'list', 'forget']) {
    t.regex(overview, new RegExp(`^  ${name} +[A-Z]`, 'm'));
    const help = await ok(t, name, '--help');
    t.is(await ok(t, 'help', name), help);
    t.regex(help, new RegExp(`^Usage: daemonry ${name} `));
    const lines = help.split('\n');
    t.true(lines.length <= 30 && lines.every((line) => line.length <= 100), `${name}:\n${help}`);
  }
  t.regex(await ok(t, '--version'), /^\d+\.\d+\.\d+\n$/);
});

test('status tells by its exit code what init scripts tell', async (t) => {
  const { at } = workspace(t);
  const pidFile = at('a.pid');
  const code = async () => (await daemonry(['status', '-p', pidFile])).code;
  t.is(await code(), 3);
  await ok(t, 'start', '-p', pidFile, 'sleep', '100');
  t.teardown(() => stopDaemon({ pidFile }));
  t.is(await code(), 0);
  const { pid } = (await daemonStatus({ pidFile })) as { pid: number };
  process.kill(pid, 'SIGKILL');
  await until('it is dead', async () => (await code()) === 1);
  t.regex(
    (await daemonry(['status', '-p', pidFile])).stdout,
    new RegExp(`is dead: it ended, and no process saw how; its pid was ${pid}\n`),
  );
  // A pidfile that another program has locked, and that no daemon of ours was ever started with.
  writeFileSync(at('b.pid'), '');
  const stranger = start('sh', ['-c', 'exec 9<>"$1"; flock 9; exec sleep 100', 'sh', at('b.pid')]);
  t.teardown(() => stranger.child.kill());
  await until('it is unknown', async () => (await daemonry(['status', '-p', at('b.pid')])).code === 4);
  stranger.child.kill();
  writeFileSync(pidFile, 'hello');
  t.is(await code(), 4);
  t.is((await daemonry(['status', 'a b'])).code, 4);
  writeFileSync(pidFile, '');
});

test('what is missing, not permitted or not running has its own exit code', async (t) => {
  const name = named(t);
  await fails(t, 7, /^daemonry: no daemon named \S+ is running \(looked at /, 'reload', name);
  await fails(t, 7, /is running/, 'signal', 'TERM', name);
  await fails(
    t,
    6,
    /^daemonry: there is no log of \S+: it has no record, and there is no \S+\.log or \S+\.log\n$/,
    'logs',
    name,
  );
  await fails(t, 6, /^daemonry: there is no record of how \S+ is started: no daemon of that name has/, 'restart', name);
  // What takes a record takes a name.
  for (const [command, why] of [
    ['restart', 'only a named daemon has a record of how it was started'],
    ['logs', 'only a named daemon has its log on record'],
    ['events', 'only a named daemon has a journal'],
    ['unit', 'only a named daemon has a record of how it was started'],
  ] as const) {
    const refusal = `daemonry ${command} takes a name, not a pidfile: ${why}`;
    await fails(t, 2, refusal, command, '-p', '/tmp/no.pid');
    await fails(t, 2, refusal, command, '--pid-file=/tmp/no.pid');
    if (command !== 'events')
      await fails(t, 2, /^daemonry: no daemon is given: daemonry \w+ \[OPTIONS\] NAME/, command);
  }
  await fails(t, 5, /cannot execute \/no-such-program: No such file/, 'start', '-n', name, '/no-such-program');
  await fails(
    t,
    5,
    /^daemonry: cannot read the script \/no-such\.js: No such file/,
    'start',
    '-n',
    name,
    '/no-such.js',
  );
  await fails(t, 1, /exited with code 3 before it was up\n$/, 'start', '-n', name, 'sh', '-c', 'exit 3');
  const { stdout, code } = await daemonry(['stop', name]);
  t.deepEqual([stdout, code], [`${name} is not running\n`, 0]);
  // Nothing of all that is left.
  t.is((await daemonStatus(name)).state, 'stopped');
});

testUnless(noOtherUser)('what belongs to another user is not permitted', async (t) => {
  const name = named(t);
  await ok(t, 'start', '-n', name, 'sleep', '100');
  const options = { ...nobody, env: { ...process.env, XDG_STATE_HOME: '/nonexistent/state' } };
  const code = async (...args: string[]) => (await daemonry(args, options)).code;
  t.is(await code('status', name), 0);
  t.is(await code('stop', name), 4);
  t.is(await code('signal', 'TERM', name), 4);
  t.is(await code('start', '-p', daemonPaths(name).pidFile, 'sleep', '100'), 1);
  const { stderr } = await daemonry(['start', '-n', name, 'sleep', '100'], options);
  t.regex(stderr, /^daemonry: cannot make the directory \/nonexistent: .*\(E[A-Z]+\)\n$/);
  t.like(await daemonStatus(name), { state: 'running' });
});

test('options end at the program, and start gives it what it was told to', async (t) => {
  const { at, path } = workspace(t);
  const name = named(t);
  const said = at('said');
  const script = 'echo "$PWD $TOLD $(umask) $*" >"$SAID"; exec sleep 100';
  const args = ['-e', 'TOLD=a=b', '-e', `SAID=${said}`, '--umask', '027', '-C', '.', '-l', 'log'];
  const command = ['start', '-n', name, ...args, '--', 'sh', '-c', script, '--json', '-n', 'x'];
  t.like(await daemonry(command, { cwd: path }), { code: 0, stderr: '' });
  await until('it has spoken', () => read(said) !== '');
  t.is(read(said), `${path} a=b 0027 -n x\n`);
  t.true(existsSync(at('log')));

  await ok(t, 'stop', name);
  writeFileSync(said, '');
  const { stdout } = await daemonry(['restart', name], { cwd: '/', env: { ...process.env, TOLD: 'other' } });
  t.regex(stdout, new RegExp(`^${name} started with pid \\d+\n$`));
  await until('it has spoken again', () => read(said) !== '');
  t.is(read(said), `${path} a=b 0027 -n x\n`);
});

testOnLinux('start hands over sockets and sets limits, and restart does so again', async (t) => {
  const { at } = workspace(t);
  const name = named(t);
  const listen = ['four=127.0.0.1:0', 'six=[::1]:0', 'any=0', `ctl=${at('ctl.sock')}`].flatMap((one) => [
    '--listen',
    one,
  ]);
  const limits = ['--limit', 'nofile=123', '--limit', 'core=0', '--nice', '4'];
  await ok(t, 'start', '--name', name, ...listen, ...limits, '--', 'sleep', '60');
  const look = async () => {
    const pid = (await pidOf(name))!;
    const variables = environmentOf(pid)!;
    t.true(variables.includes('LISTEN_FDNAMES=four:six:any:ctl'), variables.join('\n'));
    t.true(variables.includes(`LISTEN_PID=${pid}`), variables.join('\n'));
    t.regex(readFileSync(`/proc/${pid}/limits`, 'utf8'), /^Max open files +123 +123 /m);
    t.true(lstatSync(at('ctl.sock')).isSocket());
    return pid;
  };
  const before = await look();
  await ok(t, 'restart', name);
  t.not(await look(), before);
});

test('restart starts a program that makes itself a daemon as it was started; a supervisor has to do so itself', async (t) => {
  const { daemon, foreground, at, path } = bench(t);
  const name = named(t);
  const program = `daemonize({ name: '${name}', onStarted: options.onStarted }, () => { note('up'); forever(); });`;
  const pid = await daemon(program, { cwd: path });
  const { code, stdout, stderr } = await daemonry(['restart', name]);
  t.is(code, 0, stderr);
  const [, own, told] = /^started (\d+)\n\S+ restarted with pid (\d+)\n$/.exec(stdout) ?? [];
  t.is(own, told);
  t.not(Number(own), pid);
  t.like(await daemonStatus(name), { state: 'running', pid: Number(own) });
  await ok(t, 'stop', name);
  writeFileSync(at('notes'), '');
  const { child, done } = await foreground(program);
  await fails(
    t,
    6,
    `${name} was started in the foreground: restart it by the supervisor or shell that started it`,
    'restart',
    name,
  );
  const output = `${name} was started in the foreground: its output goes where its supervisor sends it`;
  await fails(t, 6, output, 'logs', name);
  child.kill();
  await done;
});

test('--replace ends the one that runs; stop kills what does not end, or fails', async (t) => {
  const name = named(t);
  const stubborn = ['sh', '-c', `trap '' TERM; echo deaf; while :; do sleep 0.05; done`];
  await ok(t, 'start', '-n', name, ...stubborn);
  await until('it is deaf', () => read(daemonPaths(name).logFile) === 'deaf\n');
  await fails(
    t,
    1,
    /did not stop within 200 ms: process \d+ is still running\n$/,
    'stop',
    '--no-force',
    '-t',
    '200',
    name,
  );
  t.regex(
    await ok(t, 'stop', '-t', '200', name),
    /did not end in time and was killed \(pid \d+(; 1 other process of its session ended)?\)\n$/,
  );
  const { pid } = JSON.parse(await ok(t, 'start', '--json', '-n', name, 'sleep', '100'));
  const replaced = JSON.parse(await ok(t, 'start', '--json', '--replace', '-n', name, 'sleep', '100'));
  t.is(replaced.outcome, 'replaced');
  t.not(replaced.pid, pid);
  await fails(
    t,
    1,
    /SIGHUP was not sent to pid \d+: the program does not handle it, and would be terminated\n$/,
    'reload',
    name,
  );
});

test('a script that calls daemonize() runs its top level once, and --wait ready tells the truth about it', async (t) => {
  const { write, notes, at, pidFile } = bench(t);
  t.teardown(() => stopDaemon({ pidFile }));
  const script = write(`
    note('top level');
    daemonize({}, async () => { await sleep(50); if (fs.existsSync(at('bad'))) throw new Error('no configuration'); forever(); });
  `);
  await ok(t, 'start', '--wait', 'ready', '-p', pidFile, script);
  t.deepEqual(notes(), ['top level']);
  await ok(t, 'stop', '-p', pidFile);
  write('', 'bad');
  await fails(t, 1, /Error: no configuration/, 'start', '-w', 'ready', '-p', pidFile, '-l', at('log'), script);
  t.false(existsSync(pidFile));
});

testOnLinux('a start that is interrupted is undone, and dies of the signal', async (t) => {
  const { write, noted, pidFile } = bench(t);
  const script = write(`daemonize({}, () => { note('begins'); return never(); });`);
  const { child, done } = startDaemonry(['start', '-w', 'ready', '-p', pidFile, script]);
  await noted('begins');
  t.regex(statusField(child.pid!, 'SigCgt')!, /[37bf]$/);
  child.kill('SIGINT');
  const { signal, stderr } = await done;
  t.is(signal, 'SIGINT');
  t.regex(stderr, /^daemonry: .* did not start: the start was interrupted by SIGINT and rolled back\n$/);
  t.false(existsSync(pidFile));
});

test('logs prints the last lines, and follows through rotation and truncation', async (t) => {
  const { write, at, remove } = bench(t);
  const name = named(t);
  const script = write(`
    daemonize({ name: '${name}' }, async (daemon) => {
      for (let line = 1; line <= 20; line++) console.log('line ' + line);
      daemon.ready();
      for (;;) {
        await exists('say');
        const text = fs.readFileSync(at('say'), 'utf8').split('SAY ')[1];
        fs.rmSync(at('say'));
        console.log(text);
        note(text);
      }
    });
  `);
  await ok(t, 'start', '-w', 'ready', '-n', name, script);
  const { logFile } = daemonPaths(name);
  const numbers = (from: number, to: number) =>
    Array.from({ length: to - from + 1 }, (_, index) => `line ${from + index}\n`).join('');
  t.is(await ok(t, 'logs', name), numbers(11, 20));
  t.is(await ok(t, 'logs', '-n', '2', name), numbers(19, 20));
  t.is(await ok(t, 'logs', '-n', '0', name), '');
  t.is(await ok(t, 'logs', '-n', '100', name), numbers(1, 20));

  const follower = startDaemonry(['logs', '-f', '-n', '1', name]);
  let seen = '';
  follower.child.stdout!.on('data', (text: string) => (seen += text));
  const say = async (text: string) => {
    writeFileSync(at(`${text}.new`), `SAY ${text}`);
    renameSync(at(`${text}.new`), at('say'));
    await until(`${text} is shown`, () => seen.includes(`${text}\n`));
  };
  await until('it shows the last line', () => seen === 'line 20\n');
  await say('one');
  renameSync(logFile, `${logFile}.1`);
  await say('two');
  await ok(t, 'reload', name);
  await until('the log is new', () => existsSync(logFile));
  await say('three');
  writeFileSync(logFile, '');
  // It looks five times a second.
  await sleep(1000);
  await say('four');
  t.is(seen, 'line 20\none\ntwo\nthree\nfour\n');
  follower.child.kill();
  await follower.done;
  remove('notes');
});

const escape = '\u001B';

testOnLinux('colours are for terminals, and NO_COLOR takes them away', async (t) => {
  const name = named(t);
  await ok(t, 'start', '-n', name, 'sleep', '100');
  t.false((await ok(t, 'status', name)).includes(escape));
  const onTerminal = async (env: NodeJS.ProcessEnv) => {
    const { NO_COLOR: _, ...inherited } = process.env;
    const options = { env: { ...inherited, TERM: 'xterm', ...env } };
    return (await run('script', ['-qec', `"${process.execPath}" "${main}" status ${name}`, '/dev/null'], options))
      .stdout;
  };
  t.true((await onTerminal({})).includes(`is ${escape}[32mrunning${escape}[39m with pid`));
  t.false((await onTerminal({ NO_COLOR: '1' })).includes(escape));
});
