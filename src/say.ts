/** What a launcher says. */

/** Writes to stderr, if there is anybody to hear it: what has become of a start does not depend on that. */
export function say(text: string): void {
  if (text === '') return;
  try {
    process.stderr.write(text);
  } catch {
    // It is closed, or no file that Node can write to; the exit code tells the same.
  }
}
