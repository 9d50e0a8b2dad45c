/** Under a real systemd: every type of service, from its start to its end. */
import { statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import anyTest, { type ExecutionContext } from 'ava';
import { seen } from '../helpers/cells.js';
import { boot, noMachine, type Machine } from '../helpers/machine.js';
import { testUnless } from '../helpers/privileges.js';
import { keepAsking } from '../helpers/keep-alive.js';
import { ask, askJson, freePort, underLoad } from '../helpers/requests.js';
import { until } from '../helpers/until.js';

const test = testUnless(noMachine);
const restarts = Number(process.env['DAEMONRY_TEST_ROUNDS'] ?? 10);
let machine: Machine;

anyTest.before(async () => {
  if (noMachine !== undefined) return;
  const flags = ['--unit=basic.target', '--log-target=journal', '--show-status=false'];
  machine = await boot(['/usr/lib/systemd/systemd', ...flags]);
  await until('systemd has booted', async () =>
    /^(running|degraded)/.test((await systemctl('is-system-running')).stdout),
  );
});

anyTest.after.always(() => machine?.end());

function systemctl(...args: string[]) {
  return machine.run('systemctl', args);
}

let count = 0;

/** A unit that runs the fixture; its name. */
async function unit(
  t: ExecutionContext,
  service: Readonly<Record<string, string>>,
  options: object = {},
  behaviour: object = {},
): Promise<string> {
  const name = `service${++count}`;
  const { ExecStart = command({ name, ...options }, behaviour), ...others } = service;
  const lines = Object.entries({ ExecStart, ...others }).map(([key, value]) => `${key}=${value}`);
  machine.write(`/etc/systemd/system/${name}.service`, ['[Service]', ...lines, ''].join('\n'));
  await systemctl('daemon-reload');
  t.teardown(async () => {
    await systemctl('stop', `${name}.socket`);
    await systemctl('kill', '--signal=KILL', name);
    await systemctl('stop', name);
  });
  return name;
}

function command(options: object, behaviour: object = {}): string {
  const words = [options, behaviour].map((words) => `'${JSON.stringify(words)}'`);
  return `/usr/local/bin/node /srv/daemonry/__test__/fixtures/supervised.mjs ${words.join(' ')}`;
}

async function show(name: string): Promise<Record<string, string>> {
  const { stdout } = await systemctl('show', name);
  return Object.fromEntries(
    stdout.split('\n').map((line) => [line.split('=', 1)[0], line.slice(line.indexOf('=') + 1)]),
  );
}

async function started(t: ExecutionContext, name: string): Promise<Record<string, string>> {
  const { code, stderr } = await systemctl('start', name);
  t.is(code, 0, `${stderr}${(await systemctl('status', name)).stdout}`);
  return show(name);
}

for (const type of ['simple', 'exec', 'notify', 'notify-reload']) {
  test(`Type=${type}: in the foreground, started, asked, stopped`, async (t) => {
    const port = await freePort();
    const name = await unit(t, { Type: type }, {}, { port, status: 'all is well', delay: 300 });
    const { MainPID, StatusText, ActiveState } = await started(t, name);
    t.is(ActiveState, 'active');
    const tells = type.startsWith('notify');
    if (tells) t.is(StatusText, 'all is well');
    const answer = tells ? await askJson(port) : await until('it answers', () => askJson(port).catch(() => undefined));
    t.is(answer['mode'], 'foreground');
    t.is(answer['pid'], Number(MainPID));
    t.is(answer['pidFile'], `/run/${name}/${name}.pid`);
    const status = await machine.sh(`daemonry status ${name}`);
    t.is(status.code, 0, status.stdout);
    t.true(status.stdout.includes(`running with pid ${MainPID}`));
    t.is((await systemctl('stop', name)).code, 0);
    t.is((await show(name))['Result'], 'success');
    t.is(machine.read(`/run/${name}/${name}.pid`), '');
    t.true((await machine.run('journalctl', ['-u', name])).stdout.includes('stopped'));
    seen(`systemd, Type=${type}`, 'mode', 'foreground');
    seen(
      `systemd, Type=${type}`,
      'ready',
      tells ? 'READY=1, when `main` has settled' : 'no: counts once it is executed',
    );
    seen(`systemd, Type=${type}`, 'stop', 'yes, exit code 0');
  });
}

async function journal(name: string): Promise<string> {
  return (await machine.run('journalctl', ['-o', 'cat', '-u', name])).stdout;
}

test('Type=forking with PIDFile=: daemonizes, and the launcher tells systemd when it is up', async (t) => {
  const port = await freePort();
  const name = await unit(
    t,
    { Type: 'forking', PIDFile: `/run/service${count + 1}/service${count + 1}.pid` },
    {},
    { port },
  );
  const { MainPID } = await started(t, name);
  const answer = await askJson(port);
  t.is(answer['mode'], 'daemon');
  t.is(answer['pid'], Number(MainPID));
  t.is((await systemctl('stop', name)).code, 0);
  t.is((await show(name))['Result'], 'success');
  seen('systemd, Type=forking', 'mode', 'daemon');
  seen('systemd, Type=forking', 'ready', "the launcher's exit, when `main` has settled");
  seen('systemd, Type=forking', 'stop', 'yes, exit code 0');
});

test('Type=forking with /var/run in its PIDFile= means the same file', async (t) => {
  const file = `/var/run/service${count + 1}/service${count + 1}.pid`;
  const name = await unit(t, { Type: 'forking', PIDFile: file });
  await started(t, name);
});

test('Type=forking without PIDFile= daemonizes with DAEMONRY_MODE=daemon', async (t) => {
  const port = await freePort();
  const name = await unit(t, { Type: 'forking', Environment: 'DAEMONRY_MODE=daemon' }, {}, { port });
  const { MainPID } = await started(t, name);
  const answer = await askJson(port);
  t.is(answer['mode'], 'daemon');
  t.is(answer['pid'], Number(MainPID));
  t.notRegex(await ask(port, '/env'), /^DAEMONRY_MODE=/m);
});

test('a PIDFile= that is not the program’s is refused with a sentence', async (t) => {
  const name = await unit(t, { Type: 'forking', PIDFile: '/run/other.pid' });
  t.not((await systemctl('start', name)).code, 0);
  t.true(
    (await journal(name)).includes(
      `supervised.mjs: the unit of this service says PIDFile=/run/other.pid, but the program has the pidfile /run/${name}/${name}.pid: make them the same`,
    ),
  );
});

for (const type of ['notify', 'exec', 'forking']) {
  test(`Type=${type}: a start that fails is told with its reason`, async (t) => {
    const PIDFile = `/run/service${count + 1}/service${count + 1}.pid`;
    const pidFile = type === 'forking' ? { PIDFile } : {};
    const name = await unit(t, { Type: type, ...pidFile }, {}, { fail: 'no configuration', delay: 50 });
    const { code } = await systemctl('start', name);
    if (type === 'exec') await until('it has failed', async () => (await show(name))['ActiveState'] === 'failed');
    else t.is(code, 1);
    const { stdout } = await systemctl('status', name);
    t.regex(stdout, /Active: failed \(Result: exit-code\)/);
    t.true((await journal(name)).includes('no configuration'));
    t.is(machine.read(PIDFile), '');
    if (type === 'notify') t.regex(stdout, /Status: "Error: no configuration"/);
    if (type === 'forking')
      t.regex(stdout, /did not start: the daemon exited with code 1 before it was up: Error: no conf/);
    const told = {
      notify: '`systemctl start` fails; reason in `systemctl status`',
      exec: 'unit fails; reason in the journal',
    };
    seen(`systemd, Type=${type}`, 'failure', type === 'exec' ? told.exec : told.notify);
    if (type === 'notify') seen('systemd, Type=notify-reload', 'failure', told.notify);
    if (type === 'exec') seen('systemd, Type=simple', 'failure', told.exec);
  });
}

test('a failed start tells systemd the errno, and a start that only exits its code', async (t) => {
  const script = (text: string) => {
    machine.write(`/srv/${count}.mjs`, `import { daemonize } from '/srv/daemonry/dist/index.js';\n${text}`);
    return `/usr/local/bin/node /srv/${count}.mjs`;
  };
  const name = await unit(t, {
    Type: 'notify',
    ExecStart: script(`import fs from 'node:fs'; daemonize({}, () => fs.readFileSync('/no/such/file'));`),
  });
  await systemctl('start', name);
  const failed = await show(name);
  t.is(failed['StatusErrno'], '2');
  t.regex(failed['StatusText']!, /^Error: ENOENT: no such file or directory, open '\/no\/such\/file'$/);

  const other = await unit(t, { Type: 'notify', ExecStart: script('daemonize(); process.exit(3);') });
  t.not((await systemctl('start', other)).code, 0);
  t.is((await show(other))['StatusText'], 'exited with code 3 before it was up');
  t.is((await show(other))['ExecMainStatus'], '3');
});

test('a second copy of a running service is told of the first, in the status, too', async (t) => {
  const name = await unit(t, { Type: 'notify' });
  const { MainPID } = await started(t, name);
  const other = await unit(t, { Type: 'notify' }, { name });
  t.not((await systemctl('start', other)).code, 0);
  t.is(
    (await show(other))['StatusText'],
    `${name} is already running with pid ${MainPID} (pidfile /run/${name}/${name}.pid)`,
  );
});

for (const [type, reload] of [
  ['notify', { ExecReload: 'kill -HUP $MAINPID' }],
  ['notify-reload', {}],
] as const) {
  test(`Type=${type}: \`systemctl reload\` returns when the reload is done`, async (t) => {
    const port = await freePort();
    const name = await unit(t, { Type: type, ...reload }, {}, { port, reload: 700 });
    await started(t, name);
    t.is((await systemctl('reload', name)).code, 0);
    if (type === 'notify') await until('it is reloaded', async () => (await show(name))['ActiveState'] === 'active');
    t.is((await askJson(port))['reloads'], 1);
    t.is((await show(name))['ActiveState'], 'active');
    const told = 'yes: RELOADING=1, then READY=1';
    seen(`systemd, Type=${type}`, 'reload', type === 'notify' ? told : `${told}; \`systemctl reload\` waits`);
  });
}

test('a service without reload handlers answers a reload, too, and lives on', async (t) => {
  const text = `import { daemonize } from '/srv/daemonry/dist/index.js'; daemonize({}, () => void setInterval(() => {}, 1e6));`;
  machine.write('/srv/plain.mjs', text);
  const name = await unit(t, { Type: 'notify-reload', ExecStart: '/usr/local/bin/node /srv/plain.mjs' });
  const { MainPID } = await started(t, name);
  t.is((await systemctl('reload', name)).code, 0);
  t.is((await show(name))['MainPID'], MainPID);
});

for (const type of ['simple', 'exec', 'forking']) {
  test(`Type=${type}: SIGHUP reloads`, async (t) => {
    const port = await freePort();
    const PIDFile = `/run/service${count + 1}/service${count + 1}.pid`;
    const name = await unit(
      t,
      { Type: type, ExecReload: 'kill -HUP $MAINPID', ...(type === 'forking' ? { PIDFile } : {}) },
      {},
      { port },
    );
    await started(t, name);
    await until('it answers', () => askJson(port).catch(() => undefined));
    t.is((await systemctl('reload', name)).code, 0);
    await until('it has reloaded', async () => (await askJson(port))['reloads'] === 1);
    seen(`systemd, Type=${type}`, 'reload', 'yes, by SIGHUP');
  });
}

test('socket activation: the first request starts it, and a restart under load loses none', async (t) => {
  const port = await freePort();
  const name = await unit(t, { Type: 'notify' }, { listen: { http: { port: 1 } } });
  machine.write(`/etc/systemd/system/${name}.socket`, `[Socket]\nListenStream=127.0.0.1:${port}\n`);
  await systemctl('daemon-reload');
  t.is((await systemctl('start', `${name}.socket`)).code, 0);
  t.is((await show(name))['ActiveState'], 'inactive');
  const { pid } = await askJson(port);
  t.is(pid, Number((await show(name))['MainPID']));
  const { answered, pids, lost } = await underLoad(port, () => restartTwice(t, name));
  t.deepEqual(lost, []);
  t.true(answered > 0);
  t.is(pids.size, 3);
});

async function restartTwice(t: ExecutionContext, name: string): Promise<void> {
  for (let round = 0; round < 2; round++) {
    t.is((await systemctl('restart', name)).code, 0);
    await sleep(300);
  }
}

test('FileDescriptorStoreMax=: a restart under load loses no request', async (t) => {
  const port = await freePort();
  const socket = `/run/kept${count + 1}.sock`;
  const listen = { http: { port, host: '127.0.0.1' }, ctl: { path: socket } };
  const name = await unit(t, { Type: 'notify', FileDescriptorStoreMax: '4' }, { listen });
  t.is((await started(t, name))['NFileDescriptorStore'], '2');
  const file = machine.at(socket);
  const before = statSync(file).ino;
  const { pids, lost } = await underLoad(port, () => restartTwice(t, name));
  t.deepEqual(lost, []);
  t.is(pids.size, 3);
  t.is((await show(name))['NFileDescriptorStore'], '2');
  t.is(statSync(file).ino, before);
  for (const type of ['notify', 'notify-reload'])
    seen(`systemd, Type=${type}`, 'restart', 'none, with `FileDescriptorStoreMax=` or a socket unit');

  // What was kept for another address is let go.
  const [elsewhere, other] = [await freePort(), { http: { port: 0, host: '127.0.0.1' } }];
  other.http.port = elsewhere;
  const path = `/etc/systemd/system/${name}.service`;
  machine.write(path, machine.read(path).replace(/^ExecStart=.*$/m, `ExecStart=${command({ name, listen: other })}`));
  await systemctl('daemon-reload');
  t.is((await systemctl('restart', name)).code, 0);
  t.is((await askJson(elsewhere))['mode'], 'foreground');
  await t.throwsAsync(askJson(port), { code: 'ECONNREFUSED' });
  t.is((await show(name))['NFileDescriptorStore'], '1');
});

test(`FileDescriptorStoreMax=: ${restarts} restarts lose no request of clients with keep-alive`, async (t) => {
  t.timeout(120_000 + restarts * 10_000);
  const port = await freePort();
  const listen = { http: { port, host: '127.0.0.1' } };
  const name = await unit(t, { Type: 'notify', FileDescriptorStoreMax: '4' }, { listen }, { keepAlive: true });
  await started(t, name);
  const over = new AbortController();
  const asking = keepAsking(port, 20, over.signal);
  const pids = new Set<string>();
  for (let round = 0; round < restarts; round += 1) {
    t.is((await systemctl('restart', name)).code, 0);
    pids.add((await show(name))['MainPID']!);
    // Else it would be started too often.
    await systemctl('reset-failed', name);
  }
  over.abort();
  const { answered, lost } = await asking;
  t.log(`${answered} requests answered, ${lost.length} lost`);
  t.is(pids.size, restarts);
  t.deepEqual(lost, []);
  t.true(answered > restarts);
});

for (const type of ['simple', 'exec', 'forking', 'notify']) {
  test(`Type=${type}: without a store, a restart finishes open requests, and new ones fail meanwhile`, async (t) => {
    const port = await freePort();
    const PIDFile = `/run/service${count + 1}/service${count + 1}.pid`;
    const pidFile = type === 'forking' ? { PIDFile } : {};
    const name = await unit(t, { Type: type, ...pidFile }, { listen: { http: { port, host: '127.0.0.1' } } });
    await started(t, name);
    await until('it answers', () => askJson(port).catch(() => undefined));
    const open = askJson(port, '/?wait=1000');
    await askJson(port);
    const { lost, pids } = await underLoad(port, () => restartTwice(t, name));
    t.true(pids.has((await open)['pid']));
    t.is(pids.size, 3);
    t.true(lost.includes('ECONNREFUSED'));
    if (type !== 'notify') seen(`systemd, Type=${type}`, 'restart', 'open ones finish, new ones fail meanwhile');
  });
}

test('User= and ProtectSystem=strict: the pidfile lies in the RuntimeDirectory=', async (t) => {
  const port = await freePort();
  const name = `service${count + 1}`;
  const hardening = {
    User: 'nobody',
    RuntimeDirectory: name,
    ProtectSystem: 'strict',
    ProtectHome: 'yes',
    PrivateTmp: 'yes',
  };
  await unit(t, { Type: 'notify', ...hardening }, {}, { port });
  const { MainPID } = await started(t, name);
  t.like(await askJson(port), { uid: 65534, pidFile: `/run/${name}/${name}.pid`, mode: 'foreground' });
  const { code, stdout } = await machine.sh(`daemonry status ${name}`);
  t.is(code, 0, stdout);
  t.true(stdout.includes(`with pid ${MainPID}`));
});

test('where a hardened service has no place for a pidfile, it says so and runs without', async (t) => {
  const port = await freePort();
  const name = await unit(t, { Type: 'notify', User: 'nobody', ProtectSystem: 'strict' }, {}, { port });
  await started(t, name);
  t.is((await askJson(port))['pidFile'], undefined);
  t.regex(
    await journal(name),
    new RegExp(`^${name} runs without a pidfile: cannot make the directory /nonexistent`, 'm'),
  );
});

test('WatchdogSec=: a service lives while its event loop turns; one that blocks is ended and started again', async (t) => {
  const port = await freePort();
  const name = await unit(
    t,
    { Type: 'notify', WatchdogSec: '1', Restart: 'on-failure', RestartSec: '0' },
    {},
    { port },
  );
  const { MainPID } = await started(t, name);
  await sleep(2500);
  t.is((await askJson(port))['pid'], Number(MainPID));
  await t.throwsAsync(ask(port, '/block'));
  const pid = await until('it runs again', async () => {
    const { pid } = await askJson(port).catch(() => ({ pid: undefined }));
    return pid === Number(MainPID) ? undefined : pid;
  });
  t.is(pid, Number((await show(name))['MainPID']));
  t.regex(await journal(name), /Watchdog timeout/);
});

test('Restart=on-failure: a killed service starts again over its stale pidfile', async (t) => {
  const name = await unit(t, { Type: 'notify', Restart: 'on-failure', RestartSec: '0' });
  const { MainPID } = await started(t, name);
  await systemctl('kill', '--signal=KILL', name);
  const again = await until('it runs again', async () => {
    const now = await show(name);
    return now['ActiveState'] === 'active' && now['MainPID'] !== MainPID ? now : undefined;
  });
  const { stdout } = await machine.sh(`daemonry status ${name}`);
  t.true(stdout.includes(`running with pid ${again['MainPID']}`), stdout);
});

test('startTimeout and stopTimeout extend the unit’s own limits', async (t) => {
  const limits = { TimeoutStartSec: '1', TimeoutStopSec: '1' };
  const name = await unit(t, { Type: 'notify', ...limits }, { stopTimeout: 20_000 }, { delay: 2500, stop: 2500 });
  await started(t, name);
  t.is((await systemctl('stop', name)).code, 0);
  t.is((await show(name))['Result'], 'success');

  const slow = await unit(t, { Type: 'notify', TimeoutStartSec: '1' }, { startTimeout: 1500 }, { delay: 60_000 });
  t.not((await systemctl('start', slow)).code, 0);
  t.is((await show(slow))['Result'], 'timeout');
});

test('stop handlers that hang are ended after stopTimeout, before systemd has to kill', async (t) => {
  const name = await unit(t, { Type: 'notify' }, { stopTimeout: 500 }, { stop: 60_000 });
  await started(t, name);
  t.is((await systemctl('stop', name)).code, 0);
  t.is((await show(name))['Result'], 'success');
  t.regex(await journal(name), /did not stop within 500 ms after SIGTERM and ends now/);
});

test('what the service starts does not see the variables of its manager', async (t) => {
  const port = await freePort();
  const name = await unit(t, { Type: 'notify', WatchdogSec: '30', Environment: 'MINE=1' }, {}, { port });
  await started(t, name);
  const variables = (await ask(port, '/env')).split('\\n').join('\n');
  t.regex(variables, /MINE=1/);
  t.notRegex(
    variables,
    /NOTIFY_SOCKET|WATCHDOG|SYSTEMD_EXEC_PID|DAEMONRY_(?!DAEMON=)|LISTEN_|MAINPID|PIDFILE|MANAGERPID/,
  );
});

test('behind a shell that waits for it, the program stays in the foreground', async (t) => {
  const port = await freePort();
  machine.write('/srv/wrapper.sh', `#!/bin/sh\n${command({}, { port })}\nexit $?\n`, 0o755);
  const name = await unit(t, { Type: 'exec', ExecStart: '/srv/wrapper.sh' });
  await started(t, name);
  const answer = await until('it answers', () => askJson(port).catch(() => undefined));
  t.is(answer['mode'], 'foreground');
});

test('what a service only happens to run, such as a step of a build, daemonizes', async (t) => {
  const port = await freePort();
  const name = `service${count + 1}`;
  machine.write('/srv/step.sh', `#!/bin/sh\n${command({ name }, { port })}\n`, 0o755);
  machine.write('/srv/runner.sh', '#!/bin/sh\n/srv/step.sh\nexit $?\n', 0o755);
  await unit(t, { Type: 'oneshot', RemainAfterExit: 'yes', ExecStart: '/srv/runner.sh' });
  await started(t, name);
  t.is((await askJson(port))['mode'], 'daemon');
});

test('a systemd that does not say whom it has started (before 248) is known by the journal', async (t) => {
  const port = await freePort();
  const name = await unit(t, { Type: 'notify', UnsetEnvironment: 'SYSTEMD_EXEC_PID' }, {}, { port });
  await started(t, name);
  t.is((await askJson(port))['mode'], 'foreground');
});
