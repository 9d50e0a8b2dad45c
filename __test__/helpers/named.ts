/** Named daemons, whose files lie in places that all tests share. */
import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import type { ExecutionContext } from 'ava';
import { daemonEvents, daemonPaths, stopDaemon, type DaemonEvent } from '../../dist/index.js';
import { removeState } from './state.js';

let count = 0;

/** A name that nothing else uses. After the test its daemon is stopped and its files are removed. */
export function named(t: ExecutionContext): string {
  const name = `daemonry-test-${process.pid}-${++count}`;
  t.teardown(async () => {
    await stopDaemon(name, { timeout: 2000 });
    removePlaces(name);
  });
  return name;
}

/** Removes whatever is left of a named daemon in the caller's own places. */
export function removePlaces(name: string): void {
  const { pidFile, logFile } = daemonPaths(name);
  for (const file of [pidFile, logFile]) rmSync(dirname(file), { recursive: true, force: true });
  for (const file of [recordOf(name), journalOf(name)]) rmSync(file, { force: true });
  removeState((found) => found === pidFile);
}

/** Where the caller's record of a named daemon is. */
export function recordOf(name: string): string {
  if (process.geteuid?.() !== 0) return daemonPaths(name).pidFile.replace(/\.pid$/, '.json');
  return `${process.platform === 'darwin' ? '/var/db' : '/var/lib'}/daemonry/${name}.json`;
}

/** What is in the journals. */
export async function eventsOf(...asked: Parameters<typeof daemonEvents>): Promise<DaemonEvent[]> {
  const events = [];
  for await (const event of daemonEvents(...asked)) events.push(event);
  return events;
}

/** Where the journal of the same daemon is. */
export function journalOf(name: string): string {
  return recordOf(name).replace(/\.json$/, '.jsonl');
}
