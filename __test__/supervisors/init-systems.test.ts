/** Under OpenRC, SysV init scripts, runit, s6 and supervisord, by what `daemonry unit` prints for them. */
import { setTimeout as sleep } from 'node:timers/promises';
import anyTest, { type ExecutionContext } from 'ava';
import { seen, type Column } from '../helpers/cells.js';
import { boot, noMachine, type Machine } from '../helpers/machine.js';
import { testUnless } from '../helpers/privileges.js';
import { askJson, freePort, underLoad } from '../helpers/requests.js';
import { until } from '../helpers/until.js';

const test = testUnless(noMachine);
const fixture = '/srv/daemonry/__test__/fixtures/supervised.mjs';
/** An ordinary user of the machine, with a home. */
const user = { name: 'svc', uid: 1500, home: '/home/svc' };
let machine: Machine;

anyTest.before(async () => {
  if (noMachine !== undefined) return;
  // It starts supervisord by its init script.
  machine = await boot(['/sbin/openrc-init']);
  await until('OpenRC has booted', async () => (await machine.sh('supervisorctl pid')).code === 0);
  const entries = `echo '${user.name}:x:1500:1500::${user.home}:/bin/sh' >>/etc/passwd; echo '${user.name}:x:1500:' >>/etc/group`;
  await must(`${entries}; mkdir ${user.home} && chown 1500:1500 ${user.home}`);
  await must('mkdir -p /etc/sv /etc/s6 /run/s6');
  await must(
    'setsid runsvdir /etc/service >/var/log/runit.log 2>&1 & setsid s6-svscan /run/s6 >/var/log/s6.log 2>&1 &',
  );
});

anyTest.after.always(() => machine?.end());

async function must(script: string): Promise<string> {
  const { code, stdout, stderr } = await machine.sh(script);
  if (code !== 0) throw new Error(`${script}: exit code ${code}\n${stdout}${stderr}`);
  return stdout;
}

interface Supervisor {
  readonly place: string;
  readonly mode: 'daemon' | 'foreground';
  /** Shell scripts; `$0` is the name of the service. `print` prints a unit of that kind. */
  install(print: (kind: string) => string): string;
  readonly start: string;
  readonly stop: string;
  readonly restart: string;
  readonly reload: string;
  /** Where what the service writes goes. */
  readonly log: string;
  /** Whether the service is up when `start` returns. */
  readonly waits: boolean;
  readonly cells: Readonly<Record<'ready' | 'reload' | 'failure', string>>;
}

