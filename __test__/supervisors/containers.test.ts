/** In containers: as the first process, below its init or its script, from outside, and in an OCI bundle. */
import { type ExecutionContext } from 'ava';
import { seen } from '../helpers/cells.js';
import { boot, noMachine, type Machine } from '../helpers/machine.js';
import { testUnless } from '../helpers/privileges.js';
import { askJson, freePort } from '../helpers/requests.js';
import { until } from '../helpers/until.js';

const test = testUnless(noMachine);
const node = '/usr/local/bin/node';
const fixture = '/srv/daemonry/__test__/fixtures/supervised.mjs';

function program(options: object = {}, behaviour: object = {}): string[] {
  return [node, fixture, JSON.stringify({ name: 'app', ...options }), JSON.stringify(behaviour)];
}

/** The same for a shell. */
function line(options?: object, behaviour?: object): string {
  return program(options, behaviour)
    .map((word) => `'${word}'`)
    .join(' ');
}

async function container(t: ExecutionContext, command: readonly string[]): Promise<Machine> {
  const machine = await boot(command);
  t.teardown(() => machine.end());
  return machine;
}

/** What the service answers, once it does. */
function answer(machine: Machine, port: number): Promise<Record<string, unknown>> {
  return until('the service answers', async () => {
    const over = await Promise.race([machine.done, undefined]);
    if (over !== undefined) throw new Error(`the container has ended: ${JSON.stringify(over)}`);
    return askJson(port).catch(() => undefined);
  });
}

function probe(machine: Machine, ...flags: string[]) {
  return machine.run('daemonry', ['status', ...flags, 'app']);
}

const firstProcesses: readonly (readonly [place: string, command: (line: string) => readonly string[]])[] = [
  ['as PID 1', () => []],
  ['under tini', () => ['tini', '--']],
  ['under catatonit', () => ['catatonit', '--']],
  ['under dumb-init', () => ['dumb-init', '--']],
];

for (const [place, init] of firstProcesses) {
  test(`${place}: in the foreground, told by a probe, reloaded, stopped`, async (t) => {
    const port = await freePort();
    const machine = await container(t, [...init(''), ...program({}, { port, go: '/srv/go' })]);
    await until('it starts', async () => (await probe(machine)).code === 0);
    t.is((await probe(machine, '--ready')).code, 3, 'it is not ready yet');
    machine.write('/srv/go', '');
    const { mode, pid, pidFile } = await answer(machine, port);
    t.is(mode, 'foreground');
    t.is(pidFile, '/run/app/app.pid');
    t.is(pid === 1, place === 'as PID 1');
    await until('it is ready', async () => (await probe(machine, '--ready')).code === 0);
    t.is((await machine.run('daemonry', ['reload', 'app'])).code, 0);
    await until('it has reloaded', async () => (await askJson(port))['reloads'] === 1);

    const open = askJson(port, '/?wait=500');
    await askJson(port);
    process.kill(machine.pid, 'SIGTERM');
    t.is((await open)['pid'], pid);
    const { code, stdout } = await machine.done;
    t.is(code, 0);
    t.true(stdout.endsWith('stopped\n'));
    seen(`container, ${place}`, 'restart', 'open ones finish; a restart is another container');

    const failed = await container(t, [...init(''), ...program({}, { fail: 'no configuration' })]);
    const outcome = await failed.done;
    t.is(outcome.code, 1);
    t.true(outcome.stderr.includes('no configuration'));
    tell(place);
  });
}

function tell(place: string): void {
  seen(`container, ${place}`, 'mode', 'foreground');
  seen(`container, ${place}`, 'ready', 'probe: `daemonry status --ready`');
  seen(`container, ${place}`, 'reload', 'yes, `daemonry reload` or SIGHUP');
  seen(`container, ${place}`, 'stop', 'yes, exit code 0');
  seen(`container, ${place}`, 'failure', 'exit code 1 and the reason on stderr');
}

test('a helper of a service, which becomes a daemon, does not take itself for the service', async (t) => {
  const machine = await boot([
    'sh',
    '-c',
    'while ! [ -e /run/service.mjs ]; do sleep 0.1; done; exec node /run/service.mjs',
  ]);
  t.teardown(() => machine.end());
  machine.write(
    '/run/helper.mjs',
    `import { daemonize } from '/srv/daemonry/dist/index.js';
     import { writeFileSync } from 'node:fs';
     daemonize({ name: 'helper' }, ({ mode }) => { writeFileSync('/run/mode', mode); setInterval(() => {}, 1e6); });`,
  );
  machine.write(
    '/run/service.mjs',
    `import { daemonize } from '/srv/daemonry/dist/index.js';
     import { spawn } from 'node:child_process';
     import { writeFileSync } from 'node:fs';
     daemonize({ name: 'app' }, ({ mode }) => {
       spawn(process.execPath, ['/run/helper.mjs'], { stdio: 'inherit' })
         .on('exit', (code) => writeFileSync('/run/outcome', mode + ' ' + code));
       setInterval(() => {}, 1e6);
     });`,
  );
  await until('the helper has started its daemon', () => machine.read('/run/outcome') !== '');
  t.is(machine.read('/run/outcome'), 'foreground 0');
  t.is(machine.read('/run/mode'), 'daemon');
});

