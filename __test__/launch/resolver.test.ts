/** The resolver is asked for the host names of `listen` before anything is locked, and can hang. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { daemonStatus, spawnDaemon, stopDaemon } from '../../dist/index.js';
import { bench } from '../helpers/bench.js';
import { noLinux, testUnless } from '../helpers/privileges.js';
import { hasEnded } from '../helpers/processes.js';
import { fixture, start } from '../helpers/run.js';
import { until } from '../helpers/until.js';

const noCompiler = spawnSync('cc', ['--version'], { stdio: 'ignore' }).status === 0 ? undefined : 'there is no cc here';
const test = testUnless(noLinux ?? noCompiler);
/** Far more than a start takes, and far less than the resolver. */
const soon = 20_000;

/** A start that waits for the resolver, by default one that never answers. */
function caller(t: ExecutionContext, options: object, host = 'hangs.test') {
  const folder = bench(t, {
    'call.mjs': `
      import { spawnDaemon } from 'daemonry';
      const [options, abortsAfter] = process.argv.slice(2).map((text) => JSON.parse(text));
      const signal = AbortSignal.timeout(abortsAfter);
      const begun = performance.now();
      const call = spawnDaemon('sleep', ['1000'], { ...options, signal, env: { LD_PRELOAD: undefined } });
      const told = await call.then((started) => ({ started }), ({ message, ...error }) => ({ message, error }));
      console.log(JSON.stringify({ ...told, took: performance.now() - begun }));
      // A thread that still waits for the resolver does not keep the process.
      process.exit();`,
    'daemon.mjs': `
      import { daemonize } from 'daemonry';
      const options = JSON.parse(process.argv[2]);
      daemonize({ ...options, mode: 'daemon' }, () => void setInterval(() => {}, 1000));`,
  });
  const { at, path } = folder;
  const library = at('resolver.so');
  const { status: code, stderr } = spawnSync('cc', ['-shared', '-fPIC', '-o', library, fixture('resolver.c'), '-ldl']);
  t.is(code, 0, String(stderr));
  const asked = at('asked');
  const all = JSON.stringify({ pidFile: at('a.pid'), listen: { tcp: { host, port: 0 } }, ...options });
  const env = { ...process.env, LD_PRELOAD: library, RESOLVER_ASKED: asked };
  const begin = (program: string, ...args: readonly string[]) =>
    start(process.execPath, [join(path, program), all, ...args], { cwd: path, env });
  return {
    ...folder,
    pidFile: at('a.pid'),
    isAsked: () => until('the resolver is asked', () => existsSync(asked)),
    daemonize: () => begin('daemon.mjs'),
    async call(abortsAfter = soon) {
      const { stdout, stderr } = await begin('call.mjs', String(abortsAfter)).done;
      return JSON.parse(stdout || stderr) as Told;
    },
  };
}

interface Told {
  readonly took: number;
  readonly message?: string;
  readonly error?: object;
  readonly started?: { readonly outcome: string; readonly pid: number; readonly listeners?: object };
}

test('startTimeout ends the wait for a resolver, and the error names the host', async (t) => {
  const { call, pidFile } = caller(t, { startTimeout: 1000, listen: { tcp: { host: 'hangs.test', port: 4321 } } });
  const { took, message, error } = await call();
  t.like(error, { code: 'ERR_START_TIMEOUT', address: 'hangs.test', port: 4321, stderr: '' });
  const reason = 'cannot listen on hangs.test:4321: the host name was not resolved within 1000 ms';
  t.is(message, `sleep did not start: ${reason}`);
  t.true(took >= 990 && took < soon, `${took} ms`);
  t.false(existsSync(pidFile));
});

test('a caller whose resolver hangs keeps no other caller out', async (t) => {
  const { call, pidFile, isAsked, path } = caller(t, { startTimeout: 3000 });
  const hanging = call();
  await isAsked();
  t.like(await daemonStatus({ pidFile }), { state: 'stopped' });
  const { pid, outcome } = await spawnDaemon('sleep', ['1000'], { pidFile, cwd: path, env: { PLACE: path } });
  t.is(outcome, 'started');
  t.like((await hanging).error, { code: 'ERR_START_TIMEOUT' });
  t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
});

test('Ctrl-C ends a launcher whose resolver hangs', async (t) => {
  const { daemonize, isAsked, pidFile } = caller(t, {});
  const { child, done } = daemonize();
  await isAsked();
  const begun = performance.now();
  child.kill('SIGINT');
  const { signal, stderr } = await done;
  t.is(signal, 'SIGINT', stderr);
  t.true(performance.now() - begun < 5000);
  t.regex(stderr, /the start was interrupted by SIGINT and rolled back/);
  t.false(existsSync(pidFile));
});

test('an AbortSignal ends the wait for a resolver', async (t) => {
  const { call, pidFile } = caller(t, {});
  const { took, error } = await call(500);
  t.like(error, { code: 'ERR_START_INTERRUPTED' });
  t.true(took < soon, `${took} ms`);
  t.false(existsSync(pidFile));
});

test('a daemon that runs is reused, or reported, without asking the resolver', async (t) => {
  for (const ifRunning of ['reuse', 'error']) {
    const { call, pidFile, path, at } = caller(t, { ifRunning });
    const { pid } = await spawnDaemon('sleep', ['1000'], { pidFile, cwd: path, env: { PLACE: path } });
    const { started, error } = await call();
    if (ifRunning === 'reuse') t.like(started, { outcome: 'reused', pid });
    else t.like(error, { code: 'ERR_ALREADY_RUNNING', pid });
    t.false(existsSync(at('asked')));
    await stopDaemon({ pidFile });
  }
});

test('a daemon is not stopped for one whose host name cannot be resolved', async (t) => {
  const { call, pidFile, path } = caller(t, { ifRunning: 'replace', startTimeout: 1000 });
  const { pid } = await spawnDaemon('sleep', ['1000'], { pidFile, cwd: path, env: { PLACE: path } });
  t.like((await call()).error, { code: 'ERR_START_TIMEOUT' });
  t.false(hasEnded(pid));
  t.like(await daemonStatus({ pidFile }), { state: 'running', pid });
});

test('a name that is resolved slowly is bound in the end', async (t) => {
  const { call } = caller(t, {
    listen: { tcp: { host: 'slow.test', port: 0 }, other: { host: 'localhost', port: 0 } },
  });
  const { started } = await call();
  const { tcp, other } = started!.listeners as Record<string, { address: string; port: number }>;
  t.is(tcp!.address, '127.0.0.1');
  t.true(tcp!.port > 0 && other!.port > 0);
});
