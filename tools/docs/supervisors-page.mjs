// Writes the generated parts of docs/supervisors.md: the table of what the tests have seen, and the units as they are printed.
// With --check it only compares, and exits with 77 where the tests could not see it all.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { format } from 'prettier';

const root = fileURLToPath(new URL('../..', import.meta.url));
const page = `${root}docs/supervisors.md`;
const folder = `${root}target/supervisors/`;
const cli = `${root}dist/cli.js`;

const columns = {
  mode: 'Mode',
  ready: 'Ready is told',
  reload: 'Reload',
  stop: 'Stops within the grace time',
  failure: 'A failed start is told',
  restart: 'Requests lost by a restart',
};
const places = [
  ...['simple', 'exec', 'notify', 'notify-reload', 'forking'].map((type) => `systemd, Type=${type}`),
  'OpenRC',
  'OpenRC, supervise-daemon',
  'SysV init script (LSB)',
  'runit',
  's6',
  'supervisord',
  'container, as PID 1',
  ...['tini', 'catatonit', 'dumb-init'].map((init) => `container, under ${init}`),
  'container, child of its first process (a script, npm)',
  'container, `docker exec`',
  'container, OCI bundle (crun)',
  'Kubernetes',
  'Nomad',
  'launchd',
];
/** Where nothing of it can be run here. */
const notRun = new Set(['launchd']);

function stop(code, sentence) {
  console.error(sentence);
  process.exit(code);
}

if (process.getuid() !== 0) stop(77, 'not compared: only root can run what the table is about');
const cells = new Map(
  (existsSync(folder) ? readdirSync(folder) : [])
    .map((file) => JSON.parse(readFileSync(folder + file, 'utf8')))
    .map(({ place, column, what }) => [`${place}\0${column}`, what]),
);
const missing = places.find((place) => !notRun.has(place) && !cells.has(`${place}\0mode`));
if (missing !== undefined) stop(77, `not compared: the tests have not run "${missing}" here`);
for (const key of cells.keys()) {
  const [place] = key.split('\0');
  if (!places.includes(place)) stop(1, `the tests have run "${place}", which is no row of the table`);
}

const row = (words) => `| ${words.join(' | ')} |`;
const table = [
  row(['Where', ...Object.values(columns)]),
  row(['Where', ...Object.values(columns)].map(() => '---')),
  ...places.map((place) =>
    row([place, ...Object.keys(columns).map((column) => cells.get(`${place}\0${column}`) ?? 'not run')]),
  ),
].join('\n');

/** As it is printed, but for what is of this machine. */
function unit(kind, language) {
  const args = [cli, 'unit', 'api', '--for', kind, '--cwd', '/srv/api', '--', '/usr/bin/node', 'app.mjs'];
  const text = execFileSync(process.execPath, args, { encoding: 'utf8' })
    .replaceAll(`${process.execPath} ${cli}`, 'daemonry')
    .replace(/^FROM node:\d+/m, 'FROM node:24');
  return `<!-- prettier-ignore -->\n\`\`\`${language}\n${text}\`\`\``;
}

const languages = {
  launchd: 'xml',
  docker: 'dockerfile',
  kubernetes: 'yaml',
  nomad: 'hcl',
  systemd: 'ini',
  supervisord: 'ini',
};
const before = readFileSync(page, 'utf8');
const written = before.replaceAll(
  /^(<!-- generated: (\w+)(?: (\w+))? -->\n)[^]*?^<!-- end -->$/gm,
  (_, start, what, kind) =>
    `${start}\n${what === 'table' ? table : unit(kind, languages[kind] ?? 'sh')}\n\n<!-- end -->`,
);
const after = await format(written, { parser: 'markdown', printWidth: 120, singleQuote: true });
if (process.argv[2] !== '--check') writeFileSync(page, after);
else if (after !== before) {
  stop(1, 'docs/supervisors.md is not what the tests have seen and the command prints: run npm run docs:supervisors');
}
