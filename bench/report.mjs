/** Makes the tables and the chart of what was measured, and puts them into docs/. */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { table, writeParts } from '../tools/docs/generated.mjs';

const chart = fileURLToPath(new URL('../docs/performance.svg', import.meta.url));
const megabyte = 1024 * 1024;

const median = (numbers) => numbers.toSorted((one, other) => one - other)[Math.floor(numbers.length / 2)];

/** How often each value came, the most frequent first. */
function tally(all) {
  const counts = new Map();
  for (const value of all) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].toSorted(([, one], [, other]) => other - one);
}

/** What tables and chart show, and --json writes. */
export function summaryOf({ contestants, ...run }) {
  const rows = contestants.map(({ samples = [], failures = [], ...contestant }) => {
    const of = (key) => samples.map((sample) => sample[key]).filter((value) => value !== undefined);
    const map = (keys, what) => Object.fromEntries(keys.map((key) => [key, what(of(key))]));
    const {
      name,
      command,
      version,
      note,
      pidFile,
      missing = samples.length === 0 ? failures[0] : undefined,
    } = contestant;
    return {
      name,
      command,
      version,
      note,
      pidFile,
      missing,
      failures,
      rounds: samples.length,
      ...map(['prompt', 'first', 'own', 'rss', 'processes'], median),
      ...map(['live', 'up', 'told'], (all) => all.filter(Boolean).length),
      ...map(['two', 'code'], tally),
    };
  });
  return { ...run, rows };
}

const titleOf = ({ name, command, version }) =>
  [name, command && `(\`${command}\`)`, version].filter(Boolean).join(' ');

/** All columns but the first are aligned to the right. */
const figures = (headings, rows) => table(['', ...headings.map((heading) => `${heading}:`)], rows);

const ms = (time) => (time === undefined ? '' : `${time.toFixed(0)} ms`);
const ratio = (one, other) => (one === undefined ? '' : (one / other).toFixed(2));
/** In megabytes; never -0.0. */
const mb = (bytes) => (Math.round((bytes / megabyte) * 10) / 10 || 0).toFixed(1);
const outcomes = (counts) =>
  counts.map(([value, count]) => (counts.length > 1 ? `${value}: ${count}×` : value)).join('; ');

export function tablesOf({ date, machine, rounds, rows }) {
  const [bare, plain, ...all] = rows;
  const [own] = all;
  const measured = all.filter(({ missing }) => missing === undefined);
  const memory = (row, key) => {
    if (row[key] === undefined) return '';
    return row === plain ? `(${mb(row[key])} MB)` : `${mb(row[key] - plain[key])} MB`;
  };
  const costs = figures(
    ['prompt returns', '÷ daemonry', 'first line', '÷ daemonry', 'memory added', 'RSS added', 'processes'],
    [bare, plain, ...measured].map((row) => [
      titleOf(row),
      ms(row.prompt),
      ratio(row.prompt, own.prompt),
      ms(row.first),
      ratio(row.first, own.first),
      memory(row, 'own'),
      memory(row, 'rss'),
      row.processes ?? '',
    ]),
  );
  const truths = figures(
    ['live pid in the pidfile', 'program has begun', 'two starts at once', 'crash: exit code', 'crash: reason printed'],
    measured.map((row) => {
      const of = (count) => `${count} of ${row.rounds}`;
      return [
        titleOf(row),
        row.pidFile === undefined ? 'no pidfile' : of(row.live),
        of(row.up),
        outcomes(row.two),
        outcomes(row.code),
        of(row.told),
      ];
    }),
  );
  const notes = all.map((row) => {
    const sentences = [row.note];
    if (row.missing !== undefined) sentences.push(`**Not measured**: ${row.missing}.`);
    else if (row.failures.length > 0) sentences.push(`In ${row.failures.length} rounds it failed: ${row.failures[0]}.`);
    return `- **${titleOf(row)}**: ${sentences.join(' ')}`;
  });
  const floor = `daemonry's prompt ÷ two bare boots of Node.js: ${ratio(own.prompt, bare.prompt)}.`;
  const head = `${date}, ${machine}, ${rounds} rounds:`;
  return [head, costs, floor, 'When the prompt returns, and after it:', truths, notes.join('\n')].join('\n\n');
}

