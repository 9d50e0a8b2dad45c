/** What the options do to a daemon, and what is said about options that cannot be meant. */
import { chmodSync, existsSync, mkdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { daemonPaths, daemonStatus, isDaemonError, type DaemonizeOptions } from '../../dist/index.js';
import { service } from '../fixtures/service.js';
import { bench } from '../helpers/bench.js';
import { binding } from '../helpers/binding.js';
import { testOnLinux } from '../helpers/privileges.js';
import { hasEnded, statusField } from '../helpers/processes.js';
import { until } from '../helpers/until.js';

const wrongTypes: Readonly<Record<keyof DaemonizeOptions, readonly (readonly [source: string, wanted: string])[]>> = {
  mode: [
    ["'fore'", `option "mode" must be 'auto', 'daemon' or 'foreground', not "fore"`],
    ['true', `option "mode" must be 'auto', 'daemon' or 'foreground', not true`],
  ],
  name: ['1', "''", "'.'", "'..'", "'a/b'", "'ä'", "'a b'", 'null'].map((source) => [
    source,
    `a daemon's name must be a string of letters, digits and _ . @ -, not ${source.replaceAll("'", '"')}${source.includes('/') ? ': a path is given as the pidfile, not as the name' : ''}`,
  ]),
  pidFile: [
    ['7', 'option "pidFile" must be a path, not 7'],
    ["''", 'option "pidFile" must be a path, not ""'],
    ["'a\\0b'", 'option "pidFile" must be a path, not "a\\u0000b"'],
    [
      "new URL('https://example.org/a.pid')",
      'option "pidFile" must be a path or a local file: URL, not https://example.org/a.pid',
    ],
    [
      "new URL('file://example.org/a.pid')",
      'option "pidFile" must be a path or a local file: URL, not file://example.org/a.pid',
    ],
    ["new URL('file:///a%00b')", 'option "pidFile" must be a path or a local file: URL, not file:///a%00b'],
    ["new URL('file:///a%2Fb')", 'option "pidFile" must be a path or a local file: URL, not file:///a%2Fb'],
  ],
  log: [
    ['1', 'option "log" must be a path or { path, mode, append }, not 1'],
    ['null', 'option "log" must be a path or { path, mode, append }, not null'],
    ["''", 'option "log" must be a path, not ""'],
    ["new URL('data:,a')", 'option "log" must be a path or a local file: URL, not data:,a'],
    ["{ path: new URL('data:,a') }", 'option "log.path" must be a path or a local file: URL, not data:,a'],
    ['{}', 'option "log.path" must be a path, not undefined'],
    ["{ path: 'l', mode: '0640' }", 'option "log.mode" must be an integer from 0 to 0o777, not "0640"'],
    ["{ path: 'l', mode: 0o642 }", 'option "log.mode" (0o642) must not let everybody write'],
    ["{ path: 'l', append: 1 }", 'option "log.append" must be true or false, not 1'],
    ["{ path: 'l', colour: 1 }", 'unknown option "log.colour"'],
  ],
  stdin: [
    ['-1', 'option "stdin" must be an open file descriptor, not -1'],
    ['2 ** 32', 'option "stdin" must be an open file descriptor, not 4294967296'],
    [
      'true',
      `option "stdin" must be a path, 'ignore', 'inherit', an open file descriptor or { path, mode, append }, not true`,
    ],
  ],
  stdout: [
    ['1.5', 'option "stdout" must be an open file descriptor, not 1.5'],
    ['NaN', 'option "stdout" must be an open file descriptor, not NaN'],
    ["{ path: 'l', mode: 0o666 }", 'option "stdout.mode" (0o666) must not let everybody write'],
  ],
  stderr: [
    [
      '() => {}',
      `option "stderr" must be a path, 'ignore', 'inherit', an open file descriptor or { path, mode, append }, not a function`,
    ],
    ["''", 'option "stderr" must be a path, not ""'],
  ],
  cwd: [
    ["new URL('http://a/')", 'option "cwd" must be a path or a local file: URL, not http://a/'],
    ['7', 'option "cwd" must be a path, not 7'],
    ["''", 'option "cwd" must be a path, not ""'],
  ],
  umask: [
    ["'022'", 'option "umask" must be an integer from 0 to 0o777, not "022"'],
    ['-1', 'option "umask" must be an integer from 0 to 0o777, not -1'],
    ['0o1000', 'option "umask" must be an integer from 0 to 0o777, not 512'],
    ['2n', 'option "umask" must be an integer from 0 to 0o777, not 2'],
  ],
  user: [
    ['-1', `option "user" must be a user's name or number, not -1`],
    ['1.5', `option "user" must be a user's name or number, not 1.5`],
    ['2 ** 32 - 1', `option "user" must be a user's name or number, not 4294967295`],
    ["''", `option "user" must be a user's name or number, not ""`],
    ["'a:b'", `option "user" must be a user's name or number, not "a:b"`],
    ['null', `option "user" must be a user's name or number, not null`],
  ],
  group: [["'a b'", `option "group" must be a group's name or number, not "a b"`]],
  groups: [
    ["'wheel'", 'option "groups" must be an array of group names and numbers, not "wheel"'],
    ["['wheel', {}]", `option "groups[1]" must be a group's name or number, not {}`],
  ],
  limits: [
    ['64', 'option "limits" must be an object such as { nofile: 65536 }, not 64'],
    ['{ nofile: -1 }', `option "limits.nofile" must be a whole number, 'unlimited' or { soft, hard }, not -1`],
    [
      "{ nofile: { soft: '9' } }",
      `option "limits.nofile.soft" must be a whole number, 'unlimited' or { soft, hard }, not "9"`,
    ],
    ['{ nofile: { soft: 9, hard: 8 } }', 'option "limits.nofile" has a soft limit above its hard one'],
    ["{ core: { soft: 'unlimited', hard: 8 } }", 'option "limits.core" has a soft limit above its hard one'],
    ['{ nofile: { max: 8 } }', 'unknown option "limits.nofile.max"'],
  ],
  nice: [
    ['20', 'option "nice" must be an integer from -20 to 19, not 20'],
    ["'5'", 'option "nice" must be an integer from -20 to 19, not "5"'],
  ],
  oomScoreAdjust: [['-1001', 'option "oomScoreAdjust" must be an integer from -1000 to 1000, not -1001']],
  noNewPrivileges: [['1', 'option "noNewPrivileges" must be true or false, not 1']],
  listen: [
    ['80', 'option "listen" must be an object such as { http: { port: 80 } }, not 80'],
    ['Object(1n)', 'option "listen" must be an object such as { http: { port: 80 } }, not [BigInt: 1n]'],
    ['{ http: 80 }', 'option "listen.http" must be { port, host } or { path }, not 80'],
    ['{ http: {} }', 'option "listen.http.port" must be an integer from 0 to 65535, not undefined'],
    ['{ http: { port: 65536 } }', 'option "listen.http.port" must be an integer from 0 to 65535, not 65536'],
    ['{ http: { port: 1, host: "" } }', 'option "listen.http.host" must be an IP address or a host name, not ""'],
    ['{ http: { port: 1, path: "a" } }', 'unknown option "listen.http.port"'],
    ['{ http: { port: 1, address: "::" } }', 'unknown option "listen.http.address"'],
    [
      '{ http: { port: 1, backlog: -1 } }',
      'option "listen.http.backlog" must be an integer from 0 to 2147483647, not -1',
    ],
    ['{ http: { path: "" } }', 'option "listen.http.path" must be a path, not ""'],
    [
      '{ http: { path: new URL("http://a/") } }',
      'option "listen.http.path" must be a path or a local file: URL, not http://a/',
    ],
    ['{ "a:b": { port: 1 } }', 'option "listen" has an impossible name: "a:b"'],
    [
      `{ ctl: { path: '/${'s'.repeat(107)}' } }`,
      `the socket's path /${'s'.repeat(107)} is too long: it has 108 bytes, and 107 are possible`,
    ],
  ],
  env: [
    ["'A=1'", 'option "env" must be an object of strings, not "A=1"'],
    ['new Map()', 'option "env" must be an object of strings, not Map(0) {}'],
    ['{ A: 1 }', 'option "env.A" must be a string without NUL, or undefined, not 1'],
    ["{ A: 'a\\0' }", 'option "env.A" must be a string without NUL, or undefined, not "a\\u0000"'],
    ["{ 'A=B': '' }", 'option "env" has an impossible name: "A=B"'],
    ["{ '': '' }", 'option "env" has an impossible name: ""'],
  ],
  extendEnv: [['0', 'option "extendEnv" must be true or false, not 0']],
  waitFor: [
    ["'exec'", `option "waitFor" must be 'start' or 'ready', not "exec"`],
    ['1', `option "waitFor" must be 'start' or 'ready', not 1`],
  ],
  aliveFor: [
    ["'1s'", 'option "aliveFor" must be a number of milliseconds, not "1s"'],
    ['-1', 'option "aliveFor" must be a number of milliseconds, not -1'],
    ['30_000', 'option "aliveFor" (30000) must be less than option "startTimeout" (30000)'],
    ['500, startTimeout: 400', 'option "aliveFor" (500) must be less than option "startTimeout" (400)'],
  ],
  startTimeout: [
    ['NaN', 'option "startTimeout" must be a number of milliseconds, not NaN'],
    ['0', 'option "startTimeout" must be more than 0 milliseconds, not 0'],
  ],
  stopTimeout: [
    ['NaN', 'option "stopTimeout" must be a number of milliseconds, not NaN'],
    ['Infinity', 'option "stopTimeout" must be at most 2147483647 milliseconds (24 days), not Infinity'],
    ['2 ** 31', 'option "stopTimeout" must be at most 2147483647 milliseconds (24 days), not 2147483648'],
  ],
  killMode: [["'all'", `option "killMode" must be 'session' or 'process', not "all"`]],
  restart: [
    ["'sometimes'", `option "restart" must be 'no', 'on-failure' or 'always', not "sometimes"`],
    [
      "'always', pidFile: undefined",
      'option "restart" needs option "name" or option "pidFile", by which the daemon is stopped',
    ],
    ["'always', supervise: false, name: 'a'", 'option "restart" needs a supervisor: leave out option "supervise"'],
  ],
  restartLimit: [
    ['{ times: 1, within: 1 }', 'option "restartLimit" goes with option "restart"'],
    ["5, restart: 'always'", 'option "restartLimit" must be an object such as { times: 5, within: 60_000 }, not 5'],
    [
      "{ times: -1, within: 1 }, restart: 'always'",
      'option "restartLimit.times" must be an integer from 0 to 1000000, not -1',
    ],
    [
      "{ times: 1, within: 0 }, restart: 'always'",
      'option "restartLimit.within" must be more than 0 milliseconds, not 0',
    ],
    ["{ times: 1 }, restart: 'always'", 'option "restartLimit.within" must be more than 0 milliseconds, not undefined'],
  ],
  supervise: [["'yes'", 'option "supervise" must be true or false, not "yes"']],
  killSignal: [
    ["'SIGTERM'", 'option "killSignal" goes with option "supervise" or option "restart"'],
    ["'SIGNOT', supervise: true", 'option "killSignal" must be the name of a signal, not "SIGNOT"'],
    ["'SIGKILL', supervise: true", 'option "killSignal" must be a signal that a program can handle, not "SIGKILL"'],
  ],
  ifRunning: [
    ["'kill'", `option "ifRunning" must be 'error', 'reuse' or 'replace', not "kill"`],
    ["'reuse'", `option "ifRunning" can be 'reuse' only with "name" or "pidFile"`],
    ["'replace'", `option "ifRunning" can be 'replace' only with "name" or "pidFile"`],
  ],
  version: [
    ['2, name: "a"', 'option "version" must be a text without quotes, backslashes and control characters, not 2'],
    [
      `'a"', name: 'a'`,
      `option "version" must be a text without quotes, backslashes and control characters, not "a\\""`,
    ],
    [
      `'\\ud800', name: 'a'`,
      `option "version" must be a text without quotes, backslashes and control characters, not "\\ud800"`,
    ],
    ["'2', pidFile: 'a'", 'option "version" needs "name", whose record keeps it'],
    [
      "'2', name: 'a', ifRunning: 'replace'",
      `option "version" goes with ifRunning: 'reuse'; 'replace' replaces every version`,
    ],
  ],
  idleTimeout: [["'1s'", 'option "idleTimeout" must be a number of milliseconds, not "1s"']],
  onStarted: [
    ["'log'", 'option "onStarted" must be a synchronous function, not "log"'],
    ['async () => {}', 'option "onStarted" must be a synchronous function, not an async one'],
  ],
};

const misuses: readonly (readonly [source: string, message: string])[] = [
  ...Object.entries(wrongTypes).flatMap(([option, cases]) =>
    cases.map(([source, message]) => [`{ ${option}: ${source} }`, message] as const),
  ),
  ['{ name: 1n }', "a daemon's name must be a string of letters, digits and _ . @ -, not 1"],
  ['{ pidfile: "a.pid" }', 'unknown option "pidfile": did you mean "pidFile"?'],
  ['{ "start-timeout": 1 }', 'unknown option "start-timeout": did you mean "startTimeout"?'],
  [
    '{ limits: { files: 1 } }',
    `option "limits.files" is not a resource of this platform, which has ${binding.resources().join(', ')}`,
  ],
  ['{ logFile: "a.log" }', 'unknown option "logFile": did you mean "log"?'],
  ['{ colour: 1 }', 'unknown option "colour"'],
  ['() => {}, {}', 'the options come before the main function, as in daemonize(options, main)'],
  [
    '{ name: "a.pid" }',
    "a daemon's name must not end in .pid, as a.pid does: a path is given as the pidfile, not as the name",
  ],
  ['{ pidFile: "/tmp/a", log: "/tmp/a" }', '/tmp/a cannot be both the pidfile and the log'],
  ['{ pidFile: "/tmp/a", stdin: "/tmp/a" }', '/tmp/a cannot be both the pidfile and "stdin"'],
  ['null', 'the options must be an object, not null'],
  ['"api"', 'the options must be an object, not "api"'],
  [
    "{ waitFor: 'ready' }, () => {}",
    'option "waitFor" does not go with a main function, which counts as up when it has settled',
  ],
  ['{}, 1', 'main must be a function'],
];

test('options that cannot be meant are refused with ERR_INVALID_OPTION, and named', async (t) => {
  const app = bench(t, {
    'app.mjs': `
      import { daemonize, isDaemonError } from 'daemonry';
      const told = (call) => {
        try {
          return call();
        } catch (error) {
          return [isDaemonError(error), error.code, error.message];
        }
      };
      console.log(JSON.stringify([${misuses.map(([source]) => `told(() => daemonize(${source}))`).join(',\n')}]));
    `,
  });
  const { stdout, stderr } = await app.node(['app.mjs']);
  const told = JSON.parse(stdout || JSON.stringify(stderr)) as unknown[];
  misuses.forEach(([source, message], index) => {
    t.deepEqual(told[index], [true, 'ERR_INVALID_OPTION', message], source);
  });
});

test('every option is mentioned in the tests of wrong types', (t) => {
  const declared = readFileSync(new URL('../../dist/options/types.d.ts', import.meta.url), 'utf8');
  const bodies = [...declared.matchAll(/interface (?:Start|Daemonize)Options[^{]*\{([^]*?)\n\}/g)];
  const names = bodies.flatMap(([, body]) => [...body!.matchAll(/^ {4}readonly (\w+)\?/gm)].map(([, name]) => name));
  t.deepEqual(names.sort(), Object.keys(wrongTypes).sort());
});

test('a wrong option makes the launcher fail with one sentence', async (t) => {
  const { at, launch } = bench(t);
  for (const behaviour of ['run', 'classic'] as const) {
    const { code, stdout, stderr } = await launch(service({ pidFile: at('a.pid'), umask: '022' }, behaviour));
    t.is(code, 1);
    t.is(stderr, 'program.mjs: option "umask" must be an integer from 0 to 0o777, not "022"\n');
    t.is(stdout, '');
    t.false(existsSync(at('a.pid')));
  }
});

test('a name may have letters, digits and _ . @ -', (t) => {
  for (const name of ['a', 'A.b_c-d@9', '..a', '-']) t.true(daemonPaths(name).pidFile.endsWith(`/${name}/${name}.pid`));
  const error = t.throws(() => daemonPaths('a/b'));
  t.true(isDaemonError(error) && error.code === 'ERR_INVALID_OPTION');
});

for (const [what, make, reason] of [
  ['is missing', () => {}, 'No such file or directory (ENOENT)'],
  ['is a file', (path: string) => writeFileSync(path, ''), 'Not a directory (ENOTDIR)'],
  ['is not permitted', (path: string) => mkdirSync(path, { mode: 0 }), 'Permission denied (EACCES)'],
] as const) {
  for (const behaviour of ['run', 'classic'] as const) {
    test(`a working directory that ${what} is told with its path: ${behaviour}`, async (t) => {
      const { at, launch } = bench(t);
      make(at('cwd'));
      t.teardown(() => existsSync(at('cwd')) && chmodSync(at('cwd'), 0o700));
      const options = { pidFile: at('a.pid'), log: at('a.log'), cwd: at('cwd') };
      const { code, stdout, stderr } = await launch(service(options, behaviour), { unprivileged: true });
      t.is(stderr, `program.mjs: cannot change the working directory to ${at('cwd')}: ${reason}\n`);
      t.is(code, 1);
      t.is(stdout, '');
      t.deepEqual([existsSync(at('a.pid')), existsSync(at('a.log'))], [false, false]);
    });
  }
}

test('a working directory that goes away during the start is told with its path', async (t) => {
  const app = bench(t, {
    'app.mjs': `
      import { existsSync, rmdirSync } from 'node:fs';
      import { daemonize } from 'daemonry';
      if (process.env.DAEMONRY_START) rmdirSync('cwd');
      daemonize({ pidFile: 'a.pid', cwd: 'cwd' }, () => {});
    `,
  });
  mkdirSync(app.at('cwd'));
  const { code, stderr } = await app.node(['app.mjs']);
  t.is(code, 1);
  const said = `cannot change the working directory to ${app.at('cwd')}: No such file or directory (ENOENT)\n`;
  t.true(stderr.startsWith('app.mjs did not start: ') && stderr.endsWith(said), stderr);
  t.false(existsSync(app.at('a.pid')));
});

testOnLinux('the daemon runs in the working directory that was asked for', async (t) => {
  const { at, path, daemon } = bench(t);
  const pid = await daemon(service({ pidFile: at('a.pid'), cwd: path }));
  t.is(readlinkSync(`/proc/${pid}/cwd`), path);
});

for (const [umask, expected] of [
  [undefined, '0022'],
  [0, '0000'],
  [0o077, '0077'],
] as const) {
  testOnLinux(
    `with the option umask ${umask} the daemon has the umask ${expected}, whatever the launcher has`,
    async (t) => {
      const app = bench(t, {
        'app.mjs': `
        import { daemonize } from 'daemonry';
        import { tell } from './tell.cjs';
        daemonize({ pidFile: 'a.pid', umask: ${umask} }, () => tell());
      `,
      });
      const { code, stderr } = await app.shell('umask 0137; exec "$NODE" app.mjs');
      t.is(code, 0, stderr);
      const { pid, umask: told } = app.told()!;
      t.is(told, Number.parseInt(expected, 8));
      t.is(statusField(pid, 'Umask'), expected);
    },
  );
}

/** Starts a daemon with this source as its options; what its environment is. */
async function environmentOf(t: ExecutionContext, options: string, env: NodeJS.ProcessEnv = {}) {
  const app = bench(t, {
    'app.mjs': `
      import { daemonize } from 'daemonry';
      import { tell } from './tell.cjs';
      daemonize({ pidFile: 'a.pid', ${options} }, () => tell());
    `,
  });
  const { code, stderr } = await app.node(['app.mjs'], { env: { ...process.env, ...env } });
  t.is(code, 0, stderr);
  return { app, ...app.told()! };
}

test('env is added to the environment of the launcher, and undefined deletes', async (t) => {
  const { env } = await environmentOf(
    t,
    "env: { ADDED: 'a=b ü\\n', CHANGED: 'new', GONE: undefined, ABSENT: undefined }",
    {
      KEPT: 'kept',
      CHANGED: 'old',
      GONE: 'x',
    },
  );
  t.like(env, { ADDED: 'a=b ü\n', CHANGED: 'new', KEPT: 'kept', PATH: process.env['PATH'] });
  t.false('GONE' in env || 'ABSENT' in env);
});

test('with extendEnv: false the daemon has only what env names', async (t) => {
  const { env } = await environmentOf(t, "extendEnv: false, env: { ONLY: 'this', NOT: undefined }", { KEPT: 'kept' });
  const { DAEMONRY_DAEMON: mark, DAEMONRY_SESSION: session, ...rest } = env;
  t.truthy(mark);
  t.regex(session ?? '', /^[0-9a-f]{32}$/);
  t.deepEqual(rest, { ONLY: 'this' });
});

test('once adopted, the marker is gone from the environment, and another tells which daemon it is', async (t) => {
  const { app, env, pid } = await environmentOf(t, '');
  t.false('DAEMONRY_START' in env);
  t.is(env['DAEMONRY_DAEMON'], `${pid}:${app.at('app.mjs')}`);
});

for (const [what, options, env] of [
  ['in the environment of the launcher', '', { DAEMONRY_START: '1:3:1:2:s-:4:0:{}', DAEMONRY_DAEMON: '1:/app.mjs' }],
  ['in the option env', "env: { DAEMONRY_START: 'nonsense', DAEMONRY_DAEMON: 'nonsense' }", {}],
  ['in the option env, deleted', 'env: { DAEMONRY_START: undefined, DAEMONRY_DAEMON: undefined }', {}],
] as const) {
  test(`variables like those of daemonry itself do no harm ${what}`, async (t) => {
    const { app, env: told, pid } = await environmentOf(t, options, env);
    t.like(await daemonStatus({ pidFile: app.at('a.pid') }), { state: 'running', pid });
    t.false('DAEMONRY_START' in told);
    t.is(told['DAEMONRY_DAEMON'], `${pid}:${app.at('app.mjs')}`);
  });
}

test('the daemon does not get the variables that mean the launcher alone, unless env names them', async (t) => {
  const ofTheLauncher = [
    'NODE_CHANNEL_SERIALIZATION_MODE',
    'NODE_UNIQUE_ID',
    'NOTIFY_SOCKET',
    'WATCHDOG_PID',
    'WATCHDOG_USEC',
    'LISTEN_PID',
    'LISTEN_FDS',
    'LISTEN_FDNAMES',
    'INVOCATION_ID',
    'JOURNAL_STREAM',
    'SYSTEMD_EXEC_PID',
    'MAINPID',
    'PIDFILE',
  ];
  const variables = Object.fromEntries(ofTheLauncher.map((name) => [name, '1']));
  const { env } = await environmentOf(t, "env: { LISTEN_FDNAMES: 'mine' }", variables);
  t.deepEqual(
    Object.entries(env).filter(([name]) => ofTheLauncher.includes(name)),
    [['LISTEN_FDNAMES', 'mine']],
  );
});

for (const [behaviour, missed] of [
  ['hang', 'main had neither settled nor called ready()'],
  ['hang-blocked', 'main had neither settled nor called ready()'],
  ['ignore-sigterm', 'main had neither settled nor called ready()'],
  ['classic-blocked', 'daemonize() had not returned in it'],
  ['classic', 'it had not called ready()'],
] as const) {
  test(`a daemon that is not up within startTimeout is undone: ${behaviour}`, async (t) => {
    const { at, launch } = bench(t);
    const waitFor = behaviour === 'classic' ? { waitFor: 'ready' } : {};
    const options = { pidFile: at('a.pid'), startTimeout: 1000, ...waitFor };
    const { code, stdout, stderr } = await launch(service(options, behaviour));
    t.is(code, 1);
    t.is(stdout, '');
    t.is(stderr, `program.mjs did not start: the daemon was not up within 1000 ms and was stopped: ${missed}\n`);
    t.false(existsSync(at('a.pid')));
  });
}

test('the error of a start that took too long says which process was undone', async (t) => {
  const app = bench(t, {
    'app.mjs': `
      import { daemonize, isDaemonError } from 'daemonry';
      try {
        daemonize({ pidFile: 'a.pid', startTimeout: 5000, waitFor: 'ready' });
        setInterval(() => console.error('not ready'), 10);
      } catch (error) {
        console.log(JSON.stringify({ isDaemonError: isDaemonError(error), ...error }));
      }
    `,
  });
  const { stdout } = await app.node(['app.mjs']);
  const { isDaemonError, code, pid, stderr } = JSON.parse(stdout) as Record<string, unknown>;
  t.deepEqual([isDaemonError, code], [true, 'ERR_START_TIMEOUT']);
  t.true(hasEnded(pid as number));
  t.regex(String(stderr), /^(not ready\n)+$/);
});

test('a daemon that dies within aliveFor has not started', async (t) => {
  const { at, launch } = bench(t);
  const { code, stdout, stderr } = await launch(service({ pidFile: at('a.pid'), aliveFor: 20_000 }, 'reject-late'));
  t.is(code, 1);
  t.is(stdout, '');
  t.true(stderr.endsWith('the daemon exited with code 1 before it was up: Error: rejected after ready\n'), stderr);
  t.false(existsSync(at('a.pid')));
});

test('a daemon that lives on for aliveFor has started', async (t) => {
  const { at, daemon } = bench(t);
  const pid = await daemon(service({ pidFile: at('a.pid'), aliveFor: 300 }, 'run'));
  t.like(await daemonStatus({ pidFile: at('a.pid') }), { state: 'running', pid });
});

test('without aliveFor a daemon that dies after it was up has started', async (t) => {
  const { at, daemon } = bench(t);
  const pid = await daemon(service({ pidFile: at('a.pid') }, 'reject-late'));
  await until('it has died', () => hasEnded(pid));
  t.false(existsSync(at('a.pid')));
});

test('onStarted gets the outcome and the pid, before the launcher leaves without its exit handlers', async (t) => {
  const app = bench(t, {
    'app.mjs': `
      import { daemonize } from 'daemonry';
      import { tell } from './tell.cjs';
      process.on('exit', () => console.log('an exit handler of the launcher'));
      process.on('beforeExit', () => console.log('an exit handler of the launcher'));
      const onStarted = (started) => console.log(JSON.stringify(started));
      daemonize({ pidFile: 'a.pid', onStarted }, () => tell());
      console.log('below the call');
    `,
  });
  const { code, stdout } = await app.node(['app.mjs']);
  t.is(code, 0);
  t.deepEqual(stdout, `${JSON.stringify({ outcome: 'started', pid: app.told()?.pid })}\n`);
});

test('an onStarted that throws fails the launcher, but nothing else of it runs beside the daemon, which stays', async (t) => {
  const app = bench(t, {
    'app.mjs': `
      import { daemonize } from 'daemonry';
      import { tell } from './tell.cjs';
      process.on('exit', () => console.log('an exit handler of the launcher'));
      const onStarted = () => {
        throw new RangeError('thrown by onStarted');
      };
      try {
        daemonize({ pidFile: 'a.pid', onStarted }, () => tell());
      } catch {
        console.log('caught in the launcher');
      }
    `,
  });
  const { code, stdout, stderr } = await app.node(['app.mjs']);
  t.is(code, 1);
  t.true(stderr.startsWith('RangeError: thrown by onStarted\n    at '), stderr);
  t.is(stdout, '');
  t.like(await daemonStatus({ pidFile: app.at('a.pid') }), { state: 'running', pid: app.told()?.pid });
});
