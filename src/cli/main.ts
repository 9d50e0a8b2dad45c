#!/usr/bin/env node
/** The command line: finds the command, runs it, and turns whatever is thrown into one sentence and an exit code. */
import { problemWithArguments } from '../launch/restart-command.js';
import type { Command } from './command.js';
import { commands } from './commands/index.js';
import { fail } from './exit-codes.js';
import { helpOf, overview, version } from './help.js';
import { spellAsHere } from './option-names.js';
import { parse, UsageError, wantsJson } from './parse.js';
import { surviveWriteErrors } from './stdout.js';
import { commandMeant } from './suggestions.js';

surviveWriteErrors();
spellAsHere();
const [first, ...rest] = process.argv.slice(2);

if (first === undefined || first === '--help' || first === '-h' || (first === 'help' && rest.length === 0)) {
  process.stdout.write(overview());
  process.exitCode = first === undefined ? 2 : 0;
} else if (first === '--version' || first === '-V') {
  process.stdout.write(`${version()}\n`);
} else {
  const [name, ...args] = first === 'help' ? [rest[0] ?? '', '--help'] : [first, ...rest];
  const command = commands.find((command) => command.name === name);
  if (command === undefined) fail(unknown(name));
  else await run(command, args);
}

async function run(command: Command, args: readonly string[]): Promise<void> {
  try {
    const problem = problemWithArguments();
    if (problem !== undefined) throw new UsageError(problem);
    const parsed = parse(command, args);
    if (parsed.values['help'] === true) process.stdout.write(helpOf(command));
    else process.exitCode = await command.run(parsed);
  } catch (error) {
    fail(error, { codeOf: command.exitCodeOf, json: wantsJson(command, args) });
  }
}

function unknown(name: string): UsageError {
  const meant = commandMeant(
    name,
    commands.map((command) => command.name),
  );
  const hint = meant === undefined ? 'see daemonry --help' : `did you mean daemonry ${meant}?`;
  return new UsageError(`unknown command ${JSON.stringify(name)}: ${hint}`);
}