const escaped = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('`', '');

/** Bars of time until the prompt returns, with a dot where the program has begun; beside them bars of memory. */
export function chartOf({ date, machine, rounds, rows }) {
  const [bare, plain, ...all] = rows;
  const measured = all.filter(({ missing }) => missing === undefined);
  const left = 200;
  const panels = [
    { x: left, width: 360, most: Math.max(...measured.flatMap(({ prompt, first }) => [prompt, first])) },
    { x: left + 440, width: 130, most: Math.max(...measured.map(({ own }) => own - plain.own)) },
  ];
  const [time, memory] = panels.map(({ x, width, most }) => ({
    x,
    at: (value) => (x + (Math.max(value, 0) / most) * width).toFixed(1),
    long: (value) => ((Math.max(value, 0) / most) * width).toFixed(1),
  }));
  const step = 26;
  const top = 64;
  const bottom = top + measured.length * step;
  const lines = measured.flatMap((row, index) => {
    const y = top + index * step;
    const kind = row.name.startsWith('daemonry') ? 'own' : 'peer';
    const more = row.own - plain.own;
    const end = Math.max(row.prompt, row.first);
    return [
      `<text class="name" x="${left - 10}" y="${y + 13}">${escaped(row.name)}</text>`,
      `<rect class="${kind}" x="${time.x}" y="${y + 3}" width="${time.long(row.prompt)}" height="12" rx="2"/>`,
      `<circle class="begun" cx="${time.at(row.first)}" cy="${y + 9}" r="4"/>`,
      `<text x="${Number(time.at(end)) + 9}" y="${y + 13}">${row.prompt.toFixed(0)}</text>`,
      `<rect class="${kind}" x="${memory.x}" y="${y + 3}" width="${memory.long(more)}" height="12" rx="2"/>`,
      `<text x="${Number(memory.at(more)) + 6}" y="${y + 13}">${mb(more)}</text>`,
    ];
  });
  const floor = time.at(bare.prompt);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 830 ${bottom + 56}" role="img" font-family="system-ui, sans-serif" font-size="12">
<title>Time until the prompt returns and until the program begins, and memory, of daemonry and its peers</title>
<desc>The same figures as in the table of docs/performance.md.</desc>
<style>
  .paper { fill: #fff } text { fill: #1f2328; stroke: #fff; stroke-width: 3px; paint-order: stroke }
  .name { text-anchor: end } .head { font-weight: 600 } .small { fill: #59636e; font-size: 11px }
  .own { fill: #1a7f37 } .peer { fill: #8c959f } .begun { fill: #fff; stroke: #cf222e; stroke-width: 2.5 }
  .floor { stroke: #59636e; stroke-dasharray: 3 3 }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117 } text { fill: #e6edf3; stroke: #0d1117 } .small { fill: #9198a1 }
    .own { fill: #3fb950 } .peer { fill: #6e7681 } .begun { fill: #0d1117; stroke: #ff7b72 } .floor { stroke: #9198a1 }
  }
</style>
<rect class="paper" width="100%" height="100%" rx="6"/>
<text class="head" x="${time.x}" y="20">Until the prompt returns, ms</text>
<circle class="begun" cx="${time.x + 5}" cy="36" r="4"/>
<text class="small" x="${time.x + 15}" y="40">the program begins: right of its bar, the prompt returned before that</text>
<text class="head" x="${memory.x}" y="20">Memory added, MB</text>
<line class="floor" x1="${floor}" x2="${floor}" y1="${top - 6}" y2="${bottom + 6}"/>
<text class="small" x="${floor}" y="${bottom + 20}" text-anchor="middle">two bare boots of Node.js: ${bare.prompt.toFixed(0)}</text>
${lines.join('\n')}
<text class="small" x="10" y="${bottom + 46}">${escaped(`Medians of ${rounds} rounds, ${date}. ${machine}`)}</text>
</svg>
`;
}

/** Writes docs/performance.svg, and the tables between the marks in docs/performance.md. */
export async function writePage(summary) {
  writeFileSync(chart, chartOf(summary));
  await writeParts('docs/performance.md', { peers: tablesOf(summary) });
}
