/** Who a daemon is: users and groups, dropped for good, and the files that it can still use then. */
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { daemonPaths, daemonStatus, signalDaemon, spawnDaemon, stopDaemon } from '../../dist/index.js';
import { service } from '../fixtures/service.js';
import { bench } from '../helpers/bench.js';
import { daemonry } from '../helpers/command.js';
import { read } from '../helpers/files.js';
import { named } from '../helpers/named.js';
import { nobody, noOtherUser, testUnless } from '../helpers/privileges.js';
import { environmentOf, statusField } from '../helpers/processes.js';
import { run } from '../helpers/run.js';
import { pidOf } from '../helpers/status.js';
import { until } from '../helpers/until.js';
import { workspace } from '../helpers/workspace.js';

const asRoot = testUnless(noOtherUser);

/** Numbers of real, effective, saved and file-system ids, and the supplementary groups. */
function idsOf(pid: number) {
  const numbers = (field: string) => (statusField(pid, field) ?? '').trim().split(/\s+/).filter(Boolean).map(Number);
  return { uid: numbers('Uid'), gid: numbers('Gid'), groups: numbers('Groups') };
}

/** Variables that lead to the files or the session of the user who starts the daemon. */
const ofCaller = [
  'DBUS_SESSION_BUS_ADDRESS',
  'DISPLAY',
  'GNUPGHOME',
  'GPG_AGENT_INFO',
  'KRB5CCNAME',
  'MAIL',
  'PKEXEC_UID',
  'SSH_AGENT_PID',
  'SSH_AUTH_SOCK',
  'SSH_CONNECTION',
  'SUDO_COMMAND',
  'SUDO_USER',
  'TMPDIR',
  'TMUX',
  'WAYLAND_DISPLAY',
  'XAUTHORITY',
  'XDG_CURRENT_DESKTOP',
  'XDG_RUNTIME_DIR',
  'XDG_STATE_HOME',
];

const four = (id: number) => [id, id, id, id];

/** Stops what a test spawned. */
function stopsAtEnd(t: ExecutionContext, pidFile: string) {
  t.teardown(() => stopDaemon({ pidFile }, { timeout: 2000 }));
}

asRoot('nothing of the launcher is left but what the user is: all four ids, all groups, no way back', async (t) => {
  const app = bench(t, {
    'app.mjs': `
      import { daemonize } from 'daemonry';
      import { tell } from './tell.cjs';
      daemonize({ pidFile: 'a.pid', user: 'nobody', stdout: 'out' }, () => {
        const attempts = ['setuid', 'seteuid', 'setgid', 'setegid'].map((call) => {
          try {
            process[call](0);
            return call + ' worked';
          } catch (error) {
            return error.code;
          }
        });
        tell({ attempts, groups: process.getgroups() });
        setInterval(() => {}, 60_000);
      });
    `,
  });
  chmodSync(app.path, 0o777);
  const { code, stderr } = await run('setpriv', ['--groups=0,4,27', process.execPath, 'app.mjs'], {
    cwd: app.path,
    env: { ...process.env, ...Object.fromEntries(ofCaller.map((variable) => [variable, '/run/user/0'])) },
  });
  t.is(code, 0, stderr);
  const { pid, attempts, groups, env } = app.told()!;
  t.deepEqual(idsOf(pid), { uid: four(nobody.uid), gid: four(nobody.gid), groups: [nobody.gid] });
  t.deepEqual(attempts, ['EPERM', 'EPERM', 'EPERM', 'EPERM']);
  t.deepEqual(groups, [nobody.gid]);
  t.is(statusField(pid, 'CapEff'), '0000000000000000');
  t.is(statusField(pid, 'CapPrm'), '0000000000000000');
  const [, , , , , home, shell] = /^nobody:.*$/m.exec(readFileSync('/etc/passwd', 'utf8'))![0].split(':');
  t.like(env, { USER: 'nobody', LOGNAME: 'nobody', HOME: home, SHELL: shell });
  t.deepEqual(
    ofCaller.filter((variable) => env[variable] !== undefined),
    [],
  );
  // A log that the start makes belongs to who writes it.
  t.is(statSync(app.at('out')).uid, nobody.uid);
});

