import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import test from 'ava';
import { daemonStatus, signalDaemon, stopDaemon } from '../../dist/index.js';
import { bench } from '../helpers/bench.js';
import { read } from '../helpers/files.js';
import { isRoot, testOnLinux } from '../helpers/privileges.js';
import { descriptors, hasEnded, processes, stat } from '../helpers/processes.js';
import { start } from '../helpers/run.js';
import { until } from '../helpers/until.js';

/** How many processes this one waits for. */
function openPidfds(): number {
  return [...descriptors(process.pid).values()].filter((what) => what === 'anon_inode:[pidfd]').length;
}

const signals = ['SIGTERM', 'SIGINT', 'SIGQUIT'] as const;

for (const signal of signals) {
  test(`${signal} ends a program that opted into nothing by the signal itself, and removes its pidfile`, async (t) => {
    const { foreground, pidFile, notes } = bench(t);
    const { child, done } = await foreground(`
      process.on('exit', () => note('exit'));
      daemonize(options);
      forever();
      note('up');
    `);
    t.true(existsSync(pidFile));
    child.kill(signal);
    t.like(await done, { code: null, signal, stderr: '' });
    t.false(existsSync(pidFile));
    t.deepEqual(notes(), ['up']);
  });

  test(`${signal} does the same in a blocked event loop`, async (t) => {
    const { foreground, pidFile } = bench(t);
    const { child, done } = await foreground("daemonize(options); note('up'); for (;;);");
    child.kill(signal);
    t.like(await done, { code: null, signal });
    t.false(existsSync(pidFile));
  });

  test(`${signal} ends a daemon with a blocked event loop, and removes its pidfile`, async (t) => {
    const { daemon, gone, at, noted } = bench(t);
    const pid = await daemon(
      "daemonize(options, () => void exists('block').then(() => { note('blocks'); for (;;); }));",
    );
    writeFileSync(at('block'), '');
    await noted('blocks');
    process.kill(pid, signal);
    t.true(await gone());
    await until('the daemon has ended', () => hasEnded(pid));
  });
}

for (const [what, options, body] of [
  ['opted into nothing', 'options', ''],
  ['has no pidfile', '{}', ''],
  ['does not stop in time', '{ ...options, stopTimeout: 100 }', 'daemon.onStop(never);'],
] as const) {
  testOnLinux(`as PID 1, a program that ${what} exits with 143 on SIGTERM`, async (t) => {
    if (!isRoot) {
      t.log('skipped: only root can make a PID namespace');
      return t.pass();
    }
    const { write, noted, notes, pidFile } = bench(t);
    const path = write(`const daemon = daemonize(${options}); ${body} forever(); note('up as ' + process.pid);`);
    const args = ['--pid', '--fork', '--mount-proc', '--kill-child', process.execPath, path];
    const { child, done } = start('unshare', args, { env: { ...process.env, DAEMONRY_MODE: 'foreground' } });
    await Promise.race([noted('up as 1'), done]);
    t.deepEqual(notes(), ['up as 1'], child.exitCode === null ? '' : (await done).stderr);
    const init = processes().find(({ pid }) => stat(pid)?.ppid === child.pid);
    process.kill(init!.pid, 'SIGTERM');
    t.like(await done, { code: 143, signal: null });
    t.false(existsSync(pidFile));
  });
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(`on ${signal} the stop handlers are awaited in order, then the exit handlers run, then the process exits with 0`, async (t) => {
    const { foreground, notes, pidFile } = bench(t);
    const { child, done } = await foreground(`
      const daemon = daemonize(options);
      process.on('exit', (code) => note('exit ' + code + (fs.existsSync(options.pidFile) ? ' with the pidfile' : '')));
      daemon.onStop(async () => { note('first begins'); await sleep(50); note('first ends'); });
      daemon.onStop(() => note('second, aborted: ' + daemon.abortOnStop().aborted));
      forever();
      note('up');
    `);
    child.kill(signal);
    t.like(await done, { code: 0, signal: null, stderr: '' });
    t.deepEqual(notes(), ['up', 'first begins', 'first ends', 'second, aborted: true', 'exit 0 with the pidfile']);
    t.false(existsSync(pidFile));
  });
}

