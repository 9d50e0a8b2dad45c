/** `daemonry status`. */
import { status as statusOf, type DaemonStatus } from '../control.js';
import { jsonOption, labelOf, targetOf, targetOption, type Parsed } from './arguments.js';
import type { Command } from './commands.js';
import { statusCodes } from './exit.js';
import { coloured, printJson, stamp } from './output.js';

export const status: Command = {
  name: 'status',
  usage: '[OPTIONS] NAME | -p FILE',
  summary: 'Tell whether a daemon runs, by what the kernel says.',
  options: {
    'pid-file': targetOption,
    ready: { type: 'boolean', short: 'r', help: 'for probes: while it starts or stops, it counts as stopped' },
    json: jsonOption,
  },
  notes: [
    'Exit code: 0 running, starting or stopping; 1 dead (a pidfile that nobody holds); 3 stopped;',
    '4 unknown (locked by somebody else, or it cannot be seen).',
  ],
  run,
  // In this table, 1 to 3 say something about the daemon.
  exitCodeOf: () => statusCodes.unknown,
};

function run(parsed: Parsed): number {
  const target = targetOf(parsed);
  const found = statusOf(target);
  if (parsed.values['json']) printJson(found);
  else process.stdout.write(`${labelOf(target)} is ${sentence(found)}\n${details(found)}`);
  const isBetween = found.state === 'starting' || found.state === 'stopping';
  return parsed.values['ready'] && isBetween ? statusCodes.stopped : statusCodes[found.state];
}

function sentence(found: DaemonStatus): string {
  const state = coloured(found.state);
  switch (found.state) {
    case 'running':
    case 'stopping': {
      const since: Date | undefined = found.since;
      return `${state} with pid ${found.pid}${since === undefined ? '' : ` since ${stamp(since)}`}`;
    }
    case 'starting':
      return found.pid === undefined ? state : `${state} with pid ${found.pid}`;
    case 'dead':
      return `${state}${found.lastPid === undefined ? '' : `; its pid was ${found.lastPid}`}`;
    case 'unknown':
      return `${state}: the pidfile is locked by ${found.heldBy === undefined ? 'a process that cannot be seen' : `process ${found.heldBy}`}`;
    case 'stopped':
      return state;
  }
}

function details({ pidFile, record }: DaemonStatus): string {
  const lines: readonly (readonly [string, string | undefined])[] = [
    ['pidfile', pidFile],
    ['log', record?.logFile],
    ['socket', record?.socket],
    ['version', record?.version],
    ['status', record?.status],
    ['problem', record?.problem],
  ];
  return lines.map(([label, value]) => (value === undefined ? '' : `${label.padStart(8)}: ${value}\n`)).join('');
}
