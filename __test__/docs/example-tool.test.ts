/** The example of a command-line tool with a background server. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { daemonStatus } from '../../dist/index.js';
import { named } from '../helpers/named.js';
import { run } from '../helpers/run.js';
import { until } from '../helpers/until.js';
import { workspace } from '../helpers/workspace.js';

const folder = fileURLToPath(new URL('../../examples/tool', import.meta.url));

// Where names lead to, unless for root: short, for the path of a socket is limited.
const state = mkdtempSync(join(tmpdir(), 'daemonry-tool-'));
process.env['XDG_STATE_HOME'] = state;
test.after.always(() => rmSync(state, { recursive: true }));

function tool(t: ExecutionContext, settings: NodeJS.ProcessEnv = {}) {
  const name = named(t);
  const { path, at } = workspace(t);
  const format = (file: string, env: NodeJS.ProcessEnv = {}) =>
    run(process.execPath, [join(folder, 'format.mjs'), file], {
      cwd: path,
      env: { ...process.env, FORMAT_NAME: name, ...settings, ...env },
    });
  const pid = async () => {
    const found = await daemonStatus(name);
    return found.state === 'running' ? found.pid : undefined;
  };
  return { name, at, format, pid };
}

test('the first call starts the server, the next one is answered by it, by the configuration of the file', async (t) => {
  const { at, format, pid } = tool(t);
  writeFileSync(at('a.js'), "const a={b:'c'}");
  t.like(await format('a.js'), { code: 0, stdout: 'const a = { b: "c" };\n', stderr: '' });
  const first = await pid();
  writeFileSync(at('.prettierrc'), '{ "singleQuote": true }');
  t.like(await format('a.js'), { code: 0, stdout: "const a = { b: 'c' };\n", stderr: '' });
  t.is(await pid(), first);
});

test('of twenty first calls at once all get their own answer, from one server', async (t) => {
  const { at, format, pid, name } = tool(t);
  const calls = Array.from({ length: 20 }, async (_, index) => {
    writeFileSync(at(`${index}.js`), `call( ${index} )`);
    return (await format(`${index}.js`)).stdout;
  });
  t.deepEqual(
    await Promise.all(calls),
    calls.map((_, index) => `call(${index});\n`),
  );
  t.is(typeof (await pid()), 'number');
  t.is((await daemonStatus(name)).record?.socket?.endsWith('.sock'), true);
});

test('what cannot be formatted is told with exit code 2, and the server lives on', async (t) => {
  const { at, format, pid } = tool(t);
  writeFileSync(at('good.js'), 'a');
  writeFileSync(at('bad.js'), 'const a={');
  await format('good.js');
  const first = await pid();
  const { code, stdout, stderr } = await format('bad.js');
  t.deepEqual([code, stdout], [2, '']);
  t.regex(stderr, /^format: Unexpected token/);
  t.like(await format('missing.js'), { code: 2, stdout: '' });
  t.like(await format('good.js'), { code: 0, stdout: 'a;\n' });
  t.is(await pid(), first);
});

test('an upgraded tool replaces the server', async (t) => {
  const { at, format, pid, name } = tool(t);
  writeFileSync(at('a.js'), 'a');
  await format('a.js');
  const old = await pid();
  t.like(await format('a.js', { FORMAT_VERSION: '1.1.0' }), { code: 0, stdout: 'a;\n' });
  t.not(await pid(), old);
  t.is((await daemonStatus(name)).record?.version, '1.1.0');
});

test('an idle server exits, and the next call starts another', async (t) => {
  const { at, format, name } = tool(t, { FORMAT_IDLE: '100' });
  writeFileSync(at('a.js'), 'a');
  t.like(await format('a.js'), { code: 0, stdout: 'a;\n' });
  await until('it has exited', async () => (await daemonStatus(name)).state === 'stopped');
  t.like(await format('a.js'), { code: 0, stdout: 'a;\n' });
});

test('client and server have less than sixty lines', (t) => {
  const lines = ['format.mjs', 'server.mjs'].map(
    (file) => readFileSync(join(folder, file), 'utf8').split('\n').length - 1,
  );
  t.true(lines[0]! + lines[1]! < 60);
});
