/** The conventional places of named daemons: directories, records, and the list of all. */
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'ava';
import { daemonize, isDaemonError, list, paths, spawnDaemon, status, stop } from '../dist/index.js';
import { named } from './helpers/named.js';
import { nobody, noOtherUser, testUnless } from './helpers/privileges.js';
import { bench } from './helpers/program.js';
import { runScript } from './helpers/script.js';
import { until } from './helpers/until.js';
import { workspace } from './helpers/workspace.js';

const isRoot = process.geteuid?.() === 0;
const notRoot = isRoot ? undefined : 'only root has the places of the system';
const recordOf = (name: string) =>
  isRoot ? `/run/daemonry/${name}.json` : join(dirname(paths(name).pidFile), `${name}.json`);
const modeOf = (path: string) => statSync(path).mode & 0o7777;

test('a start makes the directories and the record with exactly their modes, whatever the umask', async (t) => {
  const name = named(t);
  const { returned } = await runScript(
    `process.umask(0); return spawnDaemon('sleep', ['100'], { name: args[0], env: { PLACE: args[0] } });`,
    [name],
  );
  t.is(returned.outcome, 'started');
  const { pidFile, logFile } = paths(name);
  const directory = isRoot ? 0o755 : 0o700;
  t.deepEqual([dirname(pidFile), dirname(logFile), pidFile, logFile, recordOf(name)].map(modeOf), [
    directory,
    directory,
    0o644,
    0o640,
    0o600,
  ]);
});

test('the record tells how the daemon was started; what only the running one can say goes with it', async (t) => {
  const { daemon, write, path } = bench(t);
  const name = named(t);
  const pid = await daemon(
    `
    const daemon = daemonize({ onStarted: options.onStarted, name: '${name}', version: '1.2' });
    daemon.ready('first');
    daemon.ready('second');
    forever();
  `,
    { cwd: path },
  );
  const program = write('', 'unused');
  const lasting = {
    program: process.execPath,
    arguments: ['node', join(dirname(program), 'program.mjs')],
    cwd: path,
    startedBy: 'daemonize',
    logFile: paths(name).logFile,
  };
  await until('it has said the second', () => status(name).record?.status === 'second');
  const running = status(name);
  t.like(running, { state: 'running', pid });
  t.deepEqual({ ...running.record, arguments: lasting.arguments }, { ...lasting, version: '1.2', status: 'second' });
  t.is(running.record?.arguments.at(-1), lasting.arguments[1]);
  process.kill(pid, 'SIGKILL');
  await stop(name);
  t.deepEqual({ ...status(name).record, arguments: lasting.arguments }, lasting);
});

test('a failed start leaves nothing, or the record of the daemon before', async (t) => {
  const name = named(t);
  const failing = () => spawnDaemon('sh', ['-c', 'exit 3'], { name, aliveFor: 5000 });
  await t.throwsAsync(failing, { code: 'ERR_START_FAILED' });
  const { pidFile, logFile } = paths(name);
  for (const place of [recordOf(name), pidFile, logFile]) t.false(existsSync(place), place);
  await spawnDaemon('sleep', ['100'], { name });
  await stop(name);
  const before = readFileSync(recordOf(name), 'utf8');
  await t.throwsAsync(failing, { code: 'ERR_START_FAILED' });
  t.is(readFileSync(recordOf(name), 'utf8'), before);
});

test('a record that somebody else could have written, or that is damaged, is not believed', async (t) => {
  const name = named(t);
  const { pid } = await spawnDaemon('sleep', ['100'], { name });
  const record = recordOf(name);
  t.is(status(name).record?.program, 'sleep');
  chmodSync(record, 0o620);
  t.deepEqual([status(name).record, status(name).state], [undefined, 'running']);
  chmodSync(record, 0o600);
  if (isRoot) {
    chownSync(record, nobody.uid, nobody.gid);
    t.is(status(name).record, undefined);
    chownSync(record, 0, 0);
  }
  t.is(status(name).record?.program, 'sleep');
  for (const content of [
    '',
    '{',
    '[]',
    '{"pid":1}',
    `{"pid":${pid},"program":1,"arguments":[],"cwd":"/","pidFile":"/a"}`,
  ]) {
    writeFileSync(record, content);
    t.is(status(name).record, undefined, content);
  }
});

test('a named daemon with a pidfile of its own is found by its name', async (t) => {
  const { at } = workspace(t);
  const name = named(t);
  const { pid } = await spawnDaemon('sleep', ['100'], { name, pidFile: at('own.pid'), env: { PLACE: at('') } });
  t.like(status(name), { name, state: 'running', pid, pidFile: at('own.pid') });
  t.deepEqual(await stop(name), { outcome: 'stopped', pid });
});