test('while its handlers run, a daemon is "stopping"', async (t) => {
  const { daemon, pidFile, at, gone } = bench(t);
  const pid = await daemon("const daemon = daemonize(options); daemon.onStop(() => exists('go')); forever();");
  t.is(readFileSync(pidFile, 'utf8'), `${pid}\n`);
  process.kill(pid, 'SIGTERM');
  await until('the daemon is stopping', async () => (await daemonStatus({ pidFile })).state === 'stopping');
  t.like(await daemonStatus({ pidFile }), { state: 'stopping', pid });
  writeFileSync(at('go'), '');
  t.true(await gone());
});

test('a daemon that begins to stop while it starts is "stopping", also when its launcher was killed', async (t) => {
  const { start, noted, pidFile, at } = bench(t);
  const launcher = start(`
    const daemon = daemonize({ ...options, aliveFor: 20_000, stopTimeout: 60_000 });
    daemon.onStop(async () => { note('stopping'); await exists('end'); });
    forever();
    note('up');
  `);
  await noted('up');
  await signalDaemon({ pidFile }, 'SIGTERM');
  await noted('stopping');
  t.is((await daemonStatus({ pidFile })).state, 'stopping');
  launcher.child.kill('SIGKILL');
  await launcher.done;
  t.is((await daemonStatus({ pidFile })).state, 'stopping');
  writeFileSync(at('end'), '');
  await until('the pidfile is gone', () => !existsSync(pidFile));
});

test('a stop handler that rejects is reported in the log, the others still run, and the exit code is 1', async (t) => {
  const { daemon, at, noted, gone } = bench(t);
  const pid = await daemon(`
    const daemon = daemonize({ ...options, log: at('daemon.log') });
    daemon.onStop(async () => { throw new Error('no, thanks'); });
    daemon.onStop(() => note('the other ran'));
    process.on('exit', (code) => note('exit ' + code));
    forever();
  `);
  process.kill(pid, 'SIGTERM');
  await noted('exit 1');
  await noted('the other ran');
  t.true(await gone());
  t.regex(read(at('daemon.log')), /^a stop handler failed: Error: no, thanks\n/);
});

test("the program's own process.exitCode is kept", async (t) => {
  const { foreground } = bench(t);
  const { child, done } = await foreground(`
    daemonize(options).onStop(() => { process.exitCode = 5; });
    forever();
    note('up');
  `);
  child.kill('SIGTERM');
  t.like(await done, { code: 5, signal: null });
});

test('a program that only has the signal of `abortOnStop` winds down by itself', async (t) => {
  const { foreground, notes } = bench(t);
  const { child, done } = await foreground(`
    const signal = daemonize(options).abortOnStop();
    const timer = setInterval(() => {}, 1000);
    signal.addEventListener('abort', async () => {
      await sleep(100);
      note('wound down');
      clearInterval(timer);
    });
    note('up');
  `);
  child.kill('SIGTERM');
  t.like(await done, { code: 0, signal: null });
  t.deepEqual(notes(), ['up', 'wound down']);
});

for (const [what, body] of [
  ['returns', "await once(daemon.abortOnStop(), 'abort'); await sleep(50); note('settled');"],
  [
    'rejects with an AbortError',
    "await sleep(1e6, null, { signal: daemon.abortOnStop() }).finally(() => note('settled'));",
  ],
  [
    'disposes of the handle',
    "await once(daemon.abortOnStop(), 'abort'); await daemon[Symbol.asyncDispose](); note('settled');",
  ],
] as const) {
  test(`a main that ${what} when the signal of \`abortOnStop\` is aborted ends the process with 0, whatever is left to do`, async (t) => {
    const { foreground, notes } = bench(t);
    const { child, done } = await foreground(`
      daemonize({ ...options, stopTimeout: 20_000 }, async (daemon) => {
        forever();
        void daemon.abortOnStop();
        note('up');
        ${body}
      });
    `);
    child.kill('SIGTERM');
    t.like(await done, { code: 0, signal: null, stderr: '' });
    t.deepEqual(notes(), ['up', 'settled']);
  });
}

