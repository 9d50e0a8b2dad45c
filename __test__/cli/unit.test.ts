/** What `daemonry unit` prints: read by what it is for, and the examples run by it, unchanged. */
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import anyTest, { type ExecutionContext } from 'ava';
import { daemonPaths, daemonStatus } from '../../dist/index.js';
import { bench } from '../helpers/bench.js';
import { seen } from '../helpers/cells.js';
import { daemonry, main } from '../helpers/command.js';
import { named } from '../helpers/named.js';
import { boot, noMachine } from '../helpers/machine.js';
import { testUnless } from '../helpers/privileges.js';
import { ask, freePort } from '../helpers/requests.js';
import { run, start } from '../helpers/run.js';
import { until } from '../helpers/until.js';
import { workspace } from '../helpers/workspace.js';

const repository = fileURLToPath(new URL('../..', import.meta.url));
const kinds = 'systemd openrc sysv launchd runit s6 supervisord docker kubernetes nomad'.split(' ');
/** What is special to one of their languages or another. */
const hard = `how "do" you 'do' \\ $USER $(id) \${x} %n %% %{y} <&> # ;`;

function unit(...args: readonly string[]) {
  return daemonry(['unit', ...args], { cwd: '/' });
}

async function printed(t: ExecutionContext, ...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await unit(...args);
  t.is(code, 0, stderr);
  return stdout;
}

