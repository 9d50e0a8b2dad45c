/** The variables that a daemon was started with, which no record keeps, and what a restart from elsewhere lacks of them. */
import { readFileSync } from 'node:fs';

/** Said at most, so that the sentence stays one. */
const mostNames = 5;

/** Set anew by whatever starts a daemon, or by a shell that it runs. */
const ownVariables = /^(DAEMONRY_|LISTEN_|(OLD)?PWD$|SHLVL$|_$)/;

/** The names of the variables that a process was executed with; none where that cannot be seen. */
export function variablesOf(pid: number): string[] {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/environ`, 'latin1');
  } catch {
    return [];
  }
  // A program can have put something else in their place.
  const names = text.split('\0').map((variable) => /^([A-Za-z_]\w*)=/.exec(variable)?.[1]);
  return names.filter((name) => name !== undefined).filter((name) => !ownVariables.test(name));
}

/** What to say about variables that are missing now; an empty text if none is. */
export function missingNow(before: readonly string[], now: readonly string[]): string {
  const missing = before.filter((name) => !now.includes(name));
  if (missing.length === 0) return '';
  const shown = missing.slice(0, mostNames).join(', ');
  const more = missing.length > mostNames ? ` and ${missing.length - mostNames} more` : '';
  return `; it ran with ${shown}${more}, which the environment of this process does not have`;
}
