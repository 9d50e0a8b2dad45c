/** What a daemon that runs as another user has left of root: nothing that this user could not have had. */
import { chmodSync, mkdirSync, readFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { getPriority } from 'node:os';
import type { ExecutionContext } from 'ava';
import { stopDaemon } from '../../dist/index.js';
import { bench } from '../helpers/bench.js';
import { read } from '../helpers/files.js';
import { asWww, neighbourhood, perl } from '../helpers/neighbour.js';
import { noLinux, noOtherUser, testOnLinux, testUnless } from '../helpers/privileges.js';
import { statField, statusField } from '../helpers/processes.js';
import { until } from '../helpers/until.js';

const asRoot = testUnless(noOtherUser ?? noLinux);

const noKeyring = ((): string | undefined => {
  const [command, ...args] = perl('exit(syscall($NUMBER{keyctl}, 1, 0) < 0)');
  return spawnSync(command, args).status === 0 ? undefined : 'this machine has no keyrings, or forbids them';
})();
const withKeyring = testUnless(noOtherUser ?? noLinux ?? noKeyring);

/** Why this machine does not let root do what it does elsewhere. */
function refused(...command: readonly [string, ...string[]]): string | undefined {
  const [program, ...args] = command;
  return spawnSync(program, args).status === 0 ? undefined : `this machine does not allow ${program}`;
}

/** Starts a daemon from a launcher that is run `via` another command. Returns its pid; it is stopped when the test ends. */
async function started(t: ExecutionContext, via: readonly string[], options: object, program = ['sleep', '60']) {
  const { at } = neighbourhood(t);
  const pidFile = at('a.pid');
  t.teardown(() => stopDaemon({ pidFile }, { timeout: 2000 }));
  const script = `
    const { pidFile, options, program } = JSON.parse(args[0]);
    return spawnDaemon(program[0], program.slice(1), { pidFile, ...options }).then(({ pid }) => pid);`;
  const { returned, error } = await bench(t).call(script, {
    args: [JSON.stringify({ pidFile, options, program })],
    via,
  });
  t.is(error, undefined, error?.message);
  return returned as number;
}

const sets = ['CapInh', 'CapPrm', 'CapEff', 'CapAmb'];

for (const [what, via] of [
  ['nothing special', []],
  ['inheritable capabilities', ['setpriv', '--inh-caps=+net_raw,+setuid,+dac_override']],
  ['ambient capabilities', ['setpriv', '--inh-caps=+net_raw,+sys_nice', '--ambient-caps=+net_raw,+sys_nice']],
  ['capabilities that a change of the user leaves', ['setpriv', '--securebits=+no_setuid_fixup']],
  ['the same, locked', ['setpriv', '--securebits=+no_setuid_fixup,+no_setuid_fixup_locked']],
  [
    'all of them',
    [
      'setpriv',
      '--inh-caps=+net_raw,+setuid',
      '--ambient-caps=+net_raw,+setuid',
      '--securebits=+no_setuid_fixup,+keep_caps_locked',
    ],
  ],
] as const) {
  const obstacle = via.length === 0 ? undefined : refused(...(via as readonly string[] as [string]), 'true');
  testUnless(noOtherUser ?? noLinux ?? obstacle)(
    `no capability is left, from a launcher that has ${what}`,
    async (t) => {
      const pid = await started(t, via, asWww);
      t.deepEqual(Object.fromEntries(sets.map((set) => [set, statusField(pid, set)])), {
        CapInh: '0000000000000000',
        CapPrm: '0000000000000000',
        CapEff: '0000000000000000',
        CapAmb: '0000000000000000',
      });
      // What root may have at all is what the user's other processes may have, too.
      t.is(statusField(pid, 'CapBnd'), statusField(process.pid, 'CapBnd'));
    },
  );
}

asRoot('the secure bits that a program with the set-user-ID bit would inherit are cleared', async (t) => {
  const { at } = neighbourhood(t);
  const report = `open(my $out, '>', '${at('app/bits')}'); print $out syscall($NUMBER{prctl}, 27, 0, 0, 0, 0), "\\n"; close $out; sleep 60`;
  // PR_SET_SECUREBITS, to what leaves capabilities and to what forbids ambient ones.
  const via = perl('syscall($NUMBER{prctl}, 28, 1 << 2 | 1 << 6, 0, 0, 0) == 0 or die "prctl: $!"; exec @ARGV');
  await started(t, via, asWww, perl(report));
  await until('it has told', () => read(at('app/bits')).endsWith('\n'));
  // Those that take rights away stay.
  t.is(readFileSync(at('app/bits'), 'utf8'), `${1 << 6}\n`);
});

withKeyring("root's session keyring stays with root", async (t) => {
  const { at } = neighbourhood(t);
  // A session keyring with a key in it, for the launcher.
  const launch = perl(`
    syscall($NUMBER{keyctl}, 1, 0) > 0 or die "keyctl: $!";
    my ($kind, $name, $secret) = ("user", "daemonry-test", "of root");
    syscall($NUMBER{add_key}, $kind, $name, $secret, length $secret, -3) > 0 or die "add_key: $!";
    exec @ARGV`);
  const look = (file: string) =>
    perl(`
    my ($kind, $name, $secret) = ("user", "daemonry-test", " " x 20);
    my $key = syscall($NUMBER{keyctl}, 10, -3, $kind, $name, 0);
    my $length = $key > 0 ? syscall($NUMBER{keyctl}, 11, $key, $secret, 20) : 0;
    open(my $out, '>', '${file}'); print $out substr($secret, 0, $length), "\\n"; close $out; sleep 60`);
  const told = async (file: string) => {
    await until('it has looked', () => read(file).endsWith('\n'));
    return readFileSync(file, 'utf8');
  };
  await started(t, launch, asWww, look(at('app/user')));
  t.is(await told(at('app/user')), '\n');
  // A daemon of root's own is in root's session as before.
  await started(t, launch, {}, look(at('app/root')));
  t.is(await told(at('app/root')), 'of root\n');
});

/** Niceness and OOM score. */
const priorities = (pid: number) => [statField(pid, 19), Number(readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8'))];

/** A command that runs another with a niceness, whatever the tests have. */
const withNiceness = (nice: number) => ['nice', '-n', String(nice - getPriority())] as const;
const favoured = withNiceness(-7);
testUnless(noOtherUser ?? noLinux ?? refused(...favoured, 'true'))(
  'a niceness that others could not have is gone, unless it was asked for',
  async (t) => {
    t.deepEqual(priorities(await started(t, favoured, asWww)), [0, 0]);
    t.deepEqual(priorities(await started(t, favoured, { ...asWww, nice: -3 })), [-3, 0]);
    t.deepEqual(priorities(await started(t, favoured, {})), [-7, 0]);
    // What any user can have stays.
    t.deepEqual(priorities(await started(t, withNiceness(4), asWww)), [4, 0]);
  },
);

const spared = ['sh', '-c', 'echo -500 >/proc/self/oom_score_adj && exec "$@"', 'sh'] as const;
testUnless(noOtherUser ?? noLinux ?? refused(...spared, 'true'))(
  'an OOM score that others could not have is gone, unless it was asked for',
  async (t) => {
    t.deepEqual(priorities(await started(t, spared, asWww)), [0, 0]);
    t.deepEqual(priorities(await started(t, spared, { ...asWww, oomScoreAdjust: -100 })), [0, -100]);
    t.deepEqual(priorities(await started(t, spared, {})), [0, -500]);
  },
);

for (const [policy, flag] of [
  ['FIFO', '--fifo'],
  ['RR', '--rr'],
] as const) {
  const via = ['chrt', flag, '3'] as const;
  testUnless(noOtherUser ?? noLinux ?? refused(...via, 'true'))(`the real-time policy ${policy} is gone`, async (t) => {
    // As proc_pid_stat(5) has them: the priority, and the policy, of which 0 is the ordinary one.
    const scheduling = (pid: number) => [statField(pid, 40), statField(pid, 41)];
    t.deepEqual(scheduling(await started(t, via, asWww)), [0, 0]);
    t.deepEqual(scheduling(await started(t, via, {})), [3, policy === 'FIFO' ? 1 : 2]);
  });
}

testUnless(noOtherUser ?? noLinux ?? refused('ionice', '-c', '1', 'true'))(
  'a real-time I/O priority is gone',
  async (t) => {
    const priority = (pid: number) =>
      spawnSync('ionice', ['-p', String(pid)], { encoding: 'utf8' }).stdout.split(':')[0];
    t.not(priority(await started(t, ['ionice', '-c', '1'], asWww)), 'realtime');
    t.is(priority(await started(t, ['ionice', '-c', '1'], {})), 'realtime');
  },
);

const asFlusher = perl('syscall($NUMBER{prctl}, 57, 1, 0, 0, 0) == 0 or die "prctl: $!"; exec @ARGV');
testUnless(noOtherUser ?? noLinux ?? refused(...asFlusher, 'true'))(
  'the reserves of an I/O flusher are gone',
  async (t) => {
    // PF_MEMALLOC_NOIO
    const isFlusher = (pid: number) => (statField(pid, 9) & 0x0008_0000) !== 0;
    t.false(isFlusher(await started(t, asFlusher, asWww)));
    t.true(isFlusher(await started(t, asFlusher, {})));
  },
);

asRoot('a directory that the user could not reach is left before the program runs; any other stays', async (t) => {
  const app = bench(t, {
    'app.mjs': `
      import { daemonize } from 'daemonry';
      import { tell } from './tell.cjs';
      const began = process.cwd();
      daemonize({ pidFile: process.argv[2] + '/a.pid', ...JSON.parse(process.argv[3]) }, () => {
        tell({ began });
        setInterval(() => {}, 60_000);
      });
    `,
    'preload.mjs': '',
  });
  chmodSync(app.path, 0o777);
  mkdirSync(app.at('closed'), { mode: 0o700 });
  mkdirSync(app.at('closed/open'));
  mkdirSync(app.at('open'));
  const beganIn = async (cwd: string, ...flags: string[]) => {
    const { code, stderr } = await app.node([...flags, app.at('app.mjs'), app.path, JSON.stringify(asWww)], { cwd });
    t.is(code, 0, stderr);
    await stopDaemon({ pidFile: app.at('a.pid') });
    return app.told()!['began'];
  };
  t.is(await beganIn(app.at('closed/open')), '/');
  t.is(await beganIn(app.at('open'), '--import', '../preload.mjs'), app.at('open'));
});

testOnLinux('nothing of the kind is given up by a daemon of the same user', async (t) => {
  const pid = await started(t, [], {});
  for (const set of sets) t.is(statusField(pid, set), statusField(process.pid, set), set);
});