asRoot('group and groups by name and number, in place of those that the database gives', async (t) => {
  const { at } = workspace(t);
  stopsAtEnd(t, at('a.pid'));
  const options = { pidFile: at('a.pid'), user: 'nobody', group: 'daemon', groups: ['adm', 12345, '27'] };
  const { pid } = await spawnDaemon('sleep', ['60'], options);
  t.deepEqual(idsOf(pid), { uid: four(nobody.uid), gid: four(1), groups: [4, 27, 12345] });
});

asRoot('a group alone takes the supplementary groups away, and a number alone needs a group', async (t) => {
  const { at } = workspace(t);
  stopsAtEnd(t, at('a.pid'));
  const { pid } = await spawnDaemon('sleep', ['60'], { pidFile: at('a.pid'), group: 'daemon' });
  t.deepEqual(idsOf(pid), { uid: four(0), gid: four(1), groups: [] });
  await stopDaemon({ pidFile: at('a.pid') });
  const only = await t.throwsAsync(spawnDaemon('sleep', ['60'], { pidFile: at('a.pid'), user: 3_999_999_999 }));
  t.like(only, {
    code: 'ERR_UNKNOWN_USER',
    message: 'the user database does not have user 3999999999, so its group must be given, too',
  });
  const both = await spawnDaemon('sleep', ['60'], { pidFile: at('a.pid'), user: 3_999_999_999, group: 1 });
  t.deepEqual(idsOf(both.pid), { uid: four(3_999_999_999), gid: four(1), groups: [] });
  const environment = environmentOf(both.pid)!;
  t.true(environment.includes('HOME=/'), environment.join());
});

test('a user or group that does not exist is told before anything is made', async (t) => {
  const { at, path, launch } = bench(t);
  for (const [options, message] of [
    [{ user: 'no-such-user' }, 'there is no user "no-such-user"'],
    [{ group: 'no-such-group' }, 'there is no group "no-such-group"'],
    [{ groups: ['root', 'no-such-group'] }, 'there is no group "no-such-group"'],
  ] as const) {
    const error = await t.throwsAsync(spawnDaemon('sleep', ['60'], { pidFile: at('a.pid'), ...options }));
    t.like(error, { code: 'ERR_UNKNOWN_USER', message });
    const { code, stderr } = await launch(service({ pidFile: at('a.pid'), log: at('log'), ...options }, 'run'));
    t.is(code, 1);
    t.is(stderr, `program.mjs: ${message}\n`);
  }
  t.false(existsSync(at('a.pid')), path);
});

asRoot('without the privilege a change is refused before anything is made, and no change is none', async (t) => {
  const { at, path, call } = bench(t);
  chownSync(path, nobody.uid, nobody.gid);
  const script = `
    return spawnDaemon('sleep', ['60'], { pidFile: args[0], ...JSON.parse(args[1]) }).then(({ pid }) => pid);
  `;
  for (const [options, step] of [
    [{ user: 'root' }, 'set-uid'],
    [{ group: 0 }, 'set-gid'],
    [{ groups: [4] }, 'set-groups'],
  ] as const) {
    const { error } = await call(script, { args: [at('a.pid'), JSON.stringify(options)], ...nobody, cwd: '/' });
    t.like(error, { code: 'EPERM', step });
    t.regex(error!.message, /this requires root \(EPERM\)$/);
    t.false(existsSync(at('a.pid')));
  }
  stopsAtEnd(t, at('a.pid'));
  const own = await call(script, { args: [at('a.pid'), JSON.stringify({ user: 'nobody' })], ...nobody, cwd: '/' });
  t.is(typeof own.returned, 'number', own.error?.message);
});

