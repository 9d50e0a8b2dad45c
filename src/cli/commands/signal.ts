/** `daemonry signal`. */
import { constants } from 'node:os';
import { signalDaemon } from '../../signal-daemon.js';
import type { Command } from '../command.js';
import { jsonOption, missing, UsageError } from '../parse.js';
import { forEach, labelOf, targetOption, targetsOf, type Done, type GivenTarget } from '../targets.js';

export const signal: Command = {
  name: 'signal',
  usage: '[OPTIONS] SIGNAL NAME… | -p FILE SIGNAL',
  summary: 'Send a signal to daemons, and to no other process.',
  options: { 'pid-file': targetOption, json: jsonOption },
  notes: ['SIGNAL is a name, such as SIGUSR1 or USR1.'],
  run: (parsed) => {
    const [given] = parsed.positionals;
    if (given === undefined) throw missing('signal', parsed.command);
    const name = signalName(given);
    return forEach(parsed, targetsOf(parsed, 1), { act: (target) => send(target, name) });
  },
};

async function send(target: GivenTarget, signal: NodeJS.Signals): Promise<Done> {
  const { pid } = await signalDaemon(target, signal);
  return { text: `${labelOf(target)}: sent ${signal} to pid ${pid}\n`, result: { signal, pid } };
}

/** `SIGHUP` for `HUP`, `hup` and `SIGHUP`. */
export function signalName(given: string): NodeJS.Signals {
  const name = given.toUpperCase().replace(/^(?!SIG)/, 'SIG');
  if (Object.hasOwn(constants.signals, name)) return name as NodeJS.Signals;
  throw new UsageError(`${JSON.stringify(given)} is not the name of a signal`);
}
