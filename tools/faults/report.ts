/** What the runs have shown, as tables. */
import { table } from '../docs/generated.mjs';
import { tally } from '../reliability/page.js';
import type { Crash } from './crashes.js';
import type { Verdict } from './faults.js';

export function faultTable(all: readonly Verdict[]): string {
  const verdicts = all.filter(({ outcome }) => outcome !== 'missed');
  const row = (title: string, own: readonly Verdict[]) => {
    const counts = tally(own.map(({ outcome }) => outcome));
    const kinds = ['told', 'generic', 'right'].map((kind) => String(counts.get(kind) ?? 0));
    const errnos = [...new Set(own.map(({ action }) => action))].filter((action) => action.startsWith('E')).sort();
    return [title, errnos.join(' '), ...kinds, truthful(own)];
  };
  const names = [...new Set(verdicts.map(({ call }) => call))].sort();
  const [, , ...sums] = row('', verdicts);
  return table(
    ['call', 'errors', 'told with its error:', 'told as what came of it:', 'did no harm:', 'truthful, nothing left:'],
    [
      ...names.map((name) =>
        row(
          `\`${name}\``,
          verdicts.filter(({ call }) => call === name),
        ),
      ),
      ['all', '', ...sums],
    ],
  );
}

export function crashTable(crashes: readonly Crash[]): string {
  const row = (title: string, own: readonly Crash[]) => {
    const counts = tally(own.map(({ state }) => state));
    const kinds = ['nothing', 'a pidfile that nobody holds', 'the daemon'].map((kind) => String(counts.get(kind) ?? 0));
    return [title, ...kinds, truthful(own)];
  };
  const places = [...new Set(crashes.map(({ where }) => where))];
  return table(
    ['killed', 'nothing left:', 'a stale pidfile left:', 'the daemon runs:', 'truthful, and the next start works:'],
    [
      ...places.map((place) =>
        row(
          place,
          crashes.filter(({ where }) => where === place),
        ),
      ),
      row('all', crashes),
    ],
  );
}

function truthful(results: readonly (Verdict | Crash)[]): string {
  return `${results.filter(({ wrong }) => wrong.length === 0).length} of ${results.length}`;
}
