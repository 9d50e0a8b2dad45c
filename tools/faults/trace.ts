/** Runs a program under `inject`, and reads what it has seen. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { run, type Outcome } from '../../__test__/helpers/run.js';

const inject = fileURLToPath(new URL('../../target/release/inject', import.meta.url));

/** A system call of one of the processes of a start, between the program's marks. */
export interface Call {
  /** Who makes it: `launcher`, `leader`, `daemon`, or a thread of theirs, such as `launcher-thread`. */
  readonly role: string;
  readonly name: string;
  /** Which of the role's calls of that name, from 1. */
  readonly number: number;
  /** Its path in quotes, or its first four arguments. */
  readonly details: string;
  /** What it returned; an error as a negative number; `NaN` where it did not return. */
  readonly result: number;
}

/** What happens to a call: an errno, `short`, `delay=MS` or `kill`. */
export interface Fault {
  readonly call: Call;
  readonly action: string;
}

export interface Traced extends Outcome {
  readonly calls: readonly Call[];
}

/** Runs a command as a trace does: a program that is started works in its caller's directory. */
export function untraced([command, ...args]: readonly string[]): Promise<Outcome> {
  return run(command!, args, { cwd });
}

/** One that every user may enter. */
const cwd = '/';

/** Runs a command to its end, with a fault or without. */
export async function traced(command: readonly string[], file: string, fault?: Fault): Promise<Traced> {
  const faults = fault === undefined ? [] : ['--fault', nameOf(fault)];
  const outcome = await run(inject, ['--trace', file, ...faults, '--', ...command], { cwd });
  if (outcome.code !== 0) throw new Error(`inject failed: ${outcome.stderr}`);
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  const [kind, how = ''] = lines.pop()!.split(' ');
  const ending = kind === 'exit' ? { code: Number(how), signal: null } : { code: null, signal: how as NodeJS.Signals };
  const calls = lines.map((line) => {
    const [role = '', name = '', number, details = '', result] = line.split('\t');
    return { role, name, number: Number(number), details, result: Number(result) };
  });
  return { ...outcome, ...ending, calls };
}

export function nameOf({ call: { role, name, number }, action }: Fault): string {
  return `${role}/${name}/${number}/${action}`;
}