test('a handler that was added while main winds down still runs', async (t) => {
  const { foreground, notes } = bench(t);
  const { child, done } = await foreground(`
    daemonize(options, async (daemon) => {
      forever();
      const aborted = once(daemon.abortOnStop(), 'abort');
      note('up');
      await aborted;
      await sleep(50);
      daemon.onStop(() => note('ran'));
    });
  `);
  child.kill('SIGTERM');
  t.like(await done, { code: 0, signal: null });
  t.deepEqual(notes(), ['up', 'ran']);
});

test('with a handler, a main that never settles does not keep the daemon', async (t) => {
  const { daemon, notes, gone } = bench(t);
  const pid = await daemon(`
    daemonize(options, async (daemon) => {
      daemon.onStop(() => note('handled'));
      process.on('exit', (code) => note('exit ' + code));
      daemon.ready();
      await never();
    });
  `);
  process.kill(pid, 'SIGTERM');
  t.true(await gone());
  t.deepEqual(notes(), ['handled', 'exit 0']);
});

test('a handler that does not end is ended by the signal after stopTimeout, and the program is told why', async (t) => {
  const { foreground, pidFile } = bench(t);
  const { child, done } = await foreground(`
    daemonize({ ...options, stopTimeout: 200 }).onStop(never);
    forever();
    note('up');
  `);
  child.kill('SIGTERM');
  const { signal, stderr } = await done;
  t.is(signal, 'SIGTERM');
  t.is(stderr, 'the daemon did not stop within 200 ms after SIGTERM and ends now\n');
  t.false(existsSync(pidFile));
});

// By itself: it counts what this process waits for.
test.serial('a second stop waits for the first one to finish, and cuts nothing off', async (t) => {
  const { daemon, noted, notes, pidFile, write } = bench(t);
  await daemon(`daemonize(options, (daemon) => {
    daemon.onStop(async () => {
      note('stopping');
      await exists('go');
      note('stopped');
    });
    forever();
  });`);
  const first = stopDaemon({ pidFile });
  await noted('stopping');
  await until('it is stopping', async () => (await daemonStatus({ pidFile })).state === 'stopping');
  const second = stopDaemon({ pidFile });
  if (process.platform === 'linux') await until('the second stop waits, too', () => openPidfds() === 2);
  write('', 'go');
  const outcomes = await Promise.all([first, second]);
  t.deepEqual(
    outcomes.map(({ outcome }) => outcome),
    ['stopped', 'stopped'],
  );
  t.deepEqual(notes(), ['stopping', 'stopped']);
});

test('a second signal, a second after the first, ends a stopping program at once, by that signal', async (t) => {
  const { foreground, noted, pidFile } = bench(t);
  const { child, done } = await foreground(`
    daemonize({ ...options, stopTimeout: 1e6 }).onStop(() => {
      setTimeout(() => note('a second later'), 1000);
      return never();
    });
    forever();
    note('up');
  `);
  child.kill('SIGTERM');
  await noted('a second later');
  child.kill('SIGINT');
  t.like(await done, { code: null, signal: 'SIGINT' });
  t.false(existsSync(pidFile));
});

test('a signal that is repeated at once, as by npm run and the terminal, cuts nothing off', async (t) => {
  const { foreground, notes } = bench(t);
  const { child, done } = await foreground(`
    daemonize(options).onStop(async () => {
      for (const signal of ['SIGTERM', 'SIGINT', 'SIGTERM']) process.kill(process.pid, signal);
      await sleep(50);
      note('handled');
    });
    forever();
    note('up');
  `);
  child.kill('SIGTERM');
  t.like(await done, { code: 0, signal: null });
  t.deepEqual(notes(), ['up', 'handled']);
});

