/** The record of a daemon, whatever is in its file. */
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import test from 'ava';
import * as fc from 'fast-check';
import { native } from '../src/native.js';
import { resolveSpawn } from '../src/options.js';
import { nativeRecord, readRecord, type FullRecord } from '../src/record.js';
import { holds } from './helpers/property.js';
import { workspace } from './helpers/workspace.js';

/** Any text that JavaScript can have, half characters included. */
const text = fc.string({ unit: fc.integer({ min: 0, max: 0xffff }).map((unit) => String.fromCharCode(unit)) });
const version = text.filter((version) => {
  try {
    return resolveSpawn('x', { name: 'a', version }).version === version;
  } catch {
    return false;
  }
});
const words = fc.record({ file: fc.constant('/nonexistent/a'), user: fc.nat() });
const required = ['name', 'pidFile', 'program', 'arguments', 'cwd', 'startedBy'] as const;
const record = fc.record(
  {
    name: text,
    pidFile: text,
    program: text,
    arguments: fc.array(text),
    cwd: text,
    startedBy: fc.constantFrom('daemonize', 'spawnDaemon', 'supervisor'),
    logFile: text,
    version,
    socket: text,
    status: text,
    problem: text,
    words,
    options: fc.dictionary(text, fc.jsonValue()),
  },
  { requiredKeys: [...required] },
) as fc.Arbitrary<FullRecord>;

test('a record is read back as it was written', async (t) => {
  const { at } = workspace(t);
  const path = at('a.json');
  const line = await holds('record written in Rust, read in TypeScript', record, (written) => {
    const failure = native().writeRecord(nativeRecord(path, written));
    if (failure !== null) throw new Error(failure.message);
    const found = JSON.stringify(readRecord(path));
    assert.deepEqual(JSON.parse(found), JSON.parse(JSON.stringify({ ...written, pid: process.pid })));
  });
  t.log(line);
  t.pass();
});

/** What the types promise. */
function isTyped(found: FullRecord & { pid: number }): boolean {
  const isText = (value: unknown) => typeof value === 'string';
  const { logFile, version, socket, status, problem } = found;
  return (
    Number.isInteger(found.pid) &&
    [found.name, found.pidFile, found.program, found.cwd, ...found.arguments].every(isText) &&
    [logFile, version, socket, status, problem].every((value) => value === undefined || isText(value)) &&
    ['daemonize', 'spawnDaemon', 'supervisor'].includes(found.startedBy) &&
    ['undefined', 'object'].includes(typeof found.options) &&
    (found.words === undefined || (isText(found.words.file) && Number.isInteger(found.words.user)))
  );
}

const json = fc.jsonValue({ maxDepth: 3 });
const garbled = fc
  .tuple(
    record,
    fc.dictionary(fc.constantFrom(...required, 'pid', 'words', 'options', 'status', 'version'), json, { maxKeys: 2 }),
  )
  .map(([record, others]) => JSON.stringify({ pid: 77, ...record, ...others }));
const cut = fc
  .tuple(garbled, fc.nat(), text)
  .map(([whole, end, rest]) => whole.slice(0, end % (whole.length + 1)) + rest);

test('whatever is in the file, a record is what its type says, or none', async (t) => {
  const { at } = workspace(t);
  const path = at('a.json');
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
      writeFileSync(path, content, { mode: 0o600 });
      const record = readRecord(path);
      if (record === undefined) return;
      found += 1;
      assert(isTyped(record));
    },
  );
  t.log(`${line} (${found} of them records)`);
  t.true(found > 0);
});

test('whatever a daemon says in a file of its own, it is text without control characters, or nothing', async (t) => {
  const { at } = workspace(t);
  const [path, file] = [at('a.json'), at('words.json')];
  const known = { name: 'a', pidFile: 'a', program: 'a', arguments: [], cwd: '/', startedBy: 'daemonize' };
  const user = process.getuid!();
  writeFileSync(path, JSON.stringify({ pid: 77, ...known, words: { file, user } }), { mode: 0o600 });
  const said = fc.record(
    { pid: fc.oneof({ weight: 5, arbitrary: fc.constant(77) }, json), status: fc.oneof(text, json), problem: text },
    { requiredKeys: ['pid'] },
  );
  const content = fc.oneof(
    said.map((words) => JSON.stringify(words)),
    json.map((value) => JSON.stringify(value)),
    text,
  );
  const line = await holds('any content of the words of a daemon', content, (content) => {
    writeFileSync(file, content);
    const { status = '', socket = '', problem = '' } = readRecord(path)!;
    for (const text of [status, socket, problem]) assert.doesNotMatch(text, /\p{Cc}/u);
  });
  t.log(line);
  t.pass();
  rmSync(file);
});
