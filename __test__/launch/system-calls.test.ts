/** The system calls of a launch, on both ways to fork: as they are documented, and nothing between. */
import { existsSync, readFileSync } from 'node:fs';
import test from 'ava';
import { stopDaemon } from '../../dist/index.js';
import { bench } from '../helpers/bench.js';
import { named } from '../helpers/named.js';
import { noOtherUser, testUnless } from '../helpers/privileges.js';
import { start } from '../helpers/run.js';
import { until } from '../helpers/until.js';

const asRoot = testUnless(noOtherUser);

/** `[process, call]` in the order of the table in docs/launch.md. */
const documented = (() => {
  const page = readFileSync(new URL('../../docs/launch.md', import.meta.url), 'utf8');
  const table = /<!-- calls: [^>]*-->([^]*)<!-- calls end -->/.exec(page)![1]!;
  return table.split('\n').flatMap((row) => {
    const [, process, calls] = row.split('|').map((cell) => cell.trim());
    return [...(calls ?? '').matchAll(/`(\w+)`/g)].map(([, call]) => `${process} ${call}`);
  });
})();

/** A call of `strace -f`, finished or not. */
const callPattern = /^(\d+)\s+(\w+)\((.*)$/;

/** Calls that do the same: which of them is made is up to the C library. */
const alike: Record<string, string> = { dup3: 'dup2', open: 'openat', fstat: 'newfstatat', lstat: 'newfstatat' };

/** The calls of leader and daemon up to the exec, from a trace. */
function callsIn(trace: string, way: string): string[] {
  const lines = trace.split('\n').flatMap((line) => {
    const [, pid, call, rest] = callPattern.exec(line) ?? [];
    return pid === undefined ? [] : [{ pid, call: alike[call!] ?? call!, rest: rest! }];
  });
  const leader = lines.find(({ call }) => call === 'setsid')!.pid;
  const daemon = lines.find(({ call, rest, pid }) => call === 'umask' && pid !== leader && rest !== '')!.pid;
  // Forked by copying, it then waits, and both run at the same time; else it looks at the daemon until that has left.
  const end = way === 'copy' ? ['dup2', 'close_range', 'write'] : ['openat', 'read', 'close'];
  const calls = new Set(['setsid', 'rt_sigaction', 'clone', ...end]);
  const allOfLeader = lines.filter(({ pid, call }) => pid === leader && calls.has(call)).map(({ call }) => call);
  const allOfDaemon = lines.filter(({ pid }) => pid === daemon);
  // What musl adds to each open, for kernels that do not know O_CLOEXEC.
  const isAdded = ({ rest }: (typeof lines)[0], index: number) =>
    allOfDaemon[index - 1]?.call === 'openat' && rest.includes('F_SETFD, FD_CLOEXEC');
  const ofDaemon = allOfDaemon.filter((line, index) => !isAdded(line, index));
  const untilExec = ofDaemon.slice(0, ofDaemon.findIndex(({ call }) => call === 'execve') + 1);
  const once = (made: typeof lines) => made.filter(({ call }, index) => made[index - 1]?.call !== call);
  return [
    ...[...new Set(allOfLeader)].map((call) => `leader ${call}`),
    ...once(untilExec).map(({ call }) => `daemon ${call}`),
  ];
}

for (const way of ['automatic', 'copy']) {
  for (const kind of ['daemonize', 'spawnDaemon']) {
    asRoot(`${kind}, forking ${way}: leader and daemon make the documented calls in their order`, async (t) => {
      const app = bench(t, {
        'app.mjs': `
          import { writeFileSync } from 'node:fs';
          import { daemonize, daemonPaths, spawnDaemon } from 'daemonry';
          const [name, kind] = process.argv.slice(2);
          const options = {
            name, user: 'nobody', nice: 1, oomScoreAdjust: 100, limits: { core: 0 }, noNewPrivileges: true,
            listen: { http: { port: 0 }, ctl: { path: daemonPaths(name).socket } },
          };
          const up = () => writeFileSync('up', '');
          const main = () => void setInterval(() => {}, 60_000);
          if (kind === 'daemonize') daemonize({ ...options, onStarted: up }, main);
          else await spawnDaemon('/bin/sleep', ['60'], options).then(up);
        `,
      });
      const name = named(t);
      const trace = app.at('trace');
      // It follows the daemon, and so ends with it.
      const tracing = start('strace', ['-f', '-qq', '-o', trace, process.execPath, 'app.mjs', name, kind], {
        cwd: app.path,
        env: { ...process.env, DAEMONRY_FORK: way },
      });
      await until('the daemon is up', () => existsSync(app.at('up')));
      await stopDaemon(name);
      const { code, stderr } = await tracing.done;
      t.is(code, 0, stderr);
      const text = readFileSync(trace, 'utf8');
      t.is(/CLONE_VM\|CLONE_FILES\|CLONE_VFORK/.test(text), way === 'automatic');
      const expected = documented
        .filter((call) => kind === 'daemonize' || call !== 'daemon faccessat')
        // What waits for more than the execution says itself that it is up.
        .filter((_, index, calls) => kind === 'spawnDaemon' || calls[index + 1] !== 'daemon rt_sigprocmask')
        .filter((call, index) => way === 'automatic' || !(call === 'daemon write' && index < 12))
        .filter(
          (call) => !(way === 'copy' ? /^leader (openat|read|close)$/ : /^leader (dup2|close_range|write)$/).test(call),
        )
        .filter((call, index, calls) => calls[index - 1] !== call || call !== 'daemon getpid');
      // The copying daemon does not say its pid, so does not ask for it first.
      if (way === 'copy') expected.splice(expected.indexOf('daemon getpid'), 1);
      t.deepEqual(callsIn(text, way), expected);
    });
  }
}

test('the table of calls has both processes', (t) => {
  t.true(documented.includes('leader setsid') && documented.includes('daemon execve'), documented.join());
});
