/** One daemon for many callers: reusing, waiting, replacing. */
import { existsSync, readFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { daemonStatus, stopDaemon } from '../../dist/index.js';
import { bench, type Bench } from '../helpers/bench.js';
import { count, countedRace, type Counts } from '../helpers/counts.js';
import { named } from '../helpers/named.js';
import { noLinux, testUnless } from '../helpers/privileges.js';
import { statusField } from '../helpers/processes.js';
import { start } from '../helpers/run.js';
import { until } from '../helpers/until.js';

const rounds = Number(process.env['DAEMONRY_TEST_ROUNDS'] ?? 2);
const size = Number(process.env['DAEMONRY_TEST_HERD'] ?? 50);

/**
 * A caller that waits for the file `go` and then asks for the daemon; it tells its outcome and the daemon's pid. The daemon
 * takes 300 ms to stop, and notes when it has done so.
 */
const caller = `
  import { existsSync } from 'node:fs';
  const [name, version, ifRunning = 'reuse', startTimeout = '30000'] = process.argv.slice(2);
  const nap = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
  if (process.env.DAEMONRY_START === undefined) {
    fs.writeFileSync(at('waits-' + process.pid), '');
    while (!existsSync(at('go'))) nap();
  }
  const onStarted = ({ outcome, pid }) => console.log(outcome + ' ' + pid);
  const more = version === '-' ? {} : { version };
  daemonize({ name, ...more, ifRunning, onStarted, startTimeout: Number(startTimeout) }, async (daemon) => {
    note('starts ' + process.pid);
    daemon.onStop(async () => {
      note('stops ' + process.pid);
      await sleep(300);
      note('stopped ' + process.pid);
    });
    forever();
    if (existsSync(at('fails'))) {
      fs.rmSync(at('fails'));
      throw new Error('this start fails');
    }
    while (existsSync(at('hold'))) await sleep(5);
  });
`;

interface Herd extends Bench {
  readonly name: string;
  /** Starts callers that wait at the gate. */
  gather(count: number, ...args: string[]): Promise<ReturnType<typeof start>[]>;
  /** Lets them go; returns what each of them told. */
  release(callers: readonly ReturnType<typeof start>[]): Promise<string[]>;
  /** One caller alone; returns the pid that it was told. */
  one(...args: string[]): Promise<number>;
}

function herd(t: ExecutionContext): Herd {
  const tools = bench(t);
  const name = named(t);
  const program = tools.write(caller);
  let waiting = 0;
  const gather = async (count: number, ...args: string[]) => {
    const callers = Array.from({ length: count }, () =>
      start(process.execPath, [program, name, ...args], { deadline: 120_000 }),
    );
    waiting += count;
    await until(
      'all callers wait',
      () => tools.entries().filter((file) => file.startsWith('waits-')).length === waiting,
    );
    return callers;
  };
  const release = async (callers: readonly ReturnType<typeof start>[]) => {
    tools.write('', 'go');
    const told = await Promise.all(callers.map(({ done }) => done));
    tools.remove('go');
    return told.map(({ stdout, stderr, signal, code }) => stdout.trim() || `${signal ?? code}: ${stderr.trim()}`);
  };
  const one = async (...args: string[]) => {
    const [told] = await release(await gather(1, ...args));
    t.regex(told!, /^(started|replaced) \d+$/);
    return Number(told!.split(' ')[1]);
  };
  return { ...tools, name, gather, release, one };
}

/** How often each outcome was told, which is added to `counts`, and the pids that went with them. */
function tally(told: readonly string[], counts: Counts = {}) {
  const outcomes: Counts = {};
  const pids = new Set<string>();
  for (const line of told) {
    const [, outcome = line, pid] = /^(started|reused|replaced) (\d+)$/.exec(line) ?? [];
    count(outcomes, outcome);
    count(counts, outcome);
    if (pid !== undefined) pids.add(pid);
  }
  return { outcomes, pids: [...pids] };
}

/** The pid of a daemon that is starting. */
async function starting(name: string): Promise<number | undefined> {
  const found = await daemonStatus(name);
  return found.state === 'starting' ? found.pid : undefined;
}

/** The process that holds the lock of the pidfile, or will. */
function locker(pids: readonly number[]): number | undefined {
  const locks = readFileSync('/proc/locks', 'utf8').split('\n');
  return locks
    .map((line) => line.trim().split(/\s+/))
    .filter((words) => words[1] === 'FLOCK')
    .map((words) => Number(words[4]))
    .find((pid) => pids.includes(pid));
}

test.serial(
  `of ${size} callers at the same moment one starts the daemon and all get its pid, ${rounds} times`,
  async (t) => {
    t.timeout(60_000 + rounds * 30_000);
    const counts: Counts = {};
    for (let round = 0; round < rounds; round++) {
      const { gather, release, notes, name } = herd(t);
      const { outcomes, pids } = tally(await release(await gather(size, '-')), counts);
      t.deepEqual(outcomes, { started: 1, reused: size - 1 });
      t.deepEqual(
        notes(),
        pids.map((pid) => `starts ${pid}`),
      );
      await stopDaemon(name);
    }
    countedRace(t, rounds, counts);
  },
);

testUnless(noLinux)(
  `a first starter that is killed in the middle leaves ${size - 1} callers with one daemon, ${rounds} times`,
  async (t) => {
    t.timeout(60_000 + rounds * 30_000);
    const counts: Counts = {};
    for (let round = 0; round < rounds; round++) {
      const { gather, release, write, remove, name } = herd(t);
      write('', 'hold');
      const callers = await gather(size, '-');
      const released = release(callers);
      const first = await until('somebody has the lock', () => locker(callers.map(({ child }) => child.pid!)));
      process.kill(first, 'SIGKILL');
      remove('hold');
      const { outcomes, pids } = tally(await released, counts);
      t.is(pids.length, 1, JSON.stringify(outcomes));
      t.is(outcomes['SIGKILL: '], 1);
      t.is((outcomes['started'] ?? 0) + (outcomes['reused'] ?? 0), size - 1);
      t.like(await daemonStatus(name), { state: 'running', pid: Number(pids[0]) });
      await stopDaemon(name);
    }
    countedRace(t, rounds, counts);
  },
);

test.serial('when a start fails, its caller is told the reason and the next in line tries', async (t) => {
  const { gather, release, write, name } = herd(t);
  write('', 'fails');
  const { outcomes, pids } = tally(await release(await gather(8, '-')));
  const failures = Object.entries(outcomes).filter(([outcome]) => outcome.includes('Error: this start fails'));
  t.is(failures.length, 1);
  t.is(failures[0]![1], 1);
  t.like(outcomes, { started: 1, reused: 6 });
  t.like(await daemonStatus(name), { state: 'running', pid: Number(pids[0]) });
});

test.serial(`a daemon on its way out is waited for, not returned, by ${size} callers, ${rounds} times`, async (t) => {
  t.timeout(60_000 + rounds * 30_000);
  const counts: Counts = {};
  for (let round = 0; round < rounds; round++) {
    const { gather, release, one, noted, name } = herd(t);
    const old = await one('-');
    const callers = await gather(size, '-');
    const stopping = stopDaemon(name);
    await noted(`stops ${old}`);
    const { outcomes, pids } = tally(await release(callers), counts);
    t.deepEqual(outcomes, { started: 1, reused: size - 1 });
    t.not(pids[0], String(old));
    t.deepEqual(await stopping, { outcome: 'stopped', pid: old });
    await stopDaemon(name);
  }
  countedRace(t, rounds, counts);
});

test.serial(
  `${size} upgraded callers replace the old version once, and let it clean up, ${rounds} times`,
  async (t) => {
    t.timeout(60_000 + rounds * 30_000);
    const counts: Counts = {};
    for (let round = 0; round < rounds; round++) {
      const { gather, release, one, notes, name } = herd(t);
      const old = await one('1.0');
      t.is(tally(await release(await gather(1, '1.0'))).outcomes['reused'], 1);
      const { outcomes, pids } = tally(await release(await gather(size, '1.1')), counts);
      const { reused, ...others } = outcomes;
      t.is(reused, size - 1);
      t.is(
        Object.values(others).reduce((sum, count) => sum + count, 0),
        1,
        JSON.stringify(others),
      );
      t.deepEqual(notes(), [`starts ${old}`, `stops ${old}`, `stopped ${old}`, `starts ${pids[0]}`]);
      t.like((await daemonStatus(name)).record, { version: '1.1' });
      await stopDaemon(name);
    }
    countedRace(t, rounds, counts);
  },
);

test.serial('replace ends the daemon that runs, and starts another', async (t) => {
  const { one, notes } = herd(t);
  const old = await one('-');
  const fresh = await one('-', 'replace');
  t.deepEqual(notes(), [`starts ${old}`, `stops ${old}`, `stopped ${old}`, `starts ${fresh}`]);
});

test.serial('replace kills a daemon that ignores SIGTERM, after 10 s', async (t) => {
  const { daemon, launch, pidFile } = bench(t);
  const old = await daemon(`daemonize(options); process.on('SIGTERM', () => note('ignored')); forever();`);
  const { code, stdout, stderr } = await launch(`
    const onStarted = ({ outcome, pid }) => console.log(outcome + ' ' + pid);
    daemonize({ ...options, onStarted, ifRunning: 'replace' });
    forever();
  `);
  t.is(code, 0, stderr);
  const [, pid] = /^replaced (\d+)$/.exec(stdout.trim()) ?? [];
  t.not(Number(pid), old);
  t.like(await daemonStatus({ pidFile }), { state: 'running', pid: Number(pid) });
});

test.serial(
  'somebody else’s start that hangs is waited for no longer than twice startTimeout, and left alone',
  async (t) => {
    const { gather, release, write, remove, name } = herd(t);
    write('', 'hold');
    const [first] = await gather(1, '-');
    write('', 'go');
    const pid = await until('it starts', () => starting(name));
    const [told] = await release(await gather(1, '-', 'reuse', '300'));
    t.regex(
      told!,
      new RegExp(
        `^1: .* did not start: another process is starting it \\(pid ${pid}\\), but it was not up within 600 ms`,
      ),
    );
    t.like(await daemonStatus(name), { state: 'starting', pid });
    remove('hold');
    t.is((await first!.done).stdout.trim(), `started ${pid}`);
  },
);

testUnless(noLinux)('a caller that is interrupted while it waits leaves the other start alone', async (t) => {
  const { gather, write, remove, name } = herd(t);
  write('', 'hold');
  const [first] = await gather(1, '-');
  write('', 'go');
  const pid = await until('it starts', () => starting(name));
  const [second] = await gather(1, '-');
  // Node has no handler for SIGHUP; a launcher that waits has.
  const caught = () => Number.parseInt(statusField(second!.child.pid!, 'SigCgt')!.at(-1)!, 16);
  await until('it waits', () => (caught() & 1) === 1);
  second!.child.kill('SIGINT');
  const { signal, stderr } = await second!.done;
  t.is(signal, 'SIGINT', stderr);
  remove('hold');
  t.is((await first!.done).stdout.trim(), `started ${pid}`);
  t.like(await daemonStatus(name), { state: 'running', pid });
});

test.serial('in the foreground one that runs cannot be reused, but replaced', async (t) => {
  const { daemon, foreground, noted, pidFile, gone } = bench(t);
  const pid = await daemon(`daemonize(options); forever();`);
  const program = (ifRunning: string) => `
    daemonize({ ...options, ifRunning: '${ifRunning}' }, () => { note('up'); forever(); });
  `;
  const reusing = await foreground(program('reuse'));
  t.like(await reusing.done, {
    code: 1,
    stderr: `program.mjs is already running with pid ${pid} (pidfile ${pidFile})\n`,
  });
  const replacing = await foreground(program('replace'));
  await noted('up');
  await until('it is up', async () => (await daemonStatus({ pidFile })).state === 'running');
  t.like(await daemonStatus({ pidFile }), { state: 'running', pid: replacing.child.pid });
  replacing.child.kill('SIGTERM');
  await replacing.done;
  t.true(await gone());
  t.false(existsSync(pidFile));
});
