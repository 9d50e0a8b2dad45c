/** What a launcher prints on stderr. */
import type { DaemonError } from '../errors.js';
import { scriptName } from '../options/script.js';
import { printable, printableLine } from '../printable.js';

/**
 * Writes to stderr, in a form in which no terminal obeys it: a daemon may have written it. Where that fails nothing changes,
 * because the outcome of a start does not depend on it.
 */
export function writeStderr(text: string): void {
  if (text === '') return;
  try {
    process.stderr.write(printable(text));
  } catch {
    // It is closed, or no file that Node can write to; the exit code says the same.
  }
}

/** Writes what is worth knowing and no error. */
export function note(sentence: string): void {
  writeStderr(`daemonry: note: ${printableLine(sentence)}\n`);
}

/** Says why an event could not be written into a daemon's journal, which is no reason for a start or a stop to fail. */
export function reportUnrecorded(reason: string | null | undefined): void {
  if (reason) note(`an event was not recorded: ${reason}`);
}

/** What a program prints about an uncaught error. */
export function sentence(error: DaemonError): string {
  const program = printableLine(scriptName() ?? 'daemonry');
  return error.message.startsWith(`${program} `) ? `${error.message}\n` : `${program}: ${error.message}\n`;
}

/** Makes an uncaught `error` print as its sentence instead of as a page of stack and properties, and the process `leave`. */
export function printsAsSentence(error: DaemonError, leave: () => void = () => process.exit(1)): DaemonError {
  const monitor = (uncaught: unknown) => {
    // With a listener of its own the program decides what is printed.
    if (uncaught !== error || process.listenerCount('uncaughtException') > 0) return;
    writeStderr(sentence(error));
    leave();
  };
  process.on('uncaughtExceptionMonitor', monitor);
  return error;
}