test('list tells of every named daemon, running or not, also beside one that cannot be looked at', async (t) => {
  const [one, other] = [named(t), named(t)];
  const { pid } = await spawnDaemon('sleep', ['100'], { name: one });
  await spawnDaemon('sleep', ['100'], { name: other });
  await stop(other);
  const odd = named(t);
  await spawnDaemon('sleep', ['100'], { name: odd });
  await stop(odd);
  writeFileSync(paths(odd).pidFile, 'hello');
  const found = list();
  t.like(
    found.find(({ name }) => name === odd),
    { state: 'unknown' },
  );
  rmSync(paths(odd).pidFile);
  t.like(
    found.find(({ name }) => name === one),
    { state: 'running', pid, record: { program: 'sleep' } },
  );
  t.like(
    found.find(({ name }) => name === other),
    { state: 'stopped' },
  );
  const names = found.map(({ name }) => name!);
  t.deepEqual(names, [...names].sort());
});

test('a directory that somebody else owns or can write in is refused, and so is one that cannot be made', async (t) => {
  const { at, path } = workspace(t);
  const refused = async (prepare: () => void, as: object = {}) => {
    prepare();
    const { error } = await runScript(`await spawnDaemon('sleep', ['100'], { name: 'a' });`, [path], {
      env: { ...process.env, XDG_STATE_HOME: at('state') },
      ...as,
    });
    return error;
  };
  if (isRoot && noOtherUser !== undefined) return t.pass(`not tried: ${noOtherUser}`);
  const as = isRoot ? { uid: nobody.uid, gid: nobody.gid } : {};
  const give = (directory: string, mode: number) => {
    mkdirSync(directory, { recursive: true });
    if (isRoot) chownSync(directory, nobody.uid, nobody.gid);
    chmodSync(directory, mode);
  };
  chmodSync(path, 0o755);
  mkdirSync(at('state'));
  const missing = await refused(() => chmodSync(at('state'), 0o555), as);
  t.like(missing, { code: 'EACCES', step: 'make-directory', path: at('state', 'daemonry') });
  t.regex(missing!.message, /^cannot make the directory /);
  chmodSync(at('state'), 0o755);
  for (const directory of [at('state', 'daemonry'), at('state', 'daemonry', 'a')]) {
    const writable = await refused(() => give(directory, 0o770), as);
    t.like(writable, { code: 'EPERM', step: 'make-directory', path: directory });
    give(directory, 0o700);
  }
});

testUnless(notRoot)('root refuses a directory of the system that belongs to a user', async (t) => {
  const name = named(t);
  const directory = dirname(paths(name).pidFile);
  mkdirSync(directory);
  chownSync(directory, nobody.uid, nobody.gid);
  const error = await t.throwsAsync(spawnDaemon('sleep', ['100'], { name }), { code: 'EPERM' });
  t.true(isDaemonError(error));
  t.true(error?.message.includes(`cannot use the directory ${directory}`));
  t.false(existsSync(recordOf(name)));
});

testUnless(notRoot)(
  'the record of root’s daemon never follows a link, and users see the daemon without it',
  async (t) => {
    const { at } = workspace(t);
    const name = named(t);
    const { pid } = await spawnDaemon('sleep', ['100'], { name });
    if (noOtherUser === undefined) {
      const { returned } = await runScript(
        `return [status(args[0]), list().filter(({ name }) => name === args[0])];`,
        [name],
        {
          ...nobody,
          env: { ...process.env, XDG_STATE_HOME: '/nonexistent' },
        },
      );
      const seen = { name, pidFile: paths(name).pidFile, state: 'running', pid };
      t.like(returned[0], seen);
      t.is(returned[0].record, undefined);
      t.like(returned[1], { length: 1 });
    }
    await stop(name);
    const target = at('target');
    writeFileSync(target, '{}');
    rmSync(recordOf(name));
    symlinkSync(target, recordOf(name));
    await spawnDaemon('sleep', ['100'], { name });
    t.is(readFileSync(target, 'utf8'), '{}');
    t.is(status(name).record?.program, 'sleep');
  },
);

test('names and places that cannot be meant are refused', (t) => {
  for (const name of ['a/b', '', '..', 'a b', 'a.pid']) {
    t.throws(() => daemonize({ name }), { code: 'ERR_INVALID_OPTION' }, name);
    t.throws(() => paths(name), { code: 'ERR_INVALID_OPTION' }, name);
  }
});
