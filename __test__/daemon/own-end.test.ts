/** What a daemon reports of its own end. */
import { renameSync, rmdirSync } from 'node:fs';
import test from 'ava';
import { daemonStatus } from '../../dist/index.js';
import { bench } from '../helpers/bench.js';
import { read } from '../helpers/files.js';
import { eventsOf, journalOf, named } from '../helpers/named.js';
import { until } from '../helpers/until.js';

for (const [what, ends, exit] of [
  ['exits', 'process.exit(3)', { exitCode: 3 }],
  ['is cut off', `process.kill(process.pid, 'SIGTERM')`, { signal: 'SIGTERM' }],
] as const)
  test(`a daemon that ${what} and cannot write its journal says so in its log, and the next status writes it`, async (t) => {
    const { launch, at, write } = bench(t);
    const name = named(t);
    const journal = journalOf(name);
    const program = `daemonize({ name: '${name}', log: at('log'), stopTimeout: 10 }, (daemon) => {
      daemon.onStop(never);
      void exists('go').then(() => {
        fs.renameSync('${journal}', at('journal'));
        fs.mkdirSync('${journal}');
        ${ends};
      });
      forever();
    });`;
    const { code, stderr } = await launch(program);
    t.is(code, 0, stderr);
    write('', 'go');
    await until('it has ended', async () => ['dead', 'stopped'].includes((await daemonStatus(name)).state));
    rmdirSync(journal);
    renameSync(at('journal'), journal);
    t.regex(read(at('log')), new RegExp(`^cannot write the journal ${journal}: .*\\(E[A-Z]+\\)$`, 'm'));
    await daemonStatus(name);
    t.like((await eventsOf(name)).at(-1), { event: 'exit', ...exit });
  });
