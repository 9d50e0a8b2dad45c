// Writes the generated parts of docs/supervisors.md: the table of what the tests have seen, and the units as they are printed.
// With --check it only compares, and exits with 77 where the tests could not see it all.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { table, withParts } from './generated.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const page = 'docs/supervisors.md';
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

const seen = table(
  ['Where', ...Object.values(columns)],
  places.map((place) => [
    place,
    ...Object.keys(columns).map((column) => cells.get(`${place}\0${column}`) ?? 'not run'),
  ]),
);

/** As it is printed, but for what is of this machine. */
function unit(kind, language) {
  const args = [cli, 'unit', 'api', '--for', kind, '--cwd', '/srv/api', '--', '/usr/bin/node', 'app.mjs'];
  const text = execFileSync(process.execPath, args, { encoding: 'utf8' })
    .replaceAll(`${process.execPath} ${cli}`, 'daemonry')
    .replace(/^FROM node:\d+/m, 'FROM node:24');
  return `<!-- prettier-ignore -->\n\`\`\`${language}\n${text}\`\`\``;
}

const languages = {
  systemd: 'ini',
  openrc: 'sh',
  sysv: 'sh',
  runit: 'sh',
  s6: 'sh',
  supervisord: 'ini',
  docker: 'dockerfile',
  kubernetes: 'yaml',
  nomad: 'hcl',
  launchd: 'xml',
};
const units = Object.entries(languages).map(([kind, language]) => [`unit ${kind}`, unit(kind, language)]);
const after = await withParts(page, { table: seen, ...Object.fromEntries(units) });
if (process.argv[2] !== '--check') writeFileSync(root + page, after);
else if (after !== readFileSync(root + page, 'utf8')) {
  stop(1, `${page} is not what the tests have seen and the command prints: run npm run docs:supervisors`);
}