const supervisors: readonly Supervisor[] = [
  {
    place: 'OpenRC',
    mode: 'daemon',
    install: (print) => `${print('openrc')} >/etc/init.d/$0; chmod +x /etc/init.d/$0`,
    start: 'rc-service $0 start',
    stop: 'rc-service $0 stop',
    restart: 'rc-service $0 restart',
    reload: 'rc-service $0 reload',
    log: '/var/log/$0/$0.log',
    waits: true,
    cells: {
      ready: "the launcher's exit, when `main` has settled",
      reload: 'yes, `rc-service NAME reload`',
      failure: '`rc-service NAME start` fails and prints the reason',
    },
  },
  {
    place: 'OpenRC, supervise-daemon',
    mode: 'foreground',
    // What runit is to execute is the command line; OpenRC evaluates the arguments.
    install: (print) => `line=$(${print('runit')} | sed -n 's/^exec //p' | tail -n 1)
      { echo '#!/sbin/openrc-run'; echo "command=\${line%% *}"; printf 'command_args=$(cat <<"end"\\n%s\\nend\\n)\\n' "\${line#* }"
      echo supervisor=supervise-daemon; echo pidfile=/run/$0.supervisor.pid; echo output_log=/var/log/$0.log
      echo error_log=/var/log/$0.log; } >/etc/init.d/$0; chmod +x /etc/init.d/$0`,
    start: 'rc-service $0 start',
    stop: 'rc-service $0 stop',
    restart: 'rc-service $0 restart',
    reload: 'daemonry reload $0',
    log: '/var/log/$0.log',
    waits: false,
    cells: {
      ready: 'no; probe: `daemonry status --ready`',
      reload: 'yes, `daemonry reload` or SIGHUP',
      failure: 'started again and again; reason in `error_log`',
    },
  },
  {
    place: 'SysV init script (LSB)',
    mode: 'daemon',
    install: (print) => `${print('sysv')} >/etc/init.d/$0; chmod +x /etc/init.d/$0`,
    start: '/etc/init.d/$0 start',
    stop: '/etc/init.d/$0 stop',
    restart: '/etc/init.d/$0 restart',
    reload: '/etc/init.d/$0 reload',
    log: '/var/log/$0/$0.log',
    waits: true,
    cells: {
      ready: "the launcher's exit, when `main` has settled",
      reload: 'yes, `reload`',
      failure: '`start` exits 1 and prints the reason',
    },
  },
  {
    place: 'runit',
    mode: 'foreground',
    install: (print) => `mkdir /etc/sv/$0; ${print('runit')} >/etc/sv/$0/run
      { echo '#!/bin/sh'; sed -n 's/^# A script beside.*: exec /exec /p' /etc/sv/$0/run; } >/etc/sv/$0/check
      touch /etc/sv/$0/down; chmod +x /etc/sv/$0/run /etc/sv/$0/check; ln -s /etc/sv/$0 /etc/service/
      while ! sv status $0; do sleep 0.1; done`,
    start: 'sv -w 3 start $0',
    stop: 'sv stop $0',
    restart: 'sv restart $0',
    reload: 'sv hup $0',
    log: '/var/log/runit.log',
    waits: true,
    cells: {
      ready: '`sv start` waits, by `./check` with `daemonry status --ready`',
      reload: 'yes, `sv hup NAME`',
      failure: '`sv start` fails, with `./check`; reason in the log',
    },
  },
  {
    place: 's6',
    mode: 'foreground',
    install: (print) => `mkdir /etc/s6/$0; ${print('s6')} >/etc/s6/$0/run; chmod +x /etc/s6/$0/run
      sed -n 's/^# It says when it is up: //p' /etc/s6/$0/run | sh
      touch /etc/s6/$0/down; ln -s /etc/s6/$0 /run/s6/$0; s6-svscanctl -a /run/s6
      while ! s6-svok /run/s6/$0; do sleep 0.1; done`,
    start: 's6-svc -uwU -T 3000 /run/s6/$0',
    stop: 's6-svc -dwD -T 20000 /run/s6/$0',
    restart: 's6-svc -rwR -T 20000 /run/s6/$0',
    reload: 's6-svc -h /run/s6/$0',
    log: '/var/log/s6.log',
    waits: true,
    cells: {
      ready: 'a newline on `notification-fd`, when `main` has settled',
      reload: 'yes, `s6-svc -h`',
      failure: '`s6-svc -uwU` fails; reason in the log',
    },
  },
  {
    place: 'supervisord',
    mode: 'foreground',
    install: (print) => `{ ${print('supervisord')}; echo autostart=false; } >/etc/supervisor/conf.d/$0.conf
      supervisorctl update`,
    start: 'supervisorctl start $0',
    stop: 'supervisorctl stop $0',
    restart: 'supervisorctl restart $0',
    reload: 'supervisorctl signal HUP $0',
    log: '/var/log/supervisor/$0.log',
    waits: false,
    cells: {
      ready: 'no, `startsecs=` counts; probe: `daemonry status --ready`',
      reload: 'yes, `supervisorctl signal HUP NAME`',
      failure: '`supervisorctl start` fails; reason in its log',
    },
  },
];

let count = 0;

/** A service of that supervisor that runs the fixture; `$0` in `run` is its name. */
async function service(t: ExecutionContext, supervisor: Supervisor, behaviour: object, flags = '') {
  const name = `service${++count}`;
  const program = `node ${fixture} '${JSON.stringify({ name })}' '${JSON.stringify(behaviour)}'`;
  const run = (script: string) => machine.run('sh', ['-c', script, name]);
  const { code, stdout, stderr } = await run(
    supervisor.install((kind) => `daemonry unit --for ${kind} $0 ${flags} --cwd /srv -- ${program}`),
  );
  t.is(code, 0, `${stdout}${stderr}`);
  t.teardown(() => run(supervisor.stop));
  const text = supervisor.log.replaceAll('$0', name);
  return { name, run, log: () => machine.read(text) };
}

