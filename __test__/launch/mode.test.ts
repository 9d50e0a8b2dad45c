/** Daemon or foreground: who decides, and whom what is merely inherited does not mislead. */
import { copyFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { daemonStatus } from '../../dist/index.js';
import { bench, type Bench } from '../helpers/bench.js';
import { daemonry } from '../helpers/command.js';
import { read } from '../helpers/files.js';
import { testOnLinux } from '../helpers/privileges.js';
import { descriptors } from '../helpers/processes.js';
import { run, start, type RunOptions } from '../helpers/run.js';
import { until } from '../helpers/until.js';

/** Notes its mode; in the foreground it ends by itself. */
const program = (more = '') => `daemonize({ ...options, ${more} }, ({ mode }) => {
  note(mode);
  if (mode === 'daemon') forever();
});`;

/** Runs a shell, away from any terminal; `$NODE` and `$PROGRAM` are at hand. */
async function shell(t: ExecutionContext, space: Bench, script: string, more = '', options: RunOptions = {}) {
  const variables = { NODE: process.execPath, PROGRAM: space.write(program(more)) };
  t.teardown(() => daemonry(['stop', '--pid-file', space.pidFile]));
  return run('setsid', ['--wait', 'sh', '-c', script], {
    ...options,
    env: { ...process.env, ...options.env, ...variables },
  });
}

/** The same in a terminal of its own. */
function terminal(t: ExecutionContext, space: Bench, script: string, options?: RunOptions) {
  // script(1) runs it by $SHELL, which may have other ideas about job control.
  const command = `SHELL=/bin/sh exec script -qec ${quote(script)} /dev/null`;
  return shell(t, space, command, '', options);
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

const systemd = { INVOCATION_ID: '0'.repeat(32), JOURNAL_STREAM: '9:1234', MANAGERPID: '1' };

for (const [what, env] of [
  ['NOTIFY_SOCKET', { NOTIFY_SOCKET: '/no/such/socket' }],
  ['SYSTEMD_EXEC_PID', { SYSTEMD_EXEC_PID: '1', ...systemd }],
  ['SYSTEMD_EXEC_PID and NOTIFY_SOCKET', { SYSTEMD_EXEC_PID: '1', NOTIFY_SOCKET: '/no/such/socket', ...systemd }],
  ['XPC_SERVICE_NAME', { XPC_SERVICE_NAME: 'org.example.other' }],
  ['PIDFILE and WATCHDOG_USEC', { PIDFILE: '/run/other.pid', WATCHDOG_USEC: '1000000', ...systemd }],
] as const) {
  test(`with a foreign ${what}, in a terminal and without one, it daemonizes`, async (t) => {
    for (const via of [terminal, shell]) {
      const space = bench(t);
      const { code, stdout, stderr } = await (via === terminal
        ? terminal(t, space, '"$NODE" "$PROGRAM"', { env })
        : shell(t, space, '"$NODE" "$PROGRAM"', '', { env }));
      t.is(code, 0, `${stdout}${stderr}`);
      t.regex(stdout, /^started \d+\s*$/);
      t.deepEqual(space.notes(), ['daemon']);
    }
  });
}

for (const [what, script, mode] of [
  ['has executed it', 'SYSTEMD_EXEC_PID=$$ exec "$NODE" "$PROGRAM"', 'foreground'],
  ['has executed its wrapper', 'export SYSTEMD_EXEC_PID=$$; "$NODE" "$PROGRAM"; :', 'foreground'],
  [
    'has executed whoever started its wrapper',
    'export SYSTEMD_EXEC_PID=$$; sh -c \'"$NODE" "$PROGRAM"; :\'; :',
    'daemon',
  ],
] as const) {
  test(`where systemd ${what}: ${mode}`, async (t) => {
    const space = bench(t);
    const { code, stderr } = await shell(t, space, script);
    t.is(code, 0, stderr);
    t.deepEqual(space.notes(), [mode]);
  });
}

test('a shell that somebody sits at may be a service: its jobs daemonize', async (t) => {
  // As in a terminal emulator that systemd runs, or a login on a console.
  for (const [shell, mode] of [
    ['sh', 'foreground'],
    ['sh -m', 'daemon'],
  ] as const) {
    const space = bench(t);
    const job = `exec ${shell} -c ${quote('export SYSTEMD_EXEC_PID=$$; "$NODE" "$PROGRAM"; :')}`;
    const { code, stdout } = await terminal(t, space, job);
    t.is(code, 0, stdout);
    t.deepEqual(space.notes(), [mode], shell);
  }
});

test('a supervisor is known by its name, also behind a script', async (t) => {
  for (const [name, script, mode] of [
    ['runsv', '"$NODE" "$PROGRAM"; :', 'foreground'],
    ['s6-supervise', 'sh -c \'"$NODE" "$PROGRAM"; :\'; :', 'foreground'],
    ['runsvdir', '"$NODE" "$PROGRAM"; :', 'daemon'],
  ] as const) {
    const space = bench(t);
    // The kernel names a process by its file.
    copyFileSync('/bin/sh', space.at(name));
    const { code, stderr } = await shell(t, space, `exec ${space.at(name)} -c ${quote(script)}`, '', { cwd: '/' });
    t.is(code, 0, stderr);
    t.deepEqual(space.notes(), [mode], name);
  }
});

for (const [variable, option, mode] of [
  ['', 'foreground', 'foreground'],
  ['auto', 'foreground', 'daemon'],
  ['daemon', 'foreground', 'daemon'],
  ['foreground', 'daemon', 'foreground'],
  ['foreground', 'auto', 'foreground'],
] as const) {
  test(`DAEMONRY_MODE='${variable}' with the option mode '${option}': ${mode}`, async (t) => {
    const space = bench(t);
    const env = { DAEMONRY_MODE: variable };
    const { code, stderr } = await shell(t, space, '"$NODE" "$PROGRAM"', `mode: '${option}'`, { env });
    t.is(code, 0, stderr);
    t.deepEqual(space.notes(), [mode]);
  });
}

test("mode: 'daemon' makes one also of a service of systemd", async (t) => {
  const space = bench(t);
  const { code, stderr } = await shell(t, space, 'SYSTEMD_EXEC_PID=$$ exec "$NODE" "$PROGRAM"', `mode: 'daemon'`);
  t.is(code, 0, stderr);
  t.deepEqual(space.notes(), ['daemon']);
});

testOnLinux('in the foreground it is starting until main has settled, and says then that it is up', async (t) => {
  const { write, at, path, pidFile } = bench(t);
  const PROGRAM = write(`daemonize(options, async () => { await exists('go'); forever(); });`);
  const script = 'exec 7>up; exec "$NODE" "$PROGRAM"';
  const env = { ...process.env, NODE: process.execPath, PROGRAM, DAEMONRY_MODE: 'foreground', DAEMONRY_NOTIFY_FD: '7' };
  const { child, done } = start('sh', ['-c', script], { cwd: path, env });
  await until('it starts', async () => (await daemonStatus({ pidFile })).state === 'starting');
  t.like(await daemonStatus({ pidFile }), { state: 'starting', pid: child.pid! });
  t.is(read(at('up')), '');
  await run('touch', [at('go')]);
  await until('it is up', async () => (await daemonStatus({ pidFile })).state === 'running');
  await until('it has said so', () => read(at('up')) === '\n');
  t.false(descriptors(child.pid!).has(7), 'closed, as nobody else is to write there');
  child.kill();
  await done;
  t.is(read(at('up')), '\n');
});

for (const value of ['x', '-1', '99', '1.5']) {
  test(`DAEMONRY_NOTIFY_FD=${value} is refused`, async (t) => {
    const space = bench(t);
    const env = { DAEMONRY_NOTIFY_FD: value, DAEMONRY_MODE: 'foreground' };
    const { code, stderr } = await shell(t, space, '"$NODE" "$PROGRAM"', '', { env });
    t.is(code, 1);
    const sentence = `the variable DAEMONRY_NOTIFY_FD must be the number of an open descriptor, not "${value}"`;
    t.is(stderr, `program.mjs: ${sentence}\n`);
    t.deepEqual(space.entries(), ['program.mjs']);
  });
}

test('what a foreground service starts sees nothing of its supervisor', async (t) => {
  const space = bench(t);
  const more = `mode: 'foreground' }, () => { console.log(JSON.stringify({ ...process.env })) }); void ({`;
  const env = {
    ...systemd,
    SYSTEMD_EXEC_PID: '1',
    NOTIFY_SOCKET: '/no',
    XPC_SERVICE_NAME: 'x',
    FDSTORE: '1',
    PIDFILE: '/x',
  };
  const { stdout, stderr } = await shell(t, space, '"$NODE" "$PROGRAM"', more, { env });
  const left = Object.keys(JSON.parse(stdout.split('\n')[0]!) as object);
  t.is(stderr, '');
  // The journal is where its output goes, whoever writes it.
  t.deepEqual(left.filter((name) => name in env).sort(), ['INVOCATION_ID', 'JOURNAL_STREAM']);
});
