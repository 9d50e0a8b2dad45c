/** What a launcher says. */
import { printable, printableLine } from './printable.js';

/**
 * Writes to stderr, in a form in which no terminal obeys it: a daemon may have written it. Where that fails nothing changes,
 * because the outcome of a start does not depend on it.
 */
export function say(text: string): void {
  if (text === '') return;
  try {
    process.stderr.write(printable(text));
  } catch {
    // It is closed, or no file that Node can write to; the exit code tells the same.
  }
}

/** Writes what is worth knowing and no error. */
export function note(sentence: string): void {
  say(`daemonry: note: ${printableLine(sentence)}\n`);
}

/** Says why an event could not be written into a daemon's journal, which is no reason for a start or a stop to fail. */
export function sayUnwritten(reason: string | null | undefined): void {
  if (reason) note(`an event was not recorded: ${reason}`);
}
