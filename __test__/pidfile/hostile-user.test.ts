/** An unprivileged user that does its worst beside root's daemons gains nothing, locks nobody out, and has nothing signalled. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { counted } from '../helpers/counts.js';
import type { Figures } from '../helpers/neighbourhood.js';
import { noOtherUser, noSmallPids, testUnless } from '../helpers/privileges.js';
import { run } from '../helpers/run.js';

const rounds = Number(process.env['DAEMONRY_TEST_ROUNDS'] ?? 3);
const root = fileURLToPath(new URL('../..', import.meta.url));
const inside = fileURLToPath(new URL('../helpers/neighbourhood.sh', import.meta.url));
const program = fileURLToPath(new URL('../../target/release/neighbour', import.meta.url));

const obstacle =
  noOtherUser ??
  noSmallPids ??
  (existsSync(program) ? undefined : 'target/release/neighbour is not there: see scripts/setup') ??
  (/^\/(mnt|run|srv|tmp)\//.test(process.execPath) ? 'node lies where the test has mounts of its own' : undefined);

const attacks = {
  queue: "queues for the locks on root's pidfile",
  freePid: 'leaves record locks that name a free pid',
  recycled: 'takes the pid and the locks of a dead daemon',
  planted: 'makes pidfile and log first',
  plantedFolder: "makes another user's private folder first",
  exchanged: 'exchanges folders and files with links',
  churned: 'renames and removes folders and files',
  rogue: 'is the daemon, and abuses what it has inherited',
  calls: "starts, stops and signals root's daemon",
};

for (const [attack, title] of Object.entries(attacks)) {
  testUnless(obstacle)(`a neighbour that ${title} has no effect`, async (t) => {
    const deadline = 120_000 + rounds * 20_000;
    t.timeout(deadline);
    // See the attack.
    const pids = attack === 'freePid' ? [] : ['--pid', '--fork', '--mount-proc', '--kill-child'];
    const node = [process.execPath, '--import', 'tsx', '/mnt/__test__/fixtures/neighbour.ts', attack, String(rounds)];
    const { code, stdout, stderr } = await run('unshare', ['--mount', ...pids, 'sh', inside, root, ...node], {
      deadline,
    });
    t.is(code, 0, stderr);
    const { rounds: done, attacked, effects, examples, counts } = JSON.parse(stdout) as Figures;
    t.log({ rounds: done, attacked, effects, counts });
    t.deepEqual(effects, {}, examples.join('\n'));
    t.true(attacked > 0, 'the neighbour got what it needs for its attack');
    counted('neighbour', title, { rounds: done, attacked, counts });
  });
}
