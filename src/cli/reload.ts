/** `daemonry reload`. */
import { reloadDaemon, type ReloadOptions } from '../control.js';
import type { Target } from '../store.js';
import { jsonOption, labelOf, number, targetOption, targetsOf } from './arguments.js';
import type { Command } from './commands.js';
import { allOption, chosen, forEach, isUp, type Done } from './several.js';

export const reload: Command = {
  name: 'reload',
  usage: '[OPTIONS] NAME… | --all | -p FILE',
  summary: 'Let daemons reopen their logs and read their configuration again (SIGHUP), and wait until they have.',
  options: {
    all: allOption,
    'pid-file': targetOption,
    timeout: { type: 'string', short: 't', value: 'MS', help: 'how long it may take (default: 10000)' },
    json: jsonOption,
  },
  notes: [
    'Exit code: 1 if a reload handler fails, the time is over, or the daemon exits first.',
    'Refused for a program that does not catch SIGHUP, because the signal would end it.',
  ],
  run: (parsed) => {
    const timeout = number(parsed.values, 'timeout');
    const options = timeout === undefined ? {} : { timeout };
    const targets = chosen(parsed, targetsOf, isUp);
    return forEach(parsed, targets, { doing: 'reloads', act: (target) => reloadOne(target, options) });
  },
};

async function reloadOne(target: Target, options: ReloadOptions): Promise<Done> {
  const result = await reloadDaemon(target, options);
  const { outcome, pid } = result;
  const how =
    outcome === 'reloaded'
      ? ` reloaded (pid ${pid})`
      : `: sent SIGHUP to pid ${pid}, which does not report the outcome`;
  return { text: `${labelOf(target)}${how}\n`, result };
}