asRoot('a script that the user cannot read is told as such', async (t) => {
  const app = bench(t, {
    'secret.mjs': `import { daemonize } from 'daemonry'; daemonize({ pidFile: 'a.pid', user: 'nobody' });`,
  });
  chmodSync(app.at('secret.mjs'), 0o600);
  const { code, stderr } = await app.node(['secret.mjs']);
  t.is(code, 1);
  t.is(
    stderr,
    `secret.mjs did not start: cannot read the script ${app.at('secret.mjs')}: the daemon's user may not read it, or may not enter a directory above it (EACCES)\n`,
  );
  t.false(existsSync(app.at('a.pid')));
});

asRoot('a directory that only root may enter is told, for the user is changed first', async (t) => {
  const { at } = workspace(t);
  mkdirSync(at('closed'), { mode: 0o700 });
  const options = { pidFile: at('a.pid'), cwd: at('closed'), user: 'nobody' };
  const error = await t.throwsAsync(spawnDaemon('sleep', ['60'], options));
  t.like(error, { code: 'EACCES', step: 'chdir', path: at('closed') });
});

asRoot('the pidfile of a user who may not write beside it stays at the end, and says dead', async (t) => {
  const { at, launch } = bench(t);
  const { code, stderr } = await launch(service({ pidFile: at('a.pid'), user: 'nobody' }, 'run'));
  t.is(code, 0, stderr);
  t.is((await daemonStatus({ pidFile: at('a.pid') })).state, 'running');
  const pid = (await pidOf({ pidFile: at('a.pid') }))!;
  // By itself: what root's stop would remove stays here.
  process.kill(pid, 'SIGTERM');
  await until('it has ended', async () => (await daemonStatus({ pidFile: at('a.pid') })).state === 'dead');
  t.is(readFileSync(at('a.pid'), 'utf8'), `${pid}\n`);
  t.is(statSync(at('a.pid')).uid, 0);
});

asRoot('what such a daemon has left is removed by a stop that may', async (t) => {
  const { at, launch } = bench(t);
  const { code, stderr } = await launch(service({ pidFile: at('a.pid'), user: 'nobody' }, 'run'));
  t.is(code, 0, stderr);
  t.is((await stopDaemon({ pidFile: at('a.pid') })).outcome, 'stopped');
  t.false(existsSync(at('a.pid')));
});

asRoot('a pidfile and a log where the user may not even look are used all the same', async (t) => {
  const { at, launch } = bench(t);
  mkdirSync(at('closed'), { mode: 0o700 });
  const options = { pidFile: at('closed', 'a.pid'), log: at('closed', 'a.log'), user: 'nobody' };
  const { code, stderr } = await launch(service(options, 'run'));
  t.is(code, 0, stderr);
  t.is((await daemonStatus({ pidFile: options.pidFile })).state, 'running');
  const pid = (await pidOf({ pidFile: options.pidFile }))!;
  process.kill(pid, 'SIGTERM');
  await until('it has ended', async () => (await daemonStatus({ pidFile: options.pidFile })).state === 'dead');
  t.is(readFileSync(options.pidFile, 'utf8'), `${pid}\n`);
});

