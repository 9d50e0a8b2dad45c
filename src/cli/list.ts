/** `daemonry list`. */
import { list as daemons, type DaemonStatus } from '../control.js';
import { jsonOption, UsageError, type Parsed } from './arguments.js';
import type { Command } from './commands.js';
import { exitCodes } from './exit.js';
import { coloured, printJson, stamp } from './output.js';

export const list: Command = {
  name: 'list',
  usage: '[OPTIONS]',
  summary: "List the named daemons of this user and the system's, running or not.",
  options: { json: jsonOption },
  notes: [],
  run,
};

function run({ values, positionals }: Parsed): number {
  if (positionals[0] !== undefined) throw new UsageError(`unexpected argument ${JSON.stringify(positionals[0])}`);
  const found = daemons();
  if (values['json']) printJson(found);
  else if (found.length === 0) process.stdout.write('no named daemons\n');
  else process.stdout.write(table(found));
  return exitCodes.success;
}

function table(found: readonly DaemonStatus[]): string {
  const titles = ['NAME', 'STATE', 'PID', 'SINCE', 'VERSION', 'STATUS'];
  const calls = new Map<string | undefined, number>();
  for (const { name } of found) calls.set(name, (calls.get(name) ?? 0) + 1);
  // The user and the system may each have one of that name.
  const rows = found.map((daemon) => [
    calls.get(daemon.name)! > 1 ? `${daemon.name} (${daemon.pidFile})` : (daemon.name ?? ''),
    daemon.state,
    'pid' in daemon ? String(daemon.pid ?? '') : '',
    'since' in daemon && (daemon.since as Date | undefined) !== undefined ? stamp(daemon.since) : '',
    daemon.record?.version ?? '',
    daemon.record?.problem ?? daemon.record?.status ?? '',
  ]);
  const widths = titles.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]!.length)));
  const line = (cells: readonly string[]) => cells.map((cell, column) => cell.padEnd(widths[column]!));
  const lines = rows.map((row, index) => {
    const [name, state, ...rest] = line(row);
    return [name, coloured(found[index]!.state, state), ...rest];
  });
  return [line(titles), ...lines].map((cells) => `${cells.join('  ').trimEnd()}\n`).join('');
}
