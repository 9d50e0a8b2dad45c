import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import test from 'ava';
import { daemonStatus } from '../../dist/index.js';
import { bench } from '../helpers/bench.js';
import { read } from '../helpers/files.js';
import { testOnLinux } from '../helpers/privileges.js';
import { descriptors } from '../helpers/processes.js';
import { run } from '../helpers/run.js';
import { until } from '../helpers/until.js';

test('on SIGHUP the logs are reopened, then the reload handlers are awaited in order', async (t) => {
  const { daemon, at, noted, notes } = bench(t);
  const pid = await daemon(`
    const daemon = daemonize({ ...options, log: at('daemon.log') });
    console.log('before');
    daemon.onReload(async () => {
      console.log('reloading');
      note('first begins, log there: ' + fs.existsSync(at('daemon.log')));
      await sleep(50);
      note('first ends');
    });
    daemon.onReload(() => note('second'));
    forever();
  `);
  await until('the daemon has written', () => read(at('daemon.log')) === 'before\n');
  renameSync(at('daemon.log'), at('daemon.log.1'));
  process.kill(pid, 'SIGHUP');
  await noted('second');
  t.deepEqual(notes(), ['first begins, log there: true', 'first ends', 'second']);
  t.is(read(at('daemon.log')), 'reloading\n');
  t.is(read(at('daemon.log.1')), 'before\n');
});

test('a reload handler that rejects is reported in the log; the others run, and the daemon lives on', async (t) => {
  const { daemon, at, noted, notes, pidFile } = bench(t);
  const pid = await daemon(`
    const daemon = daemonize({ ...options, log: at('daemon.log') });
    daemon.onReload(async () => { throw new Error('bad configuration'); });
    daemon.onReload(() => { throw new Error('worse'); });
    let reloads = 0;
    daemon.onReload(() => note('reload ' + ++reloads));
    forever();
  `);
  process.kill(pid, 'SIGHUP');
  await noted('reload 1');
  process.kill(pid, 'SIGHUP');
  await noted('reload 2');
  t.deepEqual(notes(), ['reload 1', 'reload 2']);
  t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
  const reported = read(at('daemon.log')).match(/^a reload handler failed: .*$/gm);
  const each = ['a reload handler failed: Error: bad configuration', 'a reload handler failed: Error: worse'];
  t.deepEqual(reported, [...each, ...each]);
});

test('signals during a reload reopen the logs at once, and cause one more reload when it is done', async (t) => {
  const { daemon, at, noted, notes } = bench(t);
  const pid = await daemon(`
    const daemon = daemonize({ ...options, log: at('daemon.log') });
    let reloads = 0;
    daemon.onReload(async () => {
      const reload = ++reloads;
      note('begins ' + reload);
      await exists('go');
      note('ends ' + reload);
    });
    forever();
  `);
  process.kill(pid, 'SIGHUP');
  await noted('begins 1');
  for (let rotation = 1; rotation <= 3; rotation++) {
    renameSync(at('daemon.log'), at(`daemon.log.${rotation}`));
    process.kill(pid, 'SIGHUP');
    await until('the log is there again', () => existsSync(at('daemon.log')));
  }
  writeFileSync(at('go'), '');
  await noted('ends 2');
  process.kill(pid, 'SIGHUP');
  await noted('ends 3');
  t.deepEqual(notes(), ['begins 1', 'ends 1', 'begins 2', 'ends 2', 'begins 3', 'ends 3']);
});

testOnLinux('a daemon with a log and no reload handler reopens it on SIGHUP and lives on', async (t) => {
  const { daemon, at, pidFile } = bench(t);
  const pid = await daemon("daemonize({ ...options, log: at('daemon.log') }); forever();");
  rmSync(at('daemon.log'));
  process.kill(pid, 'SIGHUP');
  await until('the log is there again', () => existsSync(at('daemon.log')));
  t.is(descriptors(pid).get(1), at('daemon.log'));
  t.is(descriptors(pid).get(2), at('daemon.log'));
  t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
});

test('a reopened log has its mode whatever the umask, and carries native output and that of children, too', async (t) => {
  const { daemon, at, noted } = bench(t);
  const pid = await daemon(`
    const daemon = daemonize({ ...options, log: at('daemon.log'), umask: 0o077 });
    daemon.onReload(async () => {
      fs.writeSync(1, 'native out\\n');
      fs.writeSync(2, 'native err\\n');
      const { spawnSync } = await import('node:child_process');
      spawnSync('sh', ['-c', 'echo child out; echo child err >&2'], { stdio: 'inherit' });
      console.log('node out');
      console.error('node err');
      note('reloaded');
    });
    forever();
  `);
  t.is(statSync(at('daemon.log')).mode & 0o7777, 0o640);
  renameSync(at('daemon.log'), at('daemon.log.1'));
  process.kill(pid, 'SIGHUP');
  await noted('reloaded');
  t.is(read(at('daemon.log')), 'native out\nnative err\nchild out\nchild err\nnode out\nnode err\n');
  t.is(read(at('daemon.log.1')), '');
  t.is(statSync(at('daemon.log')).mode & 0o7777, 0o640);
});

test('stdout and stderr with files of their own are both reopened, each with its mode', async (t) => {
  const { daemon, at, noted } = bench(t);
  const pid = await daemon(`
    const stderr = { path: at('err.log'), mode: 0o600 };
    const daemon = daemonize({ ...options, stdout: at('out.log'), stderr });
    daemon.onReload(() => { console.log('out'); console.error('err'); note('reloaded'); });
    forever();
  `);
  for (const log of ['out.log', 'err.log']) rmSync(at(log));
  process.kill(pid, 'SIGHUP');
  await noted('reloaded');
  t.is(read(at('out.log')), 'out\n');
  t.is(read(at('err.log')), 'err\n');
  t.is(statSync(at('err.log')).mode & 0o7777, 0o600);
});

