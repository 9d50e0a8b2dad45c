/** The `daemonry` command, as tests run it. */
import { fileURLToPath } from 'node:url';
import type { ExecutionContext } from 'ava';
import { start, type RunOptions } from './run.js';

export const main = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));

/** Starts `daemonry` with these arguments. */
export function startDaemonry(args: readonly string[], options?: RunOptions) {
  return start(process.execPath, [main, ...args], options);
}

/** Runs it to its end. */
export function daemonry(args: readonly string[], options?: RunOptions) {
  return startDaemonry(args, options).done;
}

/** The same for a command that must succeed; returns what it printed. */
export async function ok(t: ExecutionContext, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await daemonry(args);
  t.is(code, 0, `daemonry ${args.join(' ')}: ${stderr}`);
  t.is(stderr, '');
  return stdout;
}

/** For one that must fail so, with one sentence. */
export async function fails(
  t: ExecutionContext,
  code: number,
  sentence: RegExp | string,
  ...args: string[]
): Promise<void> {
  const told = await daemonry(args);
  t.is(told.code, code, told.stderr);
  t.is(told.stdout, '');
  if (typeof sentence === 'string') t.is(told.stderr, `daemonry: ${sentence}\n`);
  else t.regex(told.stderr, sentence);
  t.is(told.stderr.trimEnd().split('\n').length, 1, told.stderr);
}
