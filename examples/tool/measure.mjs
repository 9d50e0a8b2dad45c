// Times the tool's first and later calls beside the same work without a daemon, interleaved in one run; prints a Markdown table.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { connectDaemon, stopDaemon } from 'daemonry';

const rounds = 20;
const folder = mkdtempSync(join(tmpdir(), 'format-'));
const file = join(folder, 'input.ts');
writeFileSync(file, 'const answer = (question: string): object => ({ question, answer: 42 })\n'.repeat(20));
// One is stopped before each round, the other lives on.
const [fresh, name] = [`format-fresh-${process.pid}`, `format-measured-${process.pid}`];

const plain = `
  import { readFileSync } from 'node:fs';
  import prettier from ${JSON.stringify(import.meta.resolve('prettier'))};
  const [file] = process.argv.slice(1);
  const options = await prettier.resolveConfig(file);
  process.stdout.write(await prettier.format(readFileSync(file, 'utf8'), { ...options, filepath: file }));
`;
const node = (args, env = {}) =>
  execFileSync(process.execPath, args, { encoding: 'utf8', env: { ...process.env, ...env } });
const tool = (daemon) => node([join(import.meta.dirname, 'format.mjs'), file], { FORMAT_NAME: daemon });
const withoutDaemon = () => node(['--input-type=module', '-e', plain, file]);
const bare = () => node(['-e', '0']);

async function request() {
  const connection = await connectDaemon(process.execPath, [join(import.meta.dirname, 'server.mjs')], {
    name,
    version: '1.0.0',
  });
  connection.end(JSON.stringify({ file, source: readFileSync(file, 'utf8') }));
  return (await json(connection)).formatted;
}

const times = { first: [], later: [], request: [], without: [], bare: [] };
const timed = async (kind, work) => {
  const begun = performance.now();
  const result = await work();
  times[kind].push(performance.now() - begun);
  return result;
};

try {
  tool(name);
  for (let round = 0; round < rounds; round++) {
    await stopDaemon(fresh);
    const results = [await timed('first', () => tool(fresh)), await timed('later', () => tool(name))];
    results.push(await timed('request', request), await timed('without', withoutDaemon));
    await timed('bare', bare);
    if (new Set(results).size !== 1) throw new Error('the results differ');
  }
} finally {
  await Promise.all([stopDaemon(fresh), stopDaemon(name)]);
  rmSync(folder, { recursive: true });
}

const median = (values) => values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)];
const base = median(times.without);
const row = (what, kind) => {
  const time = median(times[kind]);
  return `| ${what} | ${time.toFixed(1)} ms | ${(time / base).toFixed(2)} |`;
};
console.log(`| call (median of ${rounds}, Node.js ${process.versions.node}) | time | of one without a daemon |`);
console.log('| --- | --- | --- |');
console.log(row('without a daemon', 'without'));
console.log(row('first call, which starts the daemon', 'first'));
console.log(row('later call', 'later'));
console.log(row('… of which a bare `node` start', 'bare'));
console.log(row('request to the daemon from a running process', 'request'));
