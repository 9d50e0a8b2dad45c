/** The record and the self-report of a daemon, whatever is in their files. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { dirname } from 'node:path';
import test from 'ava';
import * as fc from 'fast-check';
import { native } from '../../src/native/index.js';
import { locate } from '../../src/store/locate.js';
import { newRecord, publicRecord, type FullRecord, type NewRecord } from '../../src/store/record.js';
import { daemonPaths } from '../../src/store/paths.js';
import { SelfReport } from '../../src/store/self-report.js';
import { named, recordOf } from '../helpers/named.js';
import { holds } from '../helpers/property.js';

/** Any text that a path or an argument can be. */
const plain = fc.string({ unit: 'binary' }).filter((text) => !text.includes('\0'));
/** Any text that JavaScript can have, half characters included. */
const text = fc.string({ unit: fc.integer({ min: 0, max: 0xffff }).map((unit) => String.fromCharCode(unit)) });
const json = fc.jsonValue({ maxDepth: 3 });
const user = process.getuid!();
const reportOf = (name: string) => daemonPaths(name).pidFile.replace(/\.pid$/, '.self.json');
const known = (name: string): NewRecord => ({
  name,
  pidFile: '/a',
  program: 'a',
  arguments: ['a'],
  method: 'daemonize',
  logFile: undefined,
  version: undefined,
  selfReport: reportOf(name),
});
const written = (name: string) =>
  fc
    .record<Partial<NewRecord>>(
      {
        pidFile: plain,
        program: plain,
        arguments: fc.array(plain),
        method: fc.constantFrom('daemonize', 'spawnDaemon', 'foreground'),
        logFile: plain,
        version: plain,
        stopTimeout: fc.nat(),
        options: fc.dictionary(text, json),
      },
      { requiredKeys: [] },
    )
    .map((members) => ({ ...known(name), ...members }) as NewRecord);

function makePlaces(name: string): void {
  const failure = native().makePlaces(name);
  assert.equal(failure, null);
  mkdirSync(dirname(daemonPaths(name).pidFile), { recursive: true });
}

test('a record is read back as it was written, with who started it and where', async (t) => {
  const name = named(t);
  makePlaces(name);
  const line = await holds('record written and read', written(name), (record) => {
    const failure = native().writeRecord(newRecord(recordOf(name), record));
    if (failure !== null) throw new Error(failure.message);
    const { startedBy, cwd, ...found } = locate(name).record!;
    assert.deepEqual(found, JSON.parse(JSON.stringify({ uid: user, ...record })));
    assert.equal(cwd, process.cwd());
    assert.equal(startedBy.uid, user);
    assert.equal(startedBy.user, userInfo().username);
    assert(startedBy.command.length > 0);
  });
  t.log(line);
  t.pass();
});

/** What the types promise. */
function isTyped(found: FullRecord): boolean {
  const isText = (value: unknown) => typeof value === 'string';
  const isWhole = (value: unknown) => Number.isInteger(value);
  const maybe = (is: (value: unknown) => boolean) => (value: unknown) => value === undefined || is(value);
  const { logFile, version, selfReport, stopTimeout, startedBy, options } = found;
  return (
    isWhole(found.uid) &&
    [found.name, found.pidFile, found.program, found.cwd, startedBy.command, ...found.arguments].every(isText) &&
    [logFile, version, selfReport, startedBy.user].every(maybe(isText)) &&
    isWhole(startedBy.uid) &&
    [stopTimeout, startedBy.loginUid].every(maybe(isWhole)) &&
    ['daemonize', 'spawnDaemon', 'foreground'].includes(found.method) &&
    (options === undefined || (typeof options === 'object' && options !== null && !Array.isArray(options)))
  );
}

for (const member of ['pidFile', 'program', 'cwd', 'logFile', 'selfReport'])
  test(`a record whose ${member} has a zero byte is none`, (t) => {
    const name = named(t);
    makePlaces(name);
    const whole = { ...known(name), cwd: '/', uid: 1, startedBy: { uid: 1, command: 'a' } };
    writeFileSync(recordOf(name), JSON.stringify(whole), { mode: 0o600 });
    t.not(locate(name).record, undefined);
    writeFileSync(recordOf(name), JSON.stringify({ ...whole, [member]: '/a\0b' }), { mode: 0o600 });
    t.is(locate(name).record, undefined);
  });

