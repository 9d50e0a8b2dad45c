/** Recycled pids: nothing but the daemon is ever signalled, however soon its pid is somebody else's. */
import type { ExecutionContext } from 'ava';
import { counted, type Counts } from '../helpers/counts.js';
import type { Figures } from '../fixtures/strangers.js';
import { noSmallPids, ownPids, testUnless } from '../helpers/privileges.js';
import { fixture, run } from '../helpers/run.js';
import { workspace } from '../helpers/workspace.js';

const starts = 20 * Number(process.env['DAEMONRY_TEST_ROUNDS'] ?? 10);

const answers: Readonly<Record<string, string>> = {
  spawnDaemon:
    'started reused replaced ERR_ALREADY_RUNNING ERR_OTHER_PROGRAM ERR_START_FAILED ERR_START_TIMEOUT ERR_START_CANCELLED ERR_STOP_TIMEOUT',
  stopDaemon: 'stopped not-running',
  signalDaemon: 'done ERR_NOT_RUNNING ERR_SIGNAL_REFUSED',
  look: 'done',
};

async function figuresOf(t: ExecutionContext, way: string): Promise<Figures> {
  t.timeout(120_000 + starts * 100);
  const { path } = workspace(t);
  // The first process of the namespace is one that reaps; a zombie would keep its pid.
  const reaper = ['sh', '-c', '"$@" & wait $!', 'sh'];
  const program = [process.execPath, '--import', 'tsx', fixture('strangers.ts'), path, String(starts), way];
  const [command, ...args] = [...ownPids, ...reaper, ...program];
  const { code, stdout, stderr } = await run(command!, args, { deadline: 120_000 + starts * 100 });
  t.is(code, 0, stderr);
  const figures = JSON.parse(stdout) as Figures;
  t.log(figures);
  counted('strangers', way, figures);
  return figures;
}

/** The calls that came to something that they should not. */
function surprises(calls: Counts): string[] {
  return Object.keys(calls).filter((told) => {
    const [call, answer] = told.split(': ');
    return !answers[call!]!.split(' ').includes(answer!);
  });
}

const test = testUnless(noSmallPids);

test(`no stranger is signalled while pids are used again and again, in ${starts} starts`, async (t) => {
  const { bystanders, inPlaceOfDaemon, hit, hits, calls } = await figuresOf(t, 'daemonry');
  t.deepEqual(hits, {});
  t.is(hit, 0);
  t.deepEqual(surprises(calls), []);
  t.true(bystanders > starts / 2);
  t.true(inPlaceOfDaemon > 0, 'somebody has got the pid that was in the pidfile');
});

test('strangers are hit by those who kill whatever pid is in the file', async (t) => {
  const { hit } = await figuresOf(t, 'killByContent');
  t.true(hit > 0);
});

testUnless(noSmallPids ?? (starts < 20_000 ? 'fewer than 20,000 starts may show none' : undefined))(
  'strangers are hit even by those who ask for the status, and then kill',
  async (t) => {
    const { hit } = await figuresOf(t, 'killByStatus');
    t.true(hit > 0);
  },
);
