/** `daemonry forget`. */
import { forgetDaemon } from '../../forget-daemon.js';
import { printableLine } from '../../printable.js';
import type { Command } from '../command.js';
import { NotConfiguredError } from '../exit-codes.js';
import { jsonOption } from '../parse.js';
import { forEach, labelOf, targetOption, targetsOf, type Done, type GivenTarget } from '../targets.js';

export const forget: Command = {
  name: 'forget',
  usage: '[OPTIONS] NAME… | -p FILE',
  summary: 'Remove the records and journals of daemons that are not running.',
  options: { 'pid-file': targetOption, json: jsonOption },
  notes: ['Refused if the daemon is running. Its log stays, and so do the files of the program.'],
  run: (parsed) => forEach(parsed, targetsOf(parsed), { act: forgetOne }),
};

async function forgetOne(target: GivenTarget): Promise<Done> {
  const label = labelOf(target);
  const result = await forgetDaemon(target);
  if (result.outcome === 'not-known')
    throw new NotConfiguredError(`there is nothing to forget: no daemon is known as ${label}`);
  const log = result.logFile === undefined ? '' : ` (its log stays: ${printableLine(result.logFile)})`;
  return { text: `${label} forgotten${log}\n`, result };
}