test('over 30 rotations under constant output no line is lost, doubled or torn', async (t) => {
  const { daemon, at, noted } = bench(t);
  const pid = await daemon(`
    const daemon = daemonize({ ...options, log: at('daemon.log') });
    let [line, reloads] = [0, 0];
    const write = () => {
      for (let n = 0; n < 50; n++) fs.writeSync(1 + (line % 2), 'line ' + line++ + '\\n');
      if (fs.existsSync(at('done'))) note('wrote ' + line), process.exit();
      setImmediate(write);
    };
    write();
    daemon.onReload(() => note('reload ' + ++reloads));
  `);
  for (let rotation = 1; rotation <= 30; rotation++) {
    renameSync(at('daemon.log'), at(`rotated.${rotation}`));
    process.kill(pid, 'SIGHUP');
    await noted(`reload ${rotation}`);
    // The rotated file is complete now, and not empty: there was output all the time.
    t.regex(read(at(`rotated.${rotation}`)), /^(line \d+\n)+$/);
  }
  writeFileSync(at('done'), '');
  const lines = () => Number(/^wrote (\d+)$/m.exec(read(at('notes')))?.[1]);
  await until('the daemon is done', lines);
  const files = Array.from({ length: 30 }, (_, index) => `rotated.${index + 1}`);
  const written = [...files, 'daemon.log'].map((file) => read(at(file))).join('');
  t.is(written, Array.from({ length: lines() }, (_, line) => `line ${line}\n`).join(''));
  t.is(readdirSync(at('.')).filter((file) => file.startsWith('rotated')).length, 30);
});

for (const [what, code, old, spoil] of [
  ['whose directory is gone', 'ENOENT', 'old/daemon.log', ['logs', 'old']],
  ['that has become a directory', 'EISDIR', 'logs/old.log', ['logs/daemon.log', 'logs/old.log']],
] as const) {
  const spoilLog = (at: (name: string) => string) => {
    renameSync(at(spoil[0]), at(spoil[1]));
    if (code === 'EISDIR') mkdirSync(at('logs/daemon.log'));
  };

  test(`reopenLogs() throws a typed error for a log ${what}, and the old file stays open`, async (t) => {
    const { daemon, at, noted, notes } = bench(t);
    mkdirSync(at('logs'));
    await daemon(`
      const daemon = daemonize({ ...options, log: at('logs/daemon.log') });
      await exists('go');
      try {
        daemon.reopenLogs();
      } catch (error) {
        const { code, step, errno, syscall, path } = error;
        note(JSON.stringify([daemonry.isDaemonError(error), code, step, errno < 0, syscall, path]));
        console.log('still here');
      }
      note('tried');
      forever();
    `);
    spoilLog(at);
    writeFileSync(at('go'), '');
    await noted('tried');
    t.deepEqual(JSON.parse(notes()[0]!), [true, code, 'reopen-log', true, 'open', at('logs/daemon.log')]);
    t.is(read(at(old)), 'still here\n');
  });

  test(`on SIGHUP, a log ${what} is reported in the old file, and the reload goes on`, async (t) => {
    const { daemon, at, noted, pidFile } = bench(t);
    mkdirSync(at('logs'));
    const pid = await daemon(`
      daemonize({ ...options, log: at('logs/daemon.log') }).onReload(() => note('reloaded'));
      forever();
    `);
    spoilLog(at);
    process.kill(pid, 'SIGHUP');
    await noted('reloaded');
    const line = read(at(old));
    t.true(line.startsWith(`cannot reopen the log ${at('logs/daemon.log')}: `), line);
    t.true(line.endsWith(` (${code})\n`), line);
    t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
  });
}

test('of two logs, one that cannot be reopened does not keep the other from it', async (t) => {
  const { daemon, at } = bench(t);
  const pid = await daemon("daemonize({ ...options, stdout: at('out.log'), stderr: at('err.log') }); forever();");
  rmSync(at('out.log'));
  mkdirSync(at('out.log'));
  renameSync(at('err.log'), at('err.log.1'));
  process.kill(pid, 'SIGHUP');
  await until('the failure is reported', () => /out\.log.*EISDIR/.test(read(at('err.log'))));
  t.is(read(at('err.log.1')), '');
});

test('in a foreground without a terminal, SIGHUP reloads', async (t) => {
  const { foreground, noted } = bench(t);
  const { child, done } = await foreground(`
    daemonize(options).onReload(() => { note('reloaded'); process.exit(); });
    forever();
    note('up');
  `);
  child.kill('SIGHUP');
  await noted('reloaded');
  t.like(await done, { code: 0, signal: null });
});

testOnLinux('in a foreground with a terminal, SIGHUP ends the program, and its pidfile says so', async (t) => {
  const { write, notes, pidFile } = bench(t);
  const path = write(`
    daemonize(options).onReload(() => note('reloaded'));
    forever();
    note('up');
    process.kill(process.pid, 'SIGHUP');
    setTimeout(() => process.exit(9), 5000);
  `);
  const command = `DAEMONRY_MODE=foreground '${process.execPath}' '${path}'`;
  const { code, stdout } = await run('script', ['-qec', command, '/dev/null']);
  t.deepEqual(notes(), ['up'], stdout);
  t.is(code, 128 + 1);
  t.is((await daemonStatus({ pidFile })).state, 'dead');
});
