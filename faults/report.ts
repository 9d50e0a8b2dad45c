/** What the runs have shown, as a table. */
import { readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, release } from 'node:os';
import { fileURLToPath } from 'node:url';
import { format } from 'prettier';
import type { Crash } from './crashes.js';
import type { Verdict } from './faults.js';

const page = fileURLToPath(new URL('../docs/reliability.md', import.meta.url));

/** How many there are of each kind. */
export function tally(kinds: readonly string[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const kind of kinds) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return counts;
}

/** Writes both tables between their marks in docs/reliability.md. */
export async function writePage(
  verdicts: readonly Verdict[],
  crashes: readonly Crash[],
  options: readonly string[],
): Promise<void> {
  const met = verdicts.filter(({ outcome }) => outcome !== 'missed');
  const machine = `${availableParallelism()} cores, Linux ${release().split('-')[0]}, Node.js ${process.versions.node}`;
  const command = ['npm run test:faults', ...(options.length === 0 ? [] : ['--', ...options])].join(' ');
  const stamp = (what: string) => `${what} on ${new Date().toISOString().slice(0, 10)} (${machine}; \`${command}\`).`;
  const tables = {
    faults: [stamp(`${met.length} faults`), '', ...faultTable(met)],
    crashes: [stamp(`${crashes.length} crashes`), '', ...crashTable(crashes)],
  };
  let text = readFileSync(page, 'utf8');
  for (const [name, lines] of Object.entries(tables)) {
    const marks = new RegExp(`(<!-- generated: ${name} -->\n)[^]*?(?=<!-- end -->)`);
    if (!marks.test(text)) throw new Error(`${page} has no mark for the ${name}`);
    text = text.replace(marks, (_, mark: string) => `${mark}\n${lines.join('\n')}\n\n`);
  }
  writeFileSync(page, await format(text, { parser: 'markdown', printWidth: 120, singleQuote: true }));
}

function faultTable(verdicts: readonly Verdict[]): string[] {
  const names = [...new Set(verdicts.map(({ fault }) => fault.call.name))].sort();
  const row = (title: string, own: readonly Verdict[]) => {
    const counts = tally(own.map(({ outcome }) => outcome));
    const [told = 0, generic = 0, right = 0, wrong = 0] = ['told', 'generic', 'right', 'wrong'].map((kind) =>
      counts.get(kind),
    );
    const errnos = [...new Set(own.map(({ fault }) => fault.action))]
      .filter((action) => action.startsWith('E'))
      .sort()
      .join(' ');
    const reported = `${own.length - wrong} of ${own.length}`;
    return `| ${[title, errnos, told, generic, right, reported].join(' | ')} |`;
  };
  return [
    '| call | errors | told with its error | told as what came of it | did no harm | truthful, nothing left |',
    '| --- | --- | ---: | ---: | ---: | ---: |',
    ...names.map((name) =>
      row(
        `\`${name}\``,
        verdicts.filter(({ fault }) => fault.call.name === name),
      ),
    ),
    row('all', verdicts).replace(/^(\| all \| ).*?( \| )/, '$1$2'),
  ];
}

function crashTable(crashes: readonly Crash[]): string[] {
  const row = (title: string, own: readonly Crash[]) => {
    const counts = tally(own.map(({ state }) => state));
    const kinds = ['nothing', 'a pidfile that nobody holds', 'the daemon'].map((kind) => counts.get(kind) ?? 0);
    return `| ${[title, ...kinds, `${own.length - (counts.get('wrong') ?? 0)} of ${own.length}`].join(' | ')} |`;
  };
  const places = [...new Set(crashes.map(placeOf))];
  return [
    '| killed | nothing left | a stale pidfile left | the daemon runs | truthful, and the next start works |',
    '| --- | ---: | ---: | ---: | ---: |',
    ...places.map((place) =>
      row(
        place,
        crashes.filter((crash) => placeOf(crash) === place),
      ),
    ),
    row('all', crashes),
  ];
}

/** Which process, and in which start. */
function placeOf({ scenario, where }: Crash): string {
  const who = where === 'at random' ? 'any, at random' : `${where.split('/')[0]}, at each of its calls`;
  return `${scenario.name}: ${who}`;
}