for (const version of ['3', '4']) {
  test(`signal-exit ${version} in some dependency keeps no handler from running, and its own hooks run too`, async (t) => {
    const { foreground, notes } = bench(t);
    const { child, done } = await foreground(`
      const { createRequire } = await import('node:module');
      const loaded = createRequire('${import.meta.url}')('signal-exit-${version}');
      (loaded.onExit ?? loaded)(() => note('hook'));
      daemonize(options).onStop(async () => { await sleep(50); note('handled'); });
      forever();
      note('up');
    `);
    child.kill('SIGTERM');
    t.like(await done, { code: 0, signal: null });
    t.deepEqual(notes(), ['up', 'handled', 'hook']);
  });
}

test('a listener of the program that ends nothing does not keep it beyond stopTimeout', async (t) => {
  const { foreground } = bench(t);
  const { child, done } = await foreground(`
    process.on('SIGTERM', () => {});
    daemonize({ ...options, stopTimeout: 100 }).onStop(() => {});
    forever();
    note('up');
  `);
  child.kill('SIGTERM');
  const { signal, stderr } = await done;
  t.is(signal, 'SIGTERM');
  t.is(stderr, 'the daemon did not stop within 100 ms after SIGTERM and ends now\n');
});

test('a stop waits as long as the daemon has said that it takes, and tells how its handlers went', async (t) => {
  const { daemon, pidFile } = bench(t);
  await daemon(`daemonize({ ...options, stopTimeout: 60_000 }, (daemon) => {
    daemon.onStop(() => sleep(10_500));
    daemon.onStop(() => { throw new Error('no'); });
    forever();
  });`);
  const outcome = await stopDaemon({ pidFile });
  t.like(outcome, { outcome: 'stopped', handlers: 'failed' });
});

test('handlers that ran out of time are told as such', async (t) => {
  const { daemon, pidFile } = bench(t);
  await daemon(`daemonize({ ...options, stopTimeout: 100 }, (daemon) => { daemon.onStop(never); forever(); });`);
  t.like(await stopDaemon({ pidFile }), { outcome: 'stopped', handlers: 'timed-out' });
});

testOnLinux('a daemon that is stopped by SIGSTOP runs its handlers all the same', async (t) => {
  const { daemon, pidFile, notes } = bench(t);
  const pid = await daemon(`daemonize(options, (daemon) => { daemon.onStop(() => note('handled')); forever(); });`);
  process.kill(pid, 'SIGSTOP');
  await until('it is stopped', () => stat(pid)?.state === 'T');
  t.like(await stopDaemon({ pidFile }), { outcome: 'stopped', pid });
  t.deepEqual(notes(), ['handled']);
});

test('daemon.stop() runs the handlers and exits with 0; a first signal meanwhile does not cut them off', async (t) => {
  const { foreground, notes } = bench(t);
  const { done } = await foreground(`
    const daemon = daemonize(options);
    daemon.onStop(async () => { process.kill(process.pid, 'SIGTERM'); await sleep(100); note('handled'); });
    process.on('exit', () => note('exit'));
    forever();
    note('up');
    await daemon.stop();
    note('never');
  `);
  t.like(await done, { code: 0, signal: null });
  t.deepEqual(notes(), ['up', 'handled', 'exit']);
});

for (const how of ['.stop()', '[Symbol.asyncDispose]()']) {
  test(`daemon${how} ends a program that opted into nothing with 0`, async (t) => {
    const { foreground, pidFile } = bench(t);
    const { done } = await foreground(`
      const daemon = daemonize(options);
      forever();
      note('up');
      await daemon${how};
      note('never');
    `);
    t.like(await done, { code: 0, signal: null });
    t.false(existsSync(pidFile));
  });
}