for (const supervisor of supervisors) {
  const { place, mode, waits, cells } = supervisor;
  const tell = (column: Column, what: string) => seen(place, column, what);

  test(`${place}: started, ready, reloaded, restarted, stopped`, async (t) => {
    const port = await freePort();
    const { name, run, log } = await service(t, supervisor, {
      port,
      ...(waits ? { delay: 1500 } : { go: `/srv/go-${port}` }),
    });
    const started = await run(supervisor.start);
    t.is(started.code, 0, `${started.stdout}${started.stderr}`);
    const isReady = async () => (await run('daemonry status --ready $0')).code;
    t.is(await isReady(), waits ? 0 : 3);
    if (!waits) machine.write(`/srv/go-${port}`, '');
    await until('it is ready', async () => (await isReady()) === 0);
    const { pid, pidFile, ...others } = await askJson(port);
    t.like(others, { mode, uid: 0 });
    t.is(pidFile, `/run/${name}/${name}.pid`);
    t.is(Number(machine.read(`/run/${name}/${name}.pid`)), Number(pid));
    tell('mode', mode);
    tell('ready', cells.ready);

    t.is((await run(supervisor.reload)).code, 0);
    await until('it has reloaded', async () => (await askJson(port))['reloads'] === 1);
    tell('reload', cells.reload);

    const open = askJson(port, '/?wait=1000');
    await askJson(port);
    const { lost, pids } = await underLoad(port, async () => {
      const restarted = await run(supervisor.restart);
      t.is(restarted.code, 0, `${restarted.stdout}${restarted.stderr}`);
      await until('it is up again', async () => (await isReady()) === 0);
      await sleep(200);
    });
    t.is((await open)['pid'], pid);
    t.is(pids.size, 2);
    t.true(lost.includes('ECONNREFUSED'));
    tell('restart', 'open ones finish, new ones fail meanwhile');

    const before = log().match(/^stopped$/gm)?.length;
    t.is((await run(supervisor.stop)).code, 0);
    t.is((await run('daemonry status $0')).code, 3);
    t.is(log().match(/^stopped$/gm)?.length, Number(before) + 1);
    tell('stop', 'yes, exit code 0');
  });

  test(`${place}: a start that fails is told with its reason`, async (t) => {
    const fail = `no configuration ${count}`;
    const { run, log } = await service(t, supervisor, { fail });
    const { code, stdout, stderr } = await run(supervisor.start);
    if (place === 'OpenRC, supervise-daemon') t.is(code, 0);
    else t.not(code, 0);
    if (mode === 'daemon') t.true(`${stdout}${stderr}`.includes(fail), `${stdout}${stderr}`);
    await until('the reason is in the log', () => log().includes(`Error: ${fail}`));
    // Not at once: supervise-daemon has started it again by now, and `status` says so.
    await until('it is down', async () => [1, 3].includes((await run('daemonry status $0')).code ?? 0));
    tell('failure', cells.failure);
  });

  if (place === 'OpenRC, supervise-daemon') continue;
  test(`${place}: as another user`, async (t) => {
    const port = await freePort();
    const { name, run } = await service(t, supervisor, { port }, `--user ${user.name}`);
    const started = await run(supervisor.start);
    t.is(started.code, 0, `${started.stdout}${started.stderr}`);
    const answer = await until('it answers', () => askJson(port).catch(() => undefined));
    const places = mode === 'daemon' ? '/run' : `${user.home}/.local/state/daemonry`;
    t.like(answer, { mode, uid: user.uid, pidFile: `${places}/${name}/${name}.pid` });
    t.is((await run(supervisor.reload)).code, 0);
    await until('it has reloaded', async () => (await askJson(port))['reloads'] === 1);
    t.is((await run(supervisor.restart)).code, 0);
    await until('another answers', async () => {
      const now = await askJson(port).catch(() => undefined);
      return now !== undefined && now['pid'] !== answer['pid'];
    });
    t.is((await run(supervisor.stop)).code, 0);
    await t.throwsAsync(askJson(port), { code: 'ECONNREFUSED' });
  });
}

