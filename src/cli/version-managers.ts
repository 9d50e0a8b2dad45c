/** The places of version managers whose programs are others in each shell or directory, and what they lead to now. */
import { spawnSync } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { basename, isAbsolute } from 'node:path';

/** Links that a shell makes for itself, or that follow the last choice. */
const links = /\/(fnm_multishells\/[^/]+|\.?nvm\/current|\.nodebrew\/current)\//;

/** Programs that choose another one by the directory that they are called in, below a manager that can print which. */
const shims = /\/\.?(asdf|mise|nodenv|pyenv|rbenv|volta)\/(shims|bin)\//;

/** A path to what a program is in `directory`, for callers in every directory; the given one where none other is known. */
export function lastingPath(path: string, directory: string): string {
  const [, manager] = shims.exec(path) ?? [];
  if (manager !== undefined && basename(path) !== manager) return chosenBy(manager, path, directory);
  try {
    return links.test(path) ? realpathSync(path) : path;
  } catch {
    return path;
  }
}

function chosenBy(manager: string, path: string, directory: string): string {
  const { stdout } = spawnSync(manager, ['which', basename(path)], { cwd: directory, encoding: 'utf8' });
  // It prints nothing where it does not know, and there is nothing where it is not on the PATH.
  const [chosen = ''] = ((stdout as string | null) ?? '').split('\n');
  if (isAbsolute(chosen)) return chosen;
  // By the same choice this command is run.
  return basename(path) === 'node' ? process.execPath : path;
}