anyTest('every kind is printed for a program, and ends with a newline', async (t) => {
  for (const kind of kinds) {
    const text = await printed(t, 'api', '--for', kind, '--', 'node', 'app.mjs');
    t.true(text.includes('app.mjs'), kind);
    t.regex(text, /[^\n]\n$/, kind);
    t.notRegex(text, /undefined|\[object/, kind);
  }
  t.true((await printed(t, 'api', 'true')).startsWith('# /etc/systemd/system/api.service'));
});

anyTest('what cannot be printed is told in a sentence', async (t) => {
  const refused = async (code: number, sentence: string, ...args: readonly string[]) => {
    const told = await unit(...args);
    t.is(told.code, code, told.stderr);
    t.is(told.stderr, `daemonry: ${sentence}\n`);
    t.is(told.stdout, '');
  };
  await refused(2, 'no daemon is given: daemonry unit [OPTIONS] NAME [[--] PROGRAM [ARGUMENT…]]');
  await refused(2, 'no daemon is given: daemonry unit [OPTIONS] NAME [[--] PROGRAM [ARGUMENT…]]', '--', 'true');
  const list = kinds
    .map((kind) => `'${kind}'`)
    .join(', ')
    .replace(/, ([^,]*)$/, ' or $1');
  await refused(2, `--for must be ${list}, not "upstart"`, 'api', '--for', 'upstart', 'true');
  await refused(
    6,
    'there is no record of how daemonry-test-none is started: start it once by that name, or give its program',
    'daemonry-test-none',
  );
  await refused(
    5,
    'cannot execute no-such-program: No such file or directory (ENOENT)',
    'api',
    '--',
    'no-such-program',
  );
  await refused(
    2,
    'for Kubernetes --user must be the number of an ordinary user, not "root"',
    'api',
    '--for',
    'kubernetes',
    '-u',
    'root',
    'true',
  );
  await refused(2, '--env must be NAME=VALUE, not "=x"', 'api', '-e', '=x', 'true');
  const unfit = 'a unit cannot set the variable "$(id)": it must be letters, digits and _';
  await refused(2, unfit, 'api', '-e', '$(id)=x', 'true');
});

anyTest('a daemon on record is started by its unit as it was started', async (t) => {
  const { path, at } = workspace(t);
  const name = named(t);
  mkdirSync(at('a b'));
  const flags = ['--env', `HARD=${hard}`, '--cwd', at('a b'), '--name', name];
  const started = await daemonry(['start', ...flags, 'sleep', '1000'], { cwd: path });
  t.is(started.code, 0, started.stderr);
  const text = await printed(t, name, '--for', 'runit');
  t.true(text.includes(`cd '${at('a b')}' || exit 1\n`), text);
  t.regex(text, /^exec \S*\/sleep 1000$/m);
  const { stdout } = await run('sh', ['-c', `${text.replace(/^exec .*sleep.*$/m, 'printf %s "$HARD"')}`]);
  t.is(stdout, hard);
  t.regex(await printed(t, name), /^Type=exec$/m, 'sleep does not tell when it is up');
});

anyTest(
  'for containers, what is in the project is called by its place there, whichever directory it runs in',
  async (t) => {
    const { path, at } = workspace(t);
    const name = named(t);
    writeFileSync(at('package.json'), '{}');
    writeFileSync(at('conf'), '');
    mkdirSync(at('lib'));
    writeFileSync(at('lib', 'app.mjs'), 'setInterval(() => {}, 1e6);');
    const outside = fileURLToPath(import.meta.url);
    for (const flags of [[], ['--cwd', '/'], ['--cwd', path]]) {
      const command = ['start', '--name', name, ...flags, '--', 'lib/app.mjs', at('conf'), outside];
      const started = await daemonry(command, { cwd: path });
      t.is(started.code, 0, started.stderr);
      const words = ['/app/lib/app.mjs', '/app/conf', outside];
      const docker = await printed(t, name, '--for', 'docker');
      t.true(
        docker.includes(
          `\nCMD ${['node', ...words]
            .map((word) => JSON.stringify(word))
            .join(', ')
            .replace(/^.*$/, '[$&]')}\n`,
        ),
        docker,
      );
      t.true(docker.includes(`\n# Not in the project, so to be copied or mounted: ${outside}\n`), docker);
      t.true(docker.includes(`\nFROM node:${process.versions.node.split('.')[0]}-slim\nWORKDIR /app\n`), docker);
      t.is(
        readers.kubernetes(await printed(t, name, '--for', 'kubernetes')).command.join(' '),
        `node ${words.join(' ')}`,
      );
      t.is(readers.nomad(await printed(t, name, '--for', 'nomad')).command.join(' '), `node ${words.join(' ')}`);
      await daemonry(['stop', name]);
    }
  },
);

anyTest('for another interpreter than Node.js, no image is made up', async (t) => {
  const { path, at } = workspace(t);
  const name = named(t);
  writeFileSync(at('run.sh'), 'exec sleep 1000\n');
  const started = await daemonry(['start', '--name', name, 'sh', at('run.sh')], { cwd: path });
  t.is(started.code, 0, started.stderr);
  const text = await printed(t, name, '--for', 'docker');
  t.regex(text, /^# docker build --build-arg BASE=IMAGE -t /m);
  t.regex(
    text,
    /^# BASE is an image that can run \/\S+\/sh; .*\nARG BASE\nFROM \$\{BASE\}\nWORKDIR \/app\nCOPY \. \.$/m,
  );
  t.regex(text, /^CMD \["sh", "\/app\/run\.sh"\]$/m);
  t.notRegex(text, /FROM node|node_modules|npm ci/);
  // A line of a path stays one.
  mkdirSync(at('a\nRUN b'));
  writeFileSync(at('a\nRUN b', 'sh'), '');
  const lines = await printed(t, name, '--for', 'docker', '--', at('a\nRUN b', 'sh'), at('a\nRUN b'));
  t.notRegex(lines, /^RUN b/m);
});

anyTest("how long a stop may take, and what it ends, are the record's", async (t) => {
  const name = named(t);
  const flags = ['--stop-timeout', '60000', '--kill-mode', 'process', '--cwd', '/', '--alive-for', '0'];
  const started = await daemonry(['start', '--name', name, ...flags, 'sleep', '1000']);
  t.is(started.code, 0, started.stderr);
  const systemd = await printed(t, name);
  t.regex(systemd, /^TimeoutStopSec=62$/m);
  t.regex(systemd, /^KillMode=process$/m);
  t.regex(await printed(t, name, '--for', 'docker'), / --stop-timeout 62 /);
  t.regex(await printed(t, name, '--for', 'kubernetes'), /^ +terminationGracePeriodSeconds: 62$/m);
  t.regex(await printed(t, name, '--for', 'nomad'), /^ +kill_timeout = "62s"$/m);
  t.regex(await printed(t, name, '--for', 'launchd'), /<key>ExitTimeOut<\/key>\n +<integer>62</);
  t.regex(await printed(t, name, '--for', 'supervisord'), /^stopwaitsecs=62$/m);
  t.regex(await printed(t, name, '--for', 'sysv'), / stop --timeout 62000 /);
});

anyTest('a unit for systemd is started again through an outage, and keeps its sockets meanwhile', async (t) => {
  const text = await printed(t, 'api', '--for', 'systemd', '--', 'node', 'app.mjs');
  const [unit, service] = text.split('[Service]');
  t.regex(unit!, /^StartLimitIntervalSec=60\nStartLimitBurst=40$/m);
  t.regex(service!, /^Restart=on-failure\nRestartSec=2$/m);
  t.regex(service!, /^FileDescriptorStoreMax=16$/m);
  t.regex(service!, /^FileDescriptorStorePreserve=restart$/m);
  t.regex(service!, /^KillMode=mixed$/m);
  const plain = await printed(t, 'api', '--for', 'systemd', '--', 'sleep', '1000');
  t.notRegex(plain, /FileDescriptorStore/);
  t.regex(plain, /^KillMode=control-group$/m);
});

anyTest('what a version manager chooses for a shell or a directory is called by its lasting place', async (t) => {
  const { path, at } = workspace(t);
  const shells = at('fnm_multishells', '123_456', 'bin');
  const shims = at('.asdf', 'shims');
  const chosen = at('.asdf', 'installs', 'bin');
  for (const folder of [shells, shims, chosen]) mkdirSync(folder, { recursive: true });
  const tool = (file: string, text: string) => writeFileSync(file, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  symlinkSync(process.execPath, join(shells, 'node'));
  symlinkSync(main, join(shells, 'daemonry'));
  for (const name of ['asdf-tool', 'node']) tool(join(shims, name), 'exit 1');
  tool(join(shims, 'unknown'), 'exit 1');
  tool(join(chosen, 'asdf-tool'), 'exit 1');
  // As its own: it knows one of its shims, and that only in the directory of the service.
  tool(at('asdf'), `[ "$PWD $1 $2" = '${path} which asdf-tool' ] && echo ${join(chosen, 'asdf-tool')}`);
  const execStart = async (...args: string[]) => {
    const PATH = [shells, shims, path, process.env['PATH']].join(':');
    const options = { cwd: '/', env: { ...process.env, PATH } };
    const { stdout, stderr } = await run(join(shells, 'node'), [join(shells, 'daemonry'), 'unit', ...args], options);
    t.is(stderr, '');
    return /^ExecStart=(.*)$/m.exec(stdout)?.[1] ?? stdout;
  };
  t.is(await execStart('api', '--', 'node', 'app.mjs'), `${process.execPath} app.mjs`);
  t.is(await execStart('api', '--', join(shims, 'node'), 'app.mjs'), `${process.execPath} app.mjs`);
  t.is(await execStart('api', '-C', path, '--', 'asdf-tool'), join(chosen, 'asdf-tool'));
  t.is(await execStart('api', '--', 'unknown'), join(shims, 'unknown'));
  const script = await execStart('api', '--for', 'sysv', '--', 'node', 'app.mjs');
  t.false(script.includes('fnm_multishells'), script);
  t.true(script.includes(`${process.execPath} ${main} stop `), script);
});

anyTest('what calls daemonize() tells its supervisor when it is up', async (t) => {
  const { node, at } = bench(t);
  const name = named(t);
  const call = `daemonize({ name: ${JSON.stringify(name)} }, () => void setInterval(() => {}, 1e6))`;
  writeFileSync(at('app.mjs'), `import { daemonize } from 'daemonry';\n${call};\n`);
  t.is((await node(['--no-warnings', 'app.mjs', 'an argument'])).code, 0);
  const unit = await printed(t, name);
  t.regex(unit, /^Type=notify$/m);
  t.regex(unit, /^ExecStart=\S*node --no-warnings \S*app\.mjs "an argument"$/m);
  t.regex(await printed(t, name, '--plain'), /^Type=exec$/m);
});

anyTest('the options may stand before the name and after it; those of the program stay its own', async (t) => {
  const text = await printed(t, 'api', '--for', 'runit', '--', 'node', 'app.mjs', '--for', 'nobody');
  t.is(await printed(t, '--for', 'runit', 'api', 'node', 'app.mjs', '--for', 'nobody'), text);
  t.regex(text, /^exec \S*node app\.mjs --for nobody$/m);
});

/** Runs an action of an init script without the system that it is for. */
function action(kind: string, script: string, name: string) {
  const messages = ['ebegin() { :; }', 'eend() { return "$1"; }', 'log_daemon_msg() { :; }', 'log_end_msg() { :; }'];
  const text = [...messages, script.replace(/^\. \/lib\/lsb.*$/m, '')].join('\n');
  return run('sh', ['-c', kind === 'openrc' ? `${text}\n${name}` : text, 'sh', name], { cwd: '/' });
}

for (const kind of ['sysv', 'openrc']) {
  for (const plain of [false, true]) {
    const what = plain ? 'a program' : 'what calls daemonize()';
    anyTest(
      `${kind}, ${what}: with the pid of another process in the pidfile, start starts and nothing hits it`,
      async (t) => {
        const { at, path } = bench(t);
        const name = named(t);
        const call = `daemonize({ name: ${JSON.stringify(name)} }, (daemon) => {
        daemon.onReload(() => writeFileSync('${path}/reloaded', ''));
        setInterval(() => {}, 1e6);
      })`;
        const source = `import { writeFileSync } from 'node:fs'; import { daemonize } from 'daemonry';\n${call};\n`;
        writeFileSync(at('app.mjs'), plain ? 'setInterval(() => {}, 1e6);' : source);
        const flags = ['--for', kind, '--cwd', path, ...(plain ? ['--plain'] : [])];
        const script = await printed(t, name, ...flags, '--', process.execPath, 'app.mjs');
        t.notRegex(script, /start-stop-daemon|pidofproc|killproc|status_of_proc|\.pid\b|\bkill\b/);
        // Where Node.js is not on the PATH, too.
        t.true(script.includes(`${process.execPath} ${main} stop `), script);
        const codeOf = async (action_: string) => (await action(kind, script, action_)).code;

        // The same executable, without a handler for SIGHUP.
        const stranger = start(process.execPath, ['-e', 'setInterval(() => {}, 1e6)', path]).child;
        t.teardown(() => stranger.kill('SIGKILL'));
        const { pidFile } = daemonPaths(name);
        const recycle = () => {
          mkdirSync(dirname(pidFile), { recursive: true });
          writeFileSync(pidFile, `${stranger.pid}\n`);
        };
        recycle();
        t.not(await codeOf('status'), 0);
        t.is(await codeOf('reload'), 7);
        t.is(await codeOf('stop'), 0);
        recycle();
        const started = await action(kind, script, 'start');
        t.is(started.code, 0, started.stderr);
        const found = await daemonStatus(name);
        t.is(found.state, 'running');
        t.not('pid' in found ? found.pid : undefined, stranger.pid);
        t.is(await codeOf('status'), 0);
        t.is(await codeOf('start'), 0);
        t.is(
          'pid' in found && found.pid,
          ((await daemonStatus(name)) as typeof found & { pid: number }).pid,
          'it was left alone',
        );
        if (!plain) {
          t.is(await codeOf('reload'), 0);
          await until('it has reloaded', () => existsSync(at('reloaded')));
        }
        t.is(await codeOf('stop'), 0);
        t.is(await codeOf('status'), 3);
        t.is(stranger.exitCode ?? stranger.signalCode, null);
      },
    );
  }
}

const validators = join(repository, 'target', 'validators');
const noValidators = existsSync(join(validators, 'made'))
  ? undefined
  : 'target/validators is not there: see tools/machine/fetch-validators';

/** Validates what is printed for a program with difficult words. */
const validated = [
  ['kubernetes', 'kubernetes-validate --strict FILE', (t: string) => t.replace('replicas', 'replika')],
  ['docker', 'hadolint --failure-threshold style FILE', (t: string) => t.replace('npm ci', 'sudo npm ci')],
  ['nomad', 'hcl2tojson FILE', (t: string) => t.replace('count = 1', 'count = ')],
  [
    'launchd',
    'python -c "import plistlib,sys; plistlib.load(open(sys.argv[1], \'rb\'))" FILE',
    (t: string) => t.replace('</dict>', ''),
  ],
] as const;

for (const [kind, command, spoil] of validated) {
  testUnless(noValidators)(`${kind}: its validator has no objection, and objects to a mistake`, async (t) => {
    const { at } = workspace(t);
    const line = `${validators}/bin/${command}`.replace('FILE', at('file'));
    const text = await printed(
      t,
      'api',
      '--for',
      kind,
      '-e',
      `HARD=${hard}`,
      '-C',
      '/srv/api',
      '--',
      'node',
      'app.mjs',
      hard,
    );
    writeFileSync(at('file'), text);
    const { code, stdout, stderr } = await run('sh', ['-c', line]);
    t.is(code, 0, `${stdout}${stderr}`);
    t.not(spoil(text), text);
    writeFileSync(at('file'), spoil(text));
    t.not((await run('sh', ['-c', line])).code, 0);
  });
}

testUnless(noValidators)('difficult words are read back as they are', async (t) => {
  const { at } = workspace(t);
  const readers = {
    kubernetes: `import yaml; c = yaml.safe_load(text)['spec']['template']['spec']['containers'][0]
print(json.dumps([c['command'][-1], c['env'][-1]['value']]).replace('$$(', '$('))`,
    nomad: `import hcl2; task = hcl2.loads(text)['job'][0]['"api"']['group'][0]['"api"']['task'][0]['"api"']
read = lambda string: json.loads(string.replace('$\${', '\${').replace('%%{', '%{'))
print(json.dumps([read(task['config'][0]['args'][-1]), read(task['env'][0]['HARD'])]))`,
    launchd: `import plistlib; p = plistlib.loads(text.encode())
print(json.dumps([p['ProgramArguments'][-1], p['EnvironmentVariables']['HARD']]))`,
  };
  for (const [kind, script] of Object.entries(readers)) {
    writeFileSync(at('file'), await printed(t, 'api', '--for', kind, '-e', `HARD=${hard}`, '--', 'node', hard));
    const python = `import json, sys; text = open(sys.argv[1]).read(); ${script}`;
    const { stdout, stderr } = await run(`${validators}/bin/python`, ['-c', python, at('file')]);
    t.is(stderr, '', kind);
    t.deepEqual(JSON.parse(stdout), [hard, hard], kind);
  }
});

const booted = testUnless(noMachine);

async function machineOf(t: ExecutionContext, command: readonly string[]) {
  const machine = await boot(command);
  t.teardown(() => machine.end());
  const must = async (script: string) => {
    const { code, stdout, stderr } = await machine.sh(script);
    if (code !== 0) throw new Error(`${script}: exit code ${code}\n${stdout}${stderr}`);
    return stdout;
  };
  return { ...machine, must };
}

/** A port that only root may have. */
async function privilegedPort(): Promise<number> {
  for (let port = 600; port < 1024; port++) {
    const server = createServer().listen(port);
    const [error] = (await Promise.race([once(server, 'listening'), once(server, 'error')])) as unknown[];
    if (error !== undefined) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
  throw new Error('every privileged port is taken');
}

/** The examples as they are, and what each of them logs when it is up. */
const examples = (port: number) =>
  [
    ['alarm', 'alarm.ts examples/alarms.json', 'alarms loaded'],
    ['heartbeat', `heartbeat.ts --every 1 127.0.0.1:${port}`, 'reachable'],
    ['web', `web.ts --port ${port}`, ''],
  ] as const;

booted('systemd verifies its units, and they start the examples, hardened and as users without rights', async (t) => {
  const flags = ['--unit=basic.target', '--log-target=journal', '--show-status=false'];
  const { must, sh, read } = await machineOf(t, ['/usr/lib/systemd/systemd', ...flags]);
  await until('systemd has booted', async () =>
    /^(running|degraded)/.test((await sh('systemctl is-system-running')).stdout),
  );
  const port = await privilegedPort();
  for (const [name, line, logged] of examples(port)) {
    const file = `/etc/systemd/system/${name}.service`;
    await must(`daemonry unit --cwd /srv/daemonry ${name} -- node --import tsx examples/${line} >${file}`);
    // What systemd 254 has brought, the older ones say that they leave out.
    const unknown = /^\S+: Unknown key (name )?'FileDescriptorStorePreserve' in section \S+, ignoring\.\n/gm;
    t.is((await must(`systemd-analyze verify ${file} 2>&1`)).replaceAll(unknown, ''), '');
    const start = await sh(`systemctl daemon-reload; systemctl start ${name}`);
    t.is(start.code, 0, await must(`journalctl -o cat -u ${name}`));
    const pid = await must(`systemctl show --property=MainPID --value ${name}`);
    t.is(read(`/run/${name}/${name}.pid`), pid);
    const status = await must(`cat /proc/${pid.trim()}/status`);
    t.notRegex(status, /^Uid:\s+0\s/m);
    // CAP_NET_BIND_SERVICE is number 10.
    t.regex(status, /^CapEff:\s+0000000000000400$/m);
    t.regex(status, /^Seccomp:\s+2$/m);
    // 0 would be perfect, 10 without any hardening; systemd calls everything below 3.1 OK.
    await must(`systemd-analyze security --threshold=31 ${name}`);
    if (name === 'web') t.regex(await ask(port), new RegExp(`^served by uid \\d{5} with pid ${pid}`));
    await until('it has logged', async () => (await must(`journalctl -o cat -u ${name}`)).includes(logged));
    t.is((await sh(`systemctl reload ${name}`)).code, 0);
    await until('it is reloaded', async () => (await must(`systemctl is-active ${name}`)) === 'active\n');
    t.is(await must(`systemctl show --property=MainPID --value ${name}`), pid);
    await must(`systemctl stop ${name}`);
    t.is(await must(`systemctl show --property=Result --value ${name}`), 'success\n');
  }
});

booted('systemd runs what only its owner can read as that owner, and what calls no daemonize() as it is', async (t) => {
  const flags = ['--unit=basic.target', '--log-target=journal', '--show-status=false'];
  const { must, sh } = await machineOf(t, ['/usr/lib/systemd/systemd', ...flags]);
  await until('systemd has booted', async () =>
    /^(running|degraded)/.test((await sh('systemctl is-system-running')).stdout),
  );
  await must(`mkdir -m 700 /home/svc && cp /usr/bin/sleep /home/svc && chown -R 1500:1500 /home/svc;
    echo svc:x:1500:1500::/home/svc:/bin/sh >>/etc/passwd; echo svc:x:1500: >>/etc/group`);
  for (const [name, program, uid] of [
    ['private', '/home/svc/sleep 1000', '1500'],
    ['public', `sleep 1000`, '6[1-5]\\d{3}'],
    ['somebodys', 'sleep 1000', '1500'],
  ]) {
    const user = name === 'somebodys' ? '--user svc' : '';
    await must(`daemonry unit ${user} --plain --cwd / ${name} -- ${program} >/etc/systemd/system/${name}.service`);
    await must(`systemd-analyze verify /etc/systemd/system/${name}.service`);
    const { code } = await sh(`systemctl daemon-reload; systemctl start ${name}`);
    t.is(code, 0, await must(`journalctl -o cat -u ${name}`));
    const pid = await must(`systemctl show --property=MainPID --value ${name}`);
    t.regex(await must(`cat /proc/${pid.trim()}/status`), new RegExp(`^Uid:\\s+${uid}\\s`, 'm'), name);
  }
});

booted('the containers described for Docker, Kubernetes and Nomad run the examples, also under crun', async (t) => {
  const machine = await machineOf(t, ['sleep', '1000']);
  const { must, sh } = machine;
  await must('mkdir -p /bundle/rootfs /app && mount --bind / /bundle/rootfs && mount -t tmpfs tmpfs /mnt');
  // The image: the project in /app, with the command line where npm puts it.
  await must(
    'mkdir /mnt/up /mnt/work && mount -t overlay -o lowerdir=/srv/daemonry,upperdir=/mnt/up,workdir=/mnt/work - /app',
  );
  await must('ln -s ../../dist/cli.js /app/node_modules/.bin/daemonry && cd /bundle && crun spec');
  const spec = JSON.parse(machine.read('/bundle/config.json')) as OciConfig;
  const port = await freePort();
  for (const [name, line, logged] of examples(port)) {
    for (const kind of ['docker', 'kubernetes', 'nomad'] as const) {
      const print = `daemonry unit --for ${kind} --cwd /srv/daemonry ${name} -- node --import tsx examples/${line}`;
      const { command, env, probe } = readers[kind](await must(print));
      const config = structuredClone(spec);
      config.process.terminal = false;
      config.process.args = command;
      config.process.cwd = '/app';
      config.process.user = { uid: 1000, gid: 1000 };
      config.process.env.push(...env, 'HOME=/home/node');
      config.process.noNewPrivileges = true;
      config.process.capabilities = {};
      config.root.readonly = true;
      for (const path of ['/app', '/usr/local/bin/node']) {
        config.mounts.push({ destination: path, type: 'bind', source: path, options: ['rbind', 'ro'] });
      }
      for (const destination of ['/run/state', '/tmp']) {
        config.mounts.push({ destination, type: 'tmpfs', source: 'tmpfs', options: ['mode=1777'] });
      }
      config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== 'network');
      machine.write('/bundle/config.json', JSON.stringify(config));
      const crun = 'crun --cgroup-manager=disabled';
      const container = `${kind}-${name}`;
      // It makes standard input the container's user's, and /dev/null is that of this machine.
      const running = sh(`cd /bundle && : >empty && exec ${crun} run ${container} <empty`);
      const probed = probe ?? ['node_modules/.bin/daemonry', 'status', '--ready', name];
      await until(`${container} is ready`, async () => {
        const over = await Promise.race([running, undefined]);
        if (over !== undefined) throw new Error(`${container} has ended: ${JSON.stringify(over)}`);
        // As whatever runs containers asks: in the working directory of the image.
        return (await sh(`${crun} exec --cwd /app ${container} ${probed.join(' ')} </bundle/empty`)).code === 0;
      });
      if (name === 'web') t.is(await ask(port), 'served by uid 1000 with pid 1\n');
      await must(`${crun} kill ${container} TERM`);
      const { code, stdout, stderr } = await running;
      t.is(code, 0, `${container}: ${stderr}`);
      t.true(stdout.includes(logged), `${container}: ${stdout}`);
      if (name !== 'web' || kind === 'docker') continue;
      const place = { kubernetes: 'Kubernetes', nomad: 'Nomad' }[kind];
      seen(place, 'mode', 'foreground (its container, under crun)');
      seen(place, 'ready', kind === 'kubernetes' ? '`readinessProbe`, with `daemonry status --ready`' : 'no');
      seen(place, 'stop', 'yes, exit code 0');
    }
  }
});

interface OciConfig {
  process: {
    terminal: boolean;
    args: string[];
    cwd: string;
    env: string[];
    user: { uid: number; gid: number };
    noNewPrivileges: boolean;
    capabilities: object;
  };
  root: { readonly: boolean };
  mounts: { destination: string; type: string; source: string; options: string[] }[];
  linux: { namespaces: { type: string }[] };
}

interface Container {
  readonly command: string[];
  readonly env: string[];
  readonly probe?: readonly string[];
}

/** What a container runtime takes from each of them; written for what is printed, not for whatever may stand there. */
const readers: Readonly<Record<'docker' | 'kubernetes' | 'nomad', (text: string) => Container>> = {
  docker(text) {
    const list = (start: RegExp) =>
      JSON.parse(
        text
          .split('\n')
          .find((line) => start.test(line))!
          .replace(start, ''),
      ) as string[];
    const env = [...text.matchAll(/^ENV (\w+)=(.*)$/gm)].map(([, name, value]) => `${name}=${JSON.parse(value!)}`);
    return { command: list(/^CMD /), env, probe: list(/^HEALTHCHECK .* CMD /) };
  },
  kubernetes(text) {
    const [command, probe] = [...text.matchAll(/^ +command: (\[.*\])$/gm)].map(
      ([, list]) => JSON.parse(list!) as string[],
    );
    const env = [...text.matchAll(/^ +- name: (\w+)\n +value: (.*)$/gm)].map(
      ([, name, value]) => `${name}=${JSON.parse(value!)}`,
    );
    return { command: command!, env, probe: probe! };
  },
  nomad(text) {
    const string = (key: string) =>
      JSON.parse(new RegExp(`^ +${key} += (.*)$`, 'm').exec(text)![1]!) as string | string[];
    const env = [...text.matchAll(/^ {8}(\w+) = (".*")$/gm)].map(([, name, value]) => `${name}=${JSON.parse(value!)}`);
    return { command: [string('command') as string, ...string('args')], env };
  },
};