test('a record of another name, or of none, is none', (t) => {
  const name = named(t);
  makePlaces(name);
  const whole = { ...known(name), cwd: '/', uid: 1, startedBy: { uid: 1, command: 'a' } };
  for (const other of ['other', null, undefined, 1, '']) {
    writeFileSync(recordOf(name), JSON.stringify({ ...whole, name: other }), { mode: 0o600 });
    t.is(locate(name).record, undefined);
  }
});

test('whatever is in the file, a record is what its type says, or none', async (t) => {
  const name = named(t);
  makePlaces(name);
  const members = [
    'name',
    'pidFile',
    'program',
    'arguments',
    'cwd',
    'method',
    'startedBy',
    'uid',
    'options',
    'version',
  ];
  const whole = { ...known(name), cwd: '/', uid: 1, startedBy: { uid: 1, command: 'a' } };
  const garbled = fc
    .dictionary(fc.constantFrom(...members, 'selfReport', 'stopTimeout', '__proto__'), json, { maxKeys: 2 })
    .map((others) => JSON.stringify({ ...whole, ...others }));
  const cut = fc
    .tuple(garbled, fc.nat(), text)
    .map(([whole, end, rest]) => whole.slice(0, end % (whole.length + 1)) + rest);
  let found = 0;
  const line = await holds(
    'any content of a record',
    fc.oneof(
      garbled,
      cut,
      json.map((value) => JSON.stringify(value)),
      text,
    ),
    (content) => {
      writeFileSync(recordOf(name), content, { mode: 0o600 });
      const { record } = locate(name);
      if (record === undefined) return;
      found += 1;
      assert(isTyped(record));
    },
  );
  t.log(`${line} (${found} of them records)`);
  t.true(found > 0);
});

test('whatever a daemon says in its self-report, it is text without control characters, or nothing', async (t) => {
  const name = named(t);
  makePlaces(name);
  const file = reportOf(name);
  const record = { ...known(name), uid: user, selfReport: file } as unknown as FullRecord;
  const said = fc.record(
    { pid: fc.oneof({ weight: 5, arbitrary: fc.constant(77) }, json), status: fc.oneof(text, json), problem: text },
    { requiredKeys: ['pid'] },
  );
  const content = fc.oneof(
    said.map((words) => JSON.stringify(words)),
    json.map((value) => JSON.stringify(value)),
    text,
  );
  const line = await holds('any content of a self-report', content, (content) => {
    writeFileSync(file, content);
    const { status = '', socket = '', problem = '' } = publicRecord(record, 77);
    for (const text of [status, socket, problem]) assert.doesNotMatch(text, /\p{Cc}/u);
  });
  t.log(line);
  writeFileSync(file, JSON.stringify({ pid: 77, status: 'x'.repeat(2 ** 16) }));
  t.is(publicRecord(record, 77).status, undefined, 'it is too long');
});

test('a self-report says what was said last', (t) => {
  const name = named(t);
  makePlaces(name);
  const file = reportOf(name);
  const record = { ...known(name), uid: user, selfReport: file } as unknown as FullRecord;
  const said = (pid = process.pid) => {
    const { version, status, socket, problem } = publicRecord(record, pid);
    return { version, status, socket, problem };
  };
  const report = new SelfReport(file);
  report.change({ version: '1', status: 'first', problem: 'a "log"\n' });
  t.deepEqual(said(), { version: '1', status: 'first', socket: undefined, problem: 'a "log"?' });
  report.change({ status: 'second', problem: undefined });
  t.deepEqual(said(), { version: '1', status: 'second', socket: undefined, problem: undefined });
  t.deepEqual(said(process.pid + 1), { version: undefined, status: undefined, socket: undefined, problem: undefined });
});
