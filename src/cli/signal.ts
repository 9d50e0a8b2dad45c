/** `daemonry reload` and `daemonry signal`. */
import { constants } from 'node:os';
import { sendSignal } from '../control.js';
import { jsonOption, labelOf, targetOf, targetOption, UsageError, type Parsed } from './arguments.js';
import type { Command } from './commands.js';
import { exitCodes } from './exit.js';
import { printJson } from './output.js';

export const reload: Command = {
  name: 'reload',
  usage: '[OPTIONS] NAME | -p FILE',
  summary: 'Let a daemon reopen its logs and read its configuration again (SIGHUP).',
  options: { 'pid-file': targetOption, json: jsonOption },
  notes: ['Refused for a program that does not catch SIGHUP, for it would be ended.'],
  run: (parsed) => send(parsed, 'SIGHUP', 0),
};

export const signal: Command = {
  name: 'signal',
  usage: '[OPTIONS] SIGNAL NAME | -p FILE SIGNAL',
  summary: 'Send a signal to a daemon, and to nobody else.',
  options: { 'pid-file': targetOption, json: jsonOption },
  notes: ['SIGNAL is a name, such as SIGUSR1 or USR1.'],
  run: (parsed) => {
    const [name] = parsed.positionals;
    if (name === undefined) throw new UsageError('which signal is missing: see daemonry signal --help');
    return send(parsed, signalName(name), 1);
  },
};

function send(parsed: Parsed, name: NodeJS.Signals, others: number): number {
  const target = targetOf(parsed, others);
  const pid = sendSignal(target, name);
  if (parsed.values['json']) printJson({ signal: name, pid });
  else process.stdout.write(`${labelOf(target)}: sent ${name} to pid ${pid}\n`);
  return exitCodes.success;
}

/** `SIGHUP` for `HUP`, `hup` and `SIGHUP`. */
export function signalName(given: string): NodeJS.Signals {
  const name = given.toUpperCase().replace(/^(?!SIG)/, 'SIG');
  if (name in constants.signals) return name as NodeJS.Signals;
  throw new UsageError(`${JSON.stringify(given)} is not the name of a signal`);
}