for (const [when, before, after] of [
  ['before daemonize', "process.on('SIGTERM', listen);", ''],
  ['after daemonize', '', "process.on('SIGTERM', listen);"],
  ['to listen once, before daemonize', "process.once('SIGTERM', listen);", ''],
  ['to listen once, after daemonize', '', "process.once('SIGTERM', listen);"],
] as const) {
  for (const [opted, body] of [
    ['no handler', ''],
    ['a handler', "daemon.onStop(() => note('handled'));"],
  ] as const) {
    test(`a program with its own SIGTERM listener, added ${when}, and ${opted}, decides itself when it exits`, async (t) => {
      const { foreground, notes } = bench(t);
      const { child, done } = await foreground(`
        const listen = async () => {
          await sleep(100);
          note('exits' + (fs.existsSync(options.pidFile) ? '' : ' without its pidfile'));
          process.exit(9);
        };
        ${before}
        const daemon = daemonize(options);
        ${body}
        ${after}
        forever();
        note('up');
      `);
      child.kill('SIGTERM');
      t.like(await done, { code: 9, signal: null });
      t.deepEqual(notes(), ['up', ...(body === '' ? [] : ['handled']), 'exits']);
    });
  }
}

test('a SIGTERM listener that calls daemon.stop() stops the daemon', async (t) => {
  const { foreground, notes } = bench(t);
  const { child, done } = await foreground(`
    const daemon = daemonize(options);
    daemon.onStop(() => note('handled'));
    process.on('SIGTERM', () => daemon.stop());
    forever();
    note('up');
  `);
  child.kill('SIGTERM');
  t.like(await done, { code: 0, signal: null });
  t.deepEqual(notes(), ['up', 'handled']);
});

test('when the program has removed its own listener, the default is back: death by the signal, without the pidfile', async (t) => {
  const { foreground, pidFile } = bench(t);
  const { child, done } = await foreground(`
    const listen = () => {};
    process.on('SIGTERM', listen);
    daemonize(options);
    process.on('SIGTERM', listen);
    process.removeAllListeners('SIGTERM');
    note('up');
    for (;;);
  `);
  child.kill('SIGTERM');
  t.like(await done, { code: null, signal: 'SIGTERM' });
  t.false(existsSync(pidFile));
});

for (const [what, body, reason, more] of [
  ['opted into nothing', '', 'was terminated by SIGTERM', ''],
  [
    'has a handler',
    "daemon.onStop(() => note('handled'));",
    'exited with code 0',
    ': main had neither settled nor called ready()',
  ],
] as const) {
  test(`SIGTERM during a start tells the launcher of a daemon that ${what}`, async (t) => {
    const { start, noted, notes, pidFile } = bench(t);
    const { done } = start(`
      daemonize(options, async (daemon) => {
        ${body}
        note('pid ' + daemon.pid);
        note('up');
        await never();
      });
    `);
    await noted('up');
    process.kill(Number(notes()[0]!.split(' ')[1]), 'SIGTERM');
    const { code, stderr } = await done;
    t.is(code, 1);
    t.is(stderr, `program.mjs did not start: the daemon ${reason} before it was up${more}\n`);
    t.false(existsSync(pidFile));
  });
}

test('a daemon that is stopping when it says that it is ready makes the launcher fail with how it ended', async (t) => {
  const { launch, pidFile } = bench(t);
  const { code, stderr } = await launch(`
    daemonize(options, async (daemon) => {
      daemon.onStop(() => new Promise((done) => setTimeout(done, 300)));
      process.exitCode = 5;
      process.kill(process.pid, 'SIGTERM');
      await new Promise((done) => setTimeout(done, 50));
    });
  `);
  t.is(code, 1);
  t.is(stderr, 'program.mjs did not start: the daemon exited with code 5 before it was up\n');
  t.false(existsSync(pidFile));
});
