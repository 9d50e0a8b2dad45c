/**
 * Runs the tests under each runtime, counts, and prints a table; a test that fails is named. `--only PATTERN` takes the runtimes whose name
 * matches it (a regular expression); `--docs` puts them into the table of docs/compatibility.md.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { table, today, writeParts } from './generated.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const runtimes = join(root, 'target/runtimes');
const { values } = parseArgs({ options: { only: { type: 'string', default: '' }, docs: { type: 'boolean' } } });

/** What does not change with the runtime: what others make of what daemonry prints, and what goes on for thousands of rounds. */
const apart = new Set([
  'supervisors/containers',
  'cli/quoting',
  'pidfile/races',
  'reliability/soak',
  'control/recycled-pids',
  'supervisors/init-systems',
  'supervisors/systemd',
  'cli/unit',
]);
const files = readdirSync(join(root, '__test__'), { recursive: true }).filter((file) => file.endsWith('.test.ts'));
const chosen = files.filter((file) => !apart.has(file.replace('.test.ts', ''))).map((file) => `__test__/${file}`);

const byVersion = (one, other) => one.localeCompare(other, undefined, { numeric: true });
const fetched = existsSync(runtimes) ? readdirSync(runtimes).sort(byVersion) : [];
const titles = { node: 'Node.js', bun: 'Bun', deno: 'Deno' };
const rows = fetched.map((entry) => {
  const [kind, version] = entry.split('-');
  const path = join(runtimes, entry, kind);
  const isNode = kind === 'node';
  return {
    name: `${titles[kind]} ${version}`,
    // ava runs under Node.js alone; what it starts then runs under the other.
    node: isNode ? path : process.execPath,
    args: isNode ? chosen : ['__test__/daemonize/runtimes.test.ts', `--match=${kind}: *`],
    what: isNode ? `the tests of ${chosen.length} of ${files.length} files` : 'the tests that start daemons under it',
  };
});

/** Runs ava under a runtime; the counts of what it reports (Test Anything Protocol). */
function counted({ name, node, args }) {
  const begun = Date.now();
  const env = { ...process.env, PATH: `${dirname(node)}:${process.env.PATH}` };
  const ava = join(root, 'node_modules/ava/entrypoints/cli.mjs');
  const { stdout } = spawnSync(node, [ava, '--tap', '--timeout=10m', ...args], {
    cwd: root,
    env,
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  });
  const lines = stdout.split('\n');
  const failed = lines.filter((line) => line.startsWith('not ok')).map((line) => line.replace(/^not ok \d+ - /, ''));
  const skipped = lines.filter((line) => /^ok .* # SKIP/.test(line)).length;
  const passed = lines.filter((line) => line.startsWith('ok ')).length - skipped;
  if (passed + failed.length === 0) throw new Error(`no test has run under ${name}: ${stdout}`);
  console.log(
    `${name}: ${passed} passed, ${failed.length} failed, ${skipped} skipped (${Math.round((Date.now() - begun) / 1000)} s)`,
  );
  for (const title of failed) console.log(`  failed: ${title}`);
  if (failed.length > 0) process.exitCode = 1;
  return { passed, failed, skipped };
}

const results = rows
  .filter(({ name }) => new RegExp(values.only).test(name))
  .map((row) => ({ ...row, ...counted(row) }));
/** The rows of the table, and a line for each failure. What was not run this time stays as it was. */
function linesOf(name, before) {
  const result = results.find((result) => result.name === name);
  if (result === undefined) {
    const rows = before.split('\n').filter((line) => line.startsWith(`| ${name} `));
    return {
      rows: rows.map((row) =>
        row
          .slice(1, -1)
          .split('|')
          .map((cell) => cell.trim()),
      ),
      failures: before.split('\n').filter((line) => line.startsWith(`- ${name}: `)),
    };
  }
  const { what, passed, failed, skipped } = result;
  return {
    rows: [[name, today(), what, passed, failed.length, skipped]],
    failures: failed.map((title) => `- ${name}: fails “${title}”`),
  };
}

if (values.docs) {
  const part = (before) => {
    const lines = rows.map(({ name }) => linesOf(name, before));
    const counts = table(
      ['runtime', 'date', 'what was run', 'passed:', 'failed:', 'skipped:'],
      lines.flatMap(({ rows }) => rows),
    );
    const failures = lines.flatMap(({ failures }) => failures).join('\n');
    return `By \`npm run test:runtimes\` on ${process.platform} ${process.arch}:\n\n${counts}\n\n${failures}`;
  };
  await writeParts('docs/compatibility.md', { runtimes: part });
}
