/** `daemonry restart`. */
import { isUp } from '../../daemon-status.js';
import { restartFor } from '../../restart-daemon.js';
import type { Command, Parsed } from '../command.js';
import { spin } from '../output.js';
import { jsonOption } from '../parse.js';
import { allOption, chosen, forEach, namesOf, type Done } from '../targets.js';
import { stopOptions, stopOptionsOf } from './stop.js';

export const restart: Command = {
  name: 'restart',
  usage: '[OPTIONS] NAME… | --all',
  summary: 'Stop daemons and start them again as they were started, in the environment of this command.',
  options: { all: allOption, ...stopOptions, json: jsonOption },
  namedOnly: 'only a named daemon has a record of how it was started',
  notes: [
    'A daemon that is not running is only started. Program, arguments, directory, options and the',
    'variables of --env are on record; all other variables, PATH included, are those of this command.',
    'What is known to fail is found before anything is stopped. A stop that is requested meanwhile',
    'cancels the restart.',
  ],
  run: async (parsed) => {
    const names = await chosen(parsed, namesOf, isUp);
    // One after the other: no more than one is down at a time.
    return forEach(parsed, names, { inTurn: true, act: (name) => restartOne(name, parsed) });
  },
};

async function restartOne(name: string, { values }: Parsed): Promise<Done> {
  // With JSON on stdout, what the program prints goes to stderr.
  const restarter = { exitsAfterwards: true, stdout: values['json'] ? 2 : 1, show: spin };
  const result = await restartFor(restarter, name, stopOptionsOf(values));
  return { text: `${name} ${result.outcome} with pid ${result.pid}\n`, result };
}