test('as PID 1 without stop handlers, SIGTERM ends it with 143', async (t) => {
  const machine = await boot(['sh', '-c', 'exec sleep 1000']);
  t.teardown(() => machine.end());
  machine.write(
    '/srv/plain.mjs',
    `import { daemonize } from '/srv/daemonry/dist/index.js';
     import { writeFileSync } from 'node:fs';
     daemonize({ name: 'app' }, () => { writeFileSync('/run/up', ''); for (;;); });`,
  );
  const inner = machine.run('unshare', ['--pid', '--fork', '--mount-proc', node, '/srv/plain.mjs']);
  await until(
    'it is up',
    () => machine.read('/run/app/app.pid') !== '' && machine.sh('test -e /run/up').then(({ code }) => code === 0),
  );
  await machine.sh('kill $(pgrep -f "^/usr/local/bin/node /srv/plain.mjs")');
  t.is((await inner).code, 143);
});

for (const [what, script] of [
  ['a shell that has more to do', (line: string) => `${line}; code=$?; echo over; exit $code`],
  ['a shell below tini', (line: string) => `tini -- sh -c "$0"; exit $?`.replace('$0', line.replaceAll('"', '\\"'))],
] as const) {
  test(`as the child of ${what}: in the foreground, its exit code is the container's`, async (t) => {
    const port = await freePort();
    const machine = await container(t, ['sh', '-c', script(line({}, { port }))]);
    const { mode, pid } = await answer(machine, port);
    t.is(mode, 'foreground');
    await until('it is ready', async () => (await probe(machine, '--ready')).code === 0);
    t.is((await machine.run('daemonry', ['reload', 'app'])).code, 0);
    await until('it has reloaded', async () => (await askJson(port))['reloads'] === 1);
    await machine.sh(`kill ${String(pid)}`);
    const { code } = await machine.done;
    t.is(code, 0);

    const failed = await container(t, ['sh', '-c', script(line({}, { fail: 'no configuration' }))]);
    const outcome = await failed.done;
    t.is(outcome.code, 1);
    t.true(outcome.stderr.includes('no configuration'));
    if (what !== 'a shell that has more to do') return;
    const place = 'container, child of its first process (a script, npm)';
    seen(place, 'mode', 'foreground');
    seen(place, 'ready', 'probe: `daemonry status --ready`');
    seen(place, 'reload', 'yes, `daemonry reload` or SIGHUP');
    seen(place, 'failure', 'exit code 1 and the reason on stderr');
    seen(place, 'stop', 'not by itself: a shell passes no signal on; use `exec`');
  });
}

test('started in a running container from outside, it daemonizes, and is found dead though nobody reaps it', async (t) => {
  const port = await freePort();
  // As `docker exec` does. This first process never reaps.
  const machine = await container(t, ['sleep', '1000']);
  const { code, stderr } = await machine.sh(line({}, { port }));
  t.is(code, 0, stderr);
  const { mode, pid } = await askJson(port);
  t.is(mode, 'daemon');
  t.is((await probe(machine)).code, 0);
  t.is((await machine.run('daemonry', ['reload', 'app'])).code, 0);
  await until('it has reloaded', async () => (await askJson(port))['reloads'] === 1);
  await machine.sh(`kill -9 ${String(pid)}`);
  await until('it is dead', async () => (await probe(machine)).code === 1);
  t.regex((await machine.sh(`cat /proc/${String(pid)}/stat`)).stdout, /\) Z /);
  t.is((await machine.sh(line({}, { port }))).code, 0);
  t.is((await machine.run('daemonry', ['stop', 'app'])).code, 0);
  const failed = await machine.sh(line({}, { fail: 'no configuration' }));
  t.is(failed.code, 1);
  t.true(failed.stderr.includes('no configuration'), failed.stderr);
  const place = 'container, `docker exec`';
  seen(place, 'mode', 'daemon');
  seen(place, 'ready', "the launcher's exit, when `main` has settled");
  seen(place, 'reload', 'yes, `daemonry reload` or SIGHUP');
  seen(place, 'stop', 'yes, `daemonry stop`');
  seen(place, 'failure', 'exit code 1 and the reason on stderr');
});

