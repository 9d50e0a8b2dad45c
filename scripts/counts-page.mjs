// Writes the tables of docs/reliability.md about races, strangers and soak, from what a full run of the tests has counted in
// target/reliability. argv: the command that was run, its seconds, and the tables that it counted.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { fileURLToPath } from 'node:url';
import { format } from 'prettier';

const root = fileURLToPath(new URL('..', import.meta.url));
const page = `${root}docs/reliability.md`;
const [command, seconds, ...tables] = process.argv.slice(2);

const number = (value) => value.toLocaleString('en-US');
const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MB`;
const listed = (counts) =>
  Object.entries(counts)
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([what, times]) => `${number(times)} ${what.trim()}`)
    .join(', ');

/** What the tests have noted, in the order in which they did. */
function rowsOf(table) {
  const folder = `${root}target/reliability/${table}/`;
  return readdirSync(folder)
    .map((file) => JSON.parse(readFileSync(folder + file, 'utf8')))
    .sort((one, other) => one.at - other.at);
}

const ways = {
  daemonry: '`stop` and `sendSignal`',
  killByContent: 'control: `kill` of the pid in the file',
  killByStatus: 'control: `status`, then `kill` of its pid',
};

/** The head of each table, and its rows. */
const made = {
  races: (rows) => [
    ['Race', 'Where', 'Rounds, all right', 'What the callers were told, and what those saw who looked'],
    ...rows.map(({ title, place = 'as it is', rounds, counts }) => [title, place, number(rounds), listed(counts)]),
  ],
  strangers: (rows) => [
    ['Who stops and signals', 'Strangers hit', 'Bystanders', 'Of these with the pid in the pidfile', 'Calls'],
    ...rows.map(({ title, hit, hits, bystanders, inPlaceOfDaemon, calls }) => [
      ways[title],
      hit === 0 ? '0' : `${number(hit)} (by signal: ${listed(hits)})`,
      number(bystanders),
      number(inPlaceOfDaemon),
      listed(calls),
    ]),
  ],
  soak: ([{ looks }]) => [
    ['Cycles', 'Descriptors', 'Threads', 'Children', 'Zombies', 'Files', 'Objects of V8', 'Resident'],
    ...looks.map(({ cycle, descriptors, threads, children, zombies, files, heap, resident }) => [
      ...[cycle, descriptors, threads, children, zombies, files].map(number),
      ...[heap, resident].map(megabytes),
    ]),
  ],
};

const date = new Date().toISOString().slice(0, 10);
const [{ model }] = cpus();
const machine = `Node.js ${process.version}, Linux ${release()}, ${cpus().length} × ${model}`;
const line = (cells) => `| ${cells.join(' | ')} |`;

let text = readFileSync(page, 'utf8');
for (const table of tables) {
  const [head, ...rows] = made[table](rowsOf(table));
  const lines = [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
  const summary = `${date}, ${machine}; \`${command}\`, ${Math.ceil(seconds / 60)} minutes:`;
  const [start, end] = [`<!-- generated: ${table} -->`, '<!-- end -->'];
  if (!text.includes(start)) throw new Error(`${page} has no place for ${table}`);
  text = text.replace(new RegExp(`${start}[^]*?${end}`), () => `${start}\n\n${summary}\n\n${lines}\n\n${end}`);
}
writeFileSync(page, await format(text, { parser: 'markdown', printWidth: 120, singleQuote: true }));