asRoot('a named daemon of another user has places that it can use, and root keeps what it executes', async (t) => {
  const app = bench(t, {
    'app.mjs': `
      import { daemonize, daemonPaths } from 'daemonry';
      import { tell } from './tell.cjs';
      daemonize({ name: process.argv[2], user: 'nobody' }, (daemon) => {
        tell({ paths: daemonPaths(process.argv[2]), pidFile: daemon.pidFile });
        daemon.onReload(() => console.log('reloaded'));
        daemon.onStop(() => {});
        daemon.ready('serving \\u001b[2J now');
        setInterval(() => {}, 60_000);
      });
    `,
  });
  const name = named(t);
  chmodSync(app.path, 0o777);
  const { code, stderr } = await app.node(['app.mjs', name]);
  t.is(code, 0, stderr);
  const { pidFile, logFile } = daemonPaths(name);
  t.deepEqual(app.told()!['paths'], daemonPaths(name), 'the daemon sees the places in which root has started it');
  t.is(app.told()!['pidFile'], pidFile);
  t.is(statSync(dirname(pidFile)).uid, nobody.uid);
  t.is(statSync(logFile).uid, nobody.uid);
  t.is(statSync(`/var/lib/daemonry/${name}.json`).uid, 0);

  // What it says about itself is shown, and cannot command a terminal.
  await until('it says that it serves', async () => (await daemonStatus(name)).record?.status !== undefined);
  t.is((await daemonStatus(name)).record?.status, 'serving ?[2J now');

  // Rotation: a log that is gone is made anew, by the user.
  const moved = `${logFile}.1`;
  renameSync(logFile, moved);
  await signalDaemon(name, 'SIGHUP');
  await until('it has reopened its log', () => read(logFile) === 'reloaded\n');
  t.is(statSync(logFile).uid, nobody.uid);

  process.kill((await pidOf(name))!, 'SIGTERM');
  await until('it has removed its pidfile', () => !existsSync(pidFile));
});

asRoot('a program that names itself is started by that name as another user', async (t) => {
  const app = bench(t, {
    'app.mjs': `
      import { daemonize } from 'daemonry';
      import { tell } from './tell.cjs';
      daemonize({ name: process.argv[2] }, (daemon) => tell({ pidFile: daemon.pidFile, mode: daemon.mode }));
    `,
  });
  const name = named(t);
  chmodSync(app.path, 0o777);
  const options = { name, user: 'nobody', waitFor: 'ready' } as const;
  const { pid } = await spawnDaemon(process.execPath, [app.at('app.mjs'), name], options);
  t.like(app.told(), { pid, pidFile: daemonPaths(name).pidFile, mode: 'daemon' });
  t.deepEqual(idsOf(pid).uid, four(nobody.uid));
});

asRoot('a self-report that the daemon has not written, or not about itself, is not shown', async (t) => {
  const app = bench(t, {
    'app.mjs': `
      import { daemonize } from 'daemonry';
      daemonize({ name: process.argv[2], user: 'nobody' }, (daemon) => {
        daemon.ready('mine');
        setInterval(() => {}, 60_000);
      });
    `,
  });
  const name = named(t);
  t.is((await app.node(['app.mjs', name])).code, 0);
  const report = daemonPaths(name).pidFile.replace(/\.pid$/, '.self.json');
  t.is((await daemonStatus(name)).record?.status, 'mine');
  const { pid } = JSON.parse(readFileSync(report, 'utf8')) as { pid: number };
  writeFileSync(report, JSON.stringify({ pid: pid + 1, status: 'of another process' }));
  t.is((await daemonStatus(name)).record?.status, undefined);
  writeFileSync(report, JSON.stringify({ pid, status: 'of another user' }));
  chownSync(report, 1, 1);
  t.is((await daemonStatus(name)).record?.status, undefined);
  t.is((await daemonStatus(name)).record?.program, process.execPath);
});

asRoot('restart and the command line start it as the same user again', async (t) => {
  const name = named(t);
  const started = await daemonry([
    'start',
    '--name',
    name,
    '--user',
    'nobody',
    '--group',
    'daemon',
    '--nice',
    '3',
    'sleep',
    '60',
  ]);
  t.is(started.code, 0, started.stderr);
  const first = (await pidOf(name))!;
  t.deepEqual(idsOf(first), { uid: four(nobody.uid), gid: four(1), groups: [1] });
  const again = await daemonry(['restart', name]);
  t.is(again.code, 0, again.stderr);
  const second = (await pidOf(name))!;
  t.not(second, first);
  t.deepEqual(idsOf(second), { uid: four(nobody.uid), gid: four(1), groups: [1] });
  const unknown = await daemonry(['start', '--name', name, '--replace', '--user', 'no-such-user', 'sleep', '60']);
  t.is(unknown.code, 1);
  t.is(unknown.stderr, 'daemonry: there is no user "no-such-user"\n');
});
