/** `daemonry reload`. */
import { isUp } from '../../daemon-status.js';
import { reloadDaemon, type ReloadOptions } from '../../reload-daemon.js';
import type { Command } from '../command.js';
import { duration, jsonOption } from '../parse.js';
import {
  allOption,
  chosen,
  forEach,
  labelOf,
  targetOption,
  targetsOf,
  type Done,
  type GivenTarget,
} from '../targets.js';

export const reload: Command = {
  name: 'reload',
  usage: '[OPTIONS] NAME… | --all | -p FILE',
  summary: 'Make daemons reopen their logs and reload their configuration (SIGHUP), and wait for that.',
  options: {
    all: allOption,
    'pid-file': targetOption,
    timeout: {
      type: 'string',
      short: 't',
      value: 'TIME',
      help: 'how long to wait, as 500ms, 10s or 1.5m (default: 10s)',
    },
    json: jsonOption,
  },
  notes: [
    'Exit code: 1 if a reload handler fails, time runs out, or the daemon exits first.',
    'Refused for a program that does not handle SIGHUP, because the signal would terminate it.',
  ],
  run: async (parsed) => {
    const timeout = duration(parsed.values, 'timeout');
    const options = timeout === undefined ? {} : { timeout };
    const targets = await chosen(parsed, targetsOf, isUp);
    return forEach(parsed, targets, { doing: 'reloads', act: (target) => reloadOne(target, options) });
  },
};

async function reloadOne(target: GivenTarget, options: ReloadOptions): Promise<Done> {
  const result = await reloadDaemon(target, options);
  const { outcome, pid } = result;
  const how =
    outcome === 'reloaded'
      ? ` reloaded (pid ${pid})`
      : `: sent SIGHUP to pid ${pid}, which does not report the outcome`;
  return { text: `${labelOf(target)}${how}\n`, result };
}
