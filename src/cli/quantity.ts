/** Durations and sizes as people write them: `1.5m`, `512M`. */

/** What a unit is in milliseconds. */
const durations: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** What a unit is in bytes, as ulimit and systemd count. */
const sizes: Readonly<Record<string, number>> = { k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

/** Milliseconds: a whole number of them, or a number with a unit; `undefined` for anything else. */
export function durationOf(text: string): number | undefined {
  return quantityOf(text, durations);
}

/** Bytes: a whole number of them, or a number with a unit in either case; `undefined` for anything else. */
export function sizeOf(text: string): number | undefined {
  return quantityOf(text.toLowerCase(), sizes);
}

function quantityOf(text: string, units: Readonly<Record<string, number>>): number | undefined {
  if (/^\d+$/.test(text)) return Number(text);
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?)([a-z]+)$/.exec(text) ?? [];
  if (!Object.hasOwn(units, unit)) return undefined;
  // 2.3 s are not 2299.9999999999995 ms.
  return Math.round(Number(number) * units[unit]!);
}
