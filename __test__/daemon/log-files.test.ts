/** Log files: rotation under constant output, full disks, lost directories. */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { daemonStatus } from '../../dist/index.js';
import { bench } from '../helpers/bench.js';
import { main } from '../helpers/command.js';
import { read } from '../helpers/files.js';
import { named } from '../helpers/named.js';
import { isRoot, noOwnMounts, ownMounts, testUnless } from '../helpers/privileges.js';
import { run } from '../helpers/run.js';
import { until } from '../helpers/until.js';

const rotations = Number(process.env['DAEMONRY_TEST_ROTATIONS'] ?? 100);
const { code: logrotate } = await run('logrotate', ['--version']).catch(() => ({ code: 127 }));
const noLogrotate = logrotate === 0 ? undefined : 'logrotate is not installed';

const noRoot = isRoot ? undefined : 'who is root only in a namespace cannot write in /run';

/** The configuration that the documentation shows, for another log and another way to reload. */
function documentedConfiguration(log: string, reload: string): string {
  const text = readFileSync(new URL('../../docs/logs.md', import.meta.url), 'utf8');
  const [, configuration] = /^```ini\n(\/var\/log\/api\/api\.log \{\n[^]*?)```$/m.exec(text)!;
  return configuration!
    .replace('/var/log/api/api.log', log)
    .replace('daemonry reload api >/dev/null 2>&1 || true', reload)
    .replace('rotate 12', `rotate ${rotations + 1}`)
    .replace(/^ *(delaycompress|compress)\n/gm, '');
}

testUnless(noLogrotate)(
  `${rotations} rotations by logrotate under constant output lose no line and double none`,
  async (t) => {
    t.timeout(300_000);
    const { daemon, at, pidFile, write, noted } = bench(t);
    mkdirSync(at('logs'), { mode: 0o700 });
    const log = at('logs', 'a.log');
    await daemon(`
      daemonize({ ...options, log: at('logs/a.log'), umask: 0 }, () => {
        let number = 0;
        const talk = () => {
          for (let line = 0; line < 5; line++) {
            console.log('line ' + ++number);
            process.stderr.write('line ' + ++number + '\\n');
          }
          if (!fs.existsSync(at('enough'))) return void setTimeout(talk, 1);
          note('last ' + number);
          forever();
        };
        talk();
      });
    `);
    const command = `${process.execPath} ${main}`;
    const reload = `${command} reload -p ${pidFile} >/dev/null 2>&1 || touch ${at('failed')}`;
    writeFileSync(at('logrotate.conf'), documentedConfiguration(log, reload), { mode: 0o644 });
    for (let rotation = 0; rotation < rotations; rotation++) {
      const { code, stderr } = await run('logrotate', ['-f', '-s', at('state'), at('logrotate.conf')]);
      t.is(code, 0, stderr);
      await until('there is a new log with something in it', () => read(log) !== '');
    }
    write('', 'enough');
    const last = await until('it has ended', () => /^last (\d+)$/m.exec(read(at('notes')))?.[1]);
    await noted(`last ${last}`);
    t.is(read(at('failed')), '');

    const files = readdirSync(at('logs')).sort((one, other) => age(other) - age(one));
    t.is(files.length, rotations + 1);
    for (const file of files) t.is(statSync(at('logs', file)).mode & 0o7777, 0o640, file);
    let number = 0;
    for (const file of files) {
      const lines = readFileSync(at('logs', file), 'utf8').split('\n').slice(0, -1);
      const wrong = lines.find((line) => line !== `line ${++number}`);
      t.is(wrong, undefined, `${file}, where line ${number} should be`);
    }
    t.is(number, Number(last));
    t.log(`${last} lines in ${files.length} files`);
  },
);

/** The number that logrotate has given to a file; the higher, the older. */
const age = (file: string) => Number(file.split('.').at(-1)) || 0;

testUnless(noOwnMounts ?? noRoot)(
  'a full disk does not end the daemon, and is reported as soon as there is room',
  async (t) => {
    const { write, at, path, notes } = bench(t);
    const name = named(t);
    mkdirSync(at('disk'));
    write(
      `
    daemonize({ pidFile: at('daemon.pid'), name: '${name}', log: at('disk/a.log') }, async () => {
      fs.writeFileSync(at('disk/filler'), 'x'.repeat(2 ** 16));
      const problem = async () => (await daemonry.daemonStatus('${name}')).record?.problem;
      for (let line = 0; line < 3000; line++) {
        console.log('x'.repeat(100));
        process.stdout.write('y'.repeat(100) + '\\n');
        process.stderr.write('z'.repeat(100) + '\\n');
        if (line % 100 === 0) await sleep(0);
      }
      note('alive, problem: ' + (await problem()));
      fs.rmSync(at('disk/filler'));
      while ((await problem()) !== undefined) await sleep(10);
      note('no problem any more');
      console.log('the end');
      fs.copyFileSync(at('disk/a.log'), at('copy'));
      forever();
    });
    `,
    );
    const script = `mount -t tmpfs -o size=128k tmpfs "$1" && node=$2 && shift 2 && "$node" "$1" && until [ -e "$(dirname "$1")/copy" ]; do sleep 0.05; done`;
    const [command, ...args] = [
      ...ownMounts,
      'sh',
      '-c',
      script,
      'sh',
      at('disk'),
      process.execPath,
      join(path, 'program.mjs'),
    ];
    const { code, stderr } = await run(command!, args);
    t.is(code, 0, stderr);
    t.deepEqual(notes(), ['alive, problem: the log cannot be written: ENOSPC', 'no problem any more']);
    const copy = read(at('copy'));
    t.regex(copy, /^the log could not be written since \S+Z \(ENOSPC\): [1-9]\d* writes were lost\nthe end$/m);
  },
);

for (const [what, spoil, mend] of [
  ['a removed directory', (logs: string) => renameSync(logs, `${logs}.gone`), (logs: string) => mkdirSync(logs)],
  [
    'a directory in its place',
    (logs: string) => (rmSync(join(logs, 'a.log')), mkdirSync(join(logs, 'a.log'))),
    (logs: string) => rmSync(join(logs, 'a.log'), { recursive: true }),
  ],
] as const) {
  test(`a reopen that fails is reported, and the next one mends it: ${what}`, async (t) => {
    const { daemon, at, noted, pidFile } = bench(t);
    const name = named(t);
    mkdirSync(at('logs'));
    const pid = await daemon(`
      const daemon = daemonize({ ...options, name: '${name}', log: at('logs/a.log') });
      let reloads = 0;
      daemon.onReload(() => {
        note('reload ' + ++reloads);
        try {
          daemon.reopenLogs();
        } catch ({ code, step, path }) {
          note([code, step, path].join(' '));
        }
      });
      forever();
    `);
    const old = at('logs', 'a.log');
    spoil(at('logs'));
    process.kill(pid, 'SIGHUP');
    await noted('reload 1');
    const reason = await until('the problem is told', async () => (await daemonStatus(name)).record?.problem);
    t.regex(reason, new RegExp(`^cannot reopen the log ${old}: .* \\(E[A-Z]+\\)$`));
    const code = /\((E[A-Z]+)\)$/.exec(reason)![1];
    await noted(`${code} reopen-log ${old}`);
    t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
    mend(at('logs'));
    process.kill(pid, 'SIGHUP');
    await noted('reload 2');
    await until('the problem is over', async () => (await daemonStatus(name)).record?.problem === undefined);
    t.is(statSync(old).mode & 0o7777, 0o640);
  });
}
