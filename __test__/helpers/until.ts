/** Waiting for something to become true: polls, with a generous deadline against hanging. */
import { setTimeout as sleep } from 'node:timers/promises';

export async function until<T>(
  what: string,
  condition: () => T | Promise<T>,
  deadline = 30_000,
): Promise<NonNullable<T>> {
  const end = Date.now() + deadline;
  for (;;) {
    const value = await condition();
    if (value) return value as NonNullable<T>;
    if (Date.now() > end) throw new Error(`waited ${deadline} ms in vain: ${what}`);
    await sleep(10);
  }
}