test('beside the pause process of a pod, it stays in the foreground', async (t) => {
  const port = await freePort();
  const machine = await container(t, ['sh', '-c', 'cp /usr/bin/sleep /usr/bin/pause; exec pause 1000']);
  const running = machine.sh(`exec ${line({}, { port })}`);
  const { mode, pid } = await answer(machine, port);
  t.is(mode, 'foreground');
  await machine.sh(`kill ${String(pid)}`);
  t.is((await running).code, 0);
});

test('on a read-only file system it runs without a pidfile, and with a place for it with one', async (t) => {
  const port = await freePort();
  const bare = ['sh', '-c', `umount /run; mount -o remount,bind,ro /; exec ${line({}, { port })}`];
  const machine = await container(t, bare);
  t.is((await answer(machine, port))['pidFile'], undefined);
  process.kill(machine.pid, 'SIGTERM');
  const { code, stderr } = await machine.done;
  t.is(code, 0);
  t.is(stderr, 'app runs without a pidfile: cannot make the directory /run/app: Read-only file system (EROFS)\n');

  const other = await freePort();
  const withRun = await container(t, ['sh', '-c', `mount -o remount,bind,ro /; exec ${line({}, { port: other })}`]);
  t.is((await answer(withRun, other))['pidFile'], '/run/app/app.pid');
  t.is((await probe(withRun, '--ready')).code, 0);
});

test('without /proc it stays in the foreground, as PID 1 and under an init that cannot be seen', async (t) => {
  for (const init of ['', 'tini -- ']) {
    const port = await freePort();
    const machine = await container(t, ['sh', '-c', `umount -l /proc; exec ${init}${line({}, { port })}`]);
    const { mode } = await answer(machine, port);
    t.is(mode, 'foreground');
    const probed = await probe(machine, '--ready');
    t.is(probed.code, 0, probed.stdout + probed.stderr);
    process.kill(machine.pid, 'SIGTERM');
    t.is((await machine.done).code, 0);
  }
});

test('an ordinary user without a home, on a read-only file system, is told where the pidfile goes by XDG_STATE_HOME', async (t) => {
  const port = await freePort();
  const command = `mkdir -m 1777 /run/state; mount -o remount,bind,ro /;
    exec setpriv --reuid=65534 --regid=65534 --clear-groups env XDG_STATE_HOME=/run/state ${line({}, { port })}`;
  const machine = await container(t, ['sh', '-c', command]);
  t.like(await answer(machine, port), { uid: 65534, pidFile: '/run/state/daemonry/app/app.pid' });
  const asUser = 'setpriv --reuid=65534 --regid=65534 --clear-groups env XDG_STATE_HOME=/run/state';
  t.is((await machine.sh(`${asUser} daemonry status --ready app`)).code, 0);
});

test('in an OCI bundle that crun runs: in the foreground, probed, stopped; with its notify socket it tells when it is ready', async (t) => {
  const machine = await container(t, ['sleep', '1000']);
  await machine.sh('mkdir -p /bundle/rootfs && mount --bind / /bundle/rootfs && cd /bundle && crun spec');
  const config = JSON.parse(machine.read('/bundle/config.json')) as OciConfig;
  const port = await freePort();
  config.process.terminal = false;
  config.process.args = program({}, { port });
  config.root.readonly = true;
  const bound = (path: string) => ({ destination: path, type: 'bind', source: path, options: ['rbind', 'ro'] });
  config.mounts.push(bound('/srv/daemonry'), bound(node));
  config.mounts.push({ destination: '/run', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] });
  config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== 'network');
  machine.write('/bundle/config.json', JSON.stringify(config));
  const crun = 'crun --cgroup-manager=disabled';
  const running = machine.sh(`cd /bundle && exec ${crun} run app`);
  const { mode, pid } = await answer(machine, port);
  t.is(mode, 'foreground');
  t.is(pid, 1);
  const probed = await machine.sh(`${crun} exec app daemonry status --ready app`);
  t.is(probed.code, 0, probed.stderr);
  t.is((await machine.sh(`${crun} exec app daemonry reload app`)).code, 0);
  await until('it has reloaded', async () => (await askJson(port))['reloads'] === 1);
  await machine.sh(`${crun} kill app TERM`);
  t.is((await running).code, 0);

  config.process.args = program({}, { fail: 'no configuration' });
  machine.write('/bundle/config.json', JSON.stringify(config));
  const failed = await machine.sh(`cd /bundle && exec ${crun} run app`);
  t.is(failed.code, 1);
  t.true(failed.stderr.includes('no configuration'));
  tell('OCI bundle (crun)');
});

interface OciConfig {
  process: { terminal: boolean; args: string[] };
  root: { readonly: boolean };
  mounts: { destination: string; type: string; source: string; options: string[] }[];
  linux: { namespaces: { type: string }[] };
}
