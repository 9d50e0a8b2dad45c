/** A temporary folder for one test, and the certainty that the test leaves no process behind in it. */
import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { processes } from './processes.js';
import { removeState } from './state.js';
import { until } from './until.js';

export interface Workspace {
  /** The folder. */
  readonly path: string;
  /** A path in it. */
  at(...names: string[]): string;
}

/**
 * Makes a folder that is removed after the test. Whatever process still has the folder's path on its command line or in its
 * environment then is killed; unless `expectLeftovers`, its presence fails the test.
 */
export function workspace(t: ExecutionContext, options: { expectLeftovers?: boolean } = {}): Workspace {
  const path = mkdtempSync(join(realpathSync(tmpdir()), 'daemonry-test-'));
  t.teardown(async () => {
    const found = () => processes().filter((process) => process.mentions(path));
    // One that an earlier teardown has killed may need a moment for its end.
    if (!options.expectLeftovers)
      await until('no process of the test is left', () => found().length === 0, 2000).catch(() => {});
    const left = found();
    for (const process of left) process.kill();
    await until('the processes of the test have ended', () => left.every((process) => process.hasEnded()));
    rmSync(path, { recursive: true, force: true });
    removeState((pidFile) => pidFile.startsWith(`${path}/`));
    if (left.length > 0 && !options.expectLeftovers) throw new Error(`left behind: ${left.join('; ')}`);
  });
  return { path, at: (...names) => join(path, ...names) };
}
