/** Named daemons, whose files lie in places that all tests share. */
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { paths, stop } from '../../dist/index.js';

let count = 0;

/** A name that nothing else uses. After the test its daemon is stopped and its files are removed. */
export function named(t: ExecutionContext): string {
  const name = `daemonry-test-${process.pid}-${++count}`;
  t.teardown(async () => {
    await stop(name, { timeout: 2000 });
    removePlaces(name);
  });
  return name;
}

/** Removes whatever is left of a named daemon in the caller's own places. */
export function removePlaces(name: string): void {
  const { pidFile, logFile } = paths(name);
  for (const file of [pidFile, logFile]) rmSync(dirname(file), { recursive: true, force: true });
  if (process.geteuid?.() === 0) rmSync(join(systemRun, 'daemonry', `${name}.json`), { force: true });
}

const systemRun = process.platform === 'darwin' ? '/var/run' : '/run';
