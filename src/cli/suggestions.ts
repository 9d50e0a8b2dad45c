/** What was probably meant by a word that is not known: a slip of the fingers, or the word of another tool. */

/** Commands of pm2, docker, systemctl and kubectl, and what does that here. */
const commandsElsewhere: Readonly<Record<string, string>> = {
  cat: 'unit',
  del: 'forget',
  delete: 'forget',
  desc: 'status',
  describe: 'status',
  down: 'stop',
  enable: 'unit',
  exec: 'start',
  history: 'events',
  info: 'status',
  inspect: 'status',
  'is-active': 'status',
  'is-failed': 'list --failed',
  journal: 'events',
  journalctl: 'events',
  kill: 'stop',
  ls: 'list',
  monit: 'list',
  ps: 'list',
  remove: 'forget',
  rm: 'forget',
  run: 'start',
  show: 'status',
  startup: 'unit',
  tail: 'logs',
  top: 'list',
  up: 'start',
};

/** The same of options. */
const optionsElsewhere: Readonly<Record<string, string>> = { tail: 'lines', time: 'timeout' };

/** The command that was meant. */
export function commandMeant(given: string, known: readonly string[]): string | undefined {
  return meant(given, known, commandsElsewhere);
}

/** The option that was meant, of those that a command has. */
export function optionMeant(given: string, known: readonly string[]): string | undefined {
  const elsewhere = Object.entries(optionsElsewhere).filter(([, option]) => known.includes(option));
  return meant(given, known, Object.fromEntries(elsewhere));
}

function meant(given: string, known: readonly string[], elsewhere: Readonly<Record<string, string>>) {
  if (Object.hasOwn(elsewhere, given)) return elsewhere[given];
  const word = given.toLowerCase();
  const begun = known.filter((one) => word.length > 2 && one.startsWith(word));
  if (begun.length === 1) return begun[0];
  const [nearest] = known
    .map((one) => ({ one, distance: distance(word, one) }))
    .filter(({ one, distance }) => distance <= Math.min(2, one.length / 3))
    .toSorted((one, other) => one.distance - other.distance);
  return nearest?.one;
}

/** How many letters are too many, too few or others; two that have changed places are one. */
function distance(one: string, other: string): number {
  const rows: number[][] = [Array.from({ length: other.length + 1 }, (_, column) => column)];
  for (let row = 1; row <= one.length; row++) {
    const line = [row];
    for (let column = 1; column <= other.length; column++) {
      const isSame = one[row - 1] === other[column - 1];
      const isSwapped =
        row > 1 && column > 1 && one[row - 1] === other[column - 2] && one[row - 2] === other[column - 1];
      line.push(
        Math.min(
          rows[row - 1]![column]! + 1,
          line[column - 1]! + 1,
          rows[row - 1]![column - 1]! + (isSame ? 0 : 1),
          isSwapped ? rows[row - 2]![column - 2]! + 1 : Infinity,
        ),
      );
    }
    rows.push(line);
  }
  return rows.at(-1)!.at(-1)!;
}