for (const [what, flags] of [
  ['itself', ''],
  ['by the command line', `--user ${user.name}`],
]) {
  test(`the exit codes of an LSB script that starts ${what}`, async (t) => {
    const script = supervisors.find(({ place }) => place.startsWith('SysV'))!;
    const { name, run } = await service(t, script, {}, flags);
    const codeOf = async (action: string) => (await run(`/etc/init.d/$0 ${action}`)).code;
    t.is(await codeOf('status'), 3, 'not running');
    t.is(await codeOf('reload'), 7, 'not running');
    t.is(await codeOf('stop'), 0, 'nothing to stop');
    t.is(await codeOf('start'), 0);
    t.is(await codeOf('start'), 0, 'already running');
    t.is(await codeOf('status'), 0);
    const pid = Number(machine.read(`/run/${name}/${name}.pid`));
    await machine.sh(`kill -9 ${pid}`);
    await until('it is dead', async () => (await codeOf('status')) === 1);
    t.is(await codeOf('restart'), 0, 'over a stale pidfile');
    t.is(await codeOf('status'), 0);
    t.not(Number(machine.read(`/run/${name}/${name}.pid`)), pid);
    t.is(await codeOf('stop'), 0);
    t.is(await codeOf('status'), 3);
    t.is(await codeOf('nonsense'), 2);
  });
}

for (const place of ['OpenRC', 'SysV init script (LSB)']) {
  test(`${place}: the process that has the pid of the last daemon by now is not taken for it`, async (t) => {
    const supervisor = supervisors.find((one) => one.place === place)!;
    const port = await freePort();
    const { name, run } = await service(t, supervisor, { port });
    // It would be ended by SIGHUP.
    const stranger = Number(await must(`setsid node -e 'setInterval(() => {}, 1e6)' >/dev/null 2>&1 & echo $!`));
    t.teardown(() => machine.sh(`kill -9 ${stranger}`));
    const isAlive = async () => (await machine.sh(`kill -0 ${stranger}`)).code === 0;
    const recycle = () => machine.write(`/run/${name}/${name}.pid`, `${stranger}\n`);
    const script = (action: string) => run(`/etc/init.d/$0 ${action}`);
    recycle();
    t.not((await script('status')).code, 0);
    t.not((await script('reload')).code, 0);
    await script('stop');
    t.true(await isAlive());
    recycle();
    const started = await script('start');
    t.is(started.code, 0, `${started.stdout}${started.stderr}`);
    t.is((await script('status')).code, 0);
    const { pid } = await askJson(port);
    t.not(Number(pid), stranger);
    // Its number comes back while the service counts as started.
    await machine.sh(`kill -9 ${String(pid)}`);
    await until('it is dead', async () => (await script('status')).code !== 0);
    recycle();
    t.not((await script('status')).code, 0);
    t.not((await script('reload')).code, 0);
    t.is((await script('restart')).code, 0);
    t.not((await askJson(port))['pid'], pid);
    t.is((await script('stop')).code, 0);
    t.true(await isAlive());
  });
}

test('OpenRC calls a killed daemon crashed, and restarts it', async (t) => {
  const openrc = supervisors.find(({ place }) => place === 'OpenRC')!;
  const { name, run } = await service(t, openrc, {});
  t.is((await run(openrc.start)).code, 0);
  await run('kill -9 $(cat /run/$0/$0.pid)');
  const crashed = 32;
  await until('it is dead', async () => (await run('rc-service $0 status')).code === crashed);
  t.is((await run(openrc.restart)).code, 0);
  t.is((await run('rc-service $0 status')).code, 0);
  t.true(Number(machine.read(`/run/${name}/${name}.pid`)) > 0);
});

test('a program that calls no daemonize() is run by the same scripts', async (t) => {
  for (const place of ['OpenRC', 'SysV init script (LSB)']) {
    const supervisor = supervisors.find((one) => one.place === place)!;
    const name = `service${++count}`;
    const run = (script: string) => machine.run('sh', ['-c', script, name]);
    const program = `sh -c 'echo "$GREETING"; exec sleep 1000'`;
    await run(
      supervisor.install((kind) => `daemonry unit --for ${kind} --env GREETING="how do you do" $0 -- ${program}`),
    );
    const started = await run(supervisor.start);
    t.is(started.code, 0, `${started.stdout}${started.stderr}`);
    t.is((await run('daemonry status $0')).code, 0);
    t.is(machine.read(`/var/log/${name}/${name}.log`), 'how do you do\n');
    t.is((await run(supervisor.stop)).code, 0);
    t.is((await run('daemonry status $0')).code, 3);
  }
});
