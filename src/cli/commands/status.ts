/** `daemonry status`. */
import type { DaemonEnd } from '../../daemon-end.js';
import { daemonStatus, type DaemonStatus, type FailedStart } from '../../daemon-status.js';
import { printableLine } from '../../printable.js';
import type { Command, Parsed } from '../command.js';
import { statusCodes } from '../exit-codes.js';
import { coloured, stamp, userOf } from '../output.js';
import { jsonOption } from '../parse.js';
import { forEach, labelOf, targetOption, targetsOf, type Done, type GivenTarget } from '../targets.js';

export const status: Command = {
  name: 'status',
  usage: '[OPTIONS] NAME… | -p FILE',
  summary: 'Print whether daemons are running, as the kernel confirms.',
  options: {
    'pid-file': targetOption,
    ready: {
      type: 'boolean',
      short: 'r',
      help: 'for probes: a daemon that starts, restarts or stops counts as stopped',
    },
    json: jsonOption,
  },
  notes: [
    'Exit code: 0 running, starting, restarting or stopping; 1 dead (crashed, killed or vanished);',
    '3 stopped; 4 unknown (its pidfile is locked by another process, or cannot be inspected).',
  ],
  run: (parsed) => forEach(parsed, targetsOf(parsed), { act: (target) => look(target, parsed), exitCodeOf }),
  exitCodeOf,
};

/** In this table, 1 to 3 say something about the daemon. */
function exitCodeOf(): number {
  return statusCodes.unknown;
}

async function look(target: GivenTarget, { values }: Parsed): Promise<Done> {
  const found = await daemonStatus(target);
  const isBetween = ['starting', 'restarting', 'stopping'].includes(found.state);
  return {
    text: `${labelOf(target)} is ${sentence(found)}\n${details(found)}`,
    result: found,
    exitCode: values['ready'] && isBetween ? statusCodes.stopped : statusCodes[found.state],
  };
}

function sentence(found: DaemonStatus): string {
  const state = coloured(found.state);
  switch (found.state) {
    case 'running':
    case 'stopping':
      return `${state} with pid ${found.pid}${found.since === undefined ? '' : ` since ${stamp(found.since)}`}`;
    case 'starting':
      return found.pid === undefined ? state : `${state} with pid ${found.pid}`;
    case 'restarting':
      return `${state}, ${restartsSentence(found.restarts)}: the next start is at ${stamp(found.restartsAt)}; its pid was ${found.lastPid}`;
    case 'dead': {
      const end = found.ended === undefined ? '' : `: it ${endSentence(found.ended)}`;
      return `${state}${end}${found.lastPid === undefined ? '' : `; its pid was ${found.lastPid}`}`;
    }
    case 'unknown':
      return `${state}: the pidfile is locked by ${found.heldBy === undefined ? 'a process that cannot be seen' : `process ${found.heldBy}`}`;
    case 'stopped':
      return found.ended === undefined ? state : `${state}: it ${endSentence(found.ended)}`;
  }
}

/** How often a supervisor has restarted a daemon. */
function restartsSentence(restarts: number): string {
  return restarts === 1 ? '1 restart' : `${restarts} restarts`;
}

/** How a daemon has ended, to follow "it"; in a line that begins with the time, without that. */
export function endSentence(end: DaemonEnd, { isTimed = false } = {}): string {
  const when = isTimed || !('at' in end) || end.at === undefined ? '' : ` at ${stamp(end.at)}`;
  const who = 'by' in end && end.by !== undefined ? ` by ${userOf(end.by)}` : '';
  switch (end.reason) {
    case 'stopped':
      return `was stopped${end.signal === undefined ? '' : ` with ${end.signal}`}${when}${who}`;
    case 'replaced':
      return `was stopped for a restart${when}${who}${end.replacementFailed ? ', which failed' : ''}`;
    case 'finished':
      return `exited by itself${when} with exit code ${end.exitCode}`;
    case 'idle':
      return `stopped itself${when}, because nothing used it`;
    case 'crashed': {
      const words = end.lastWords === undefined ? '' : `: ${printableLine(end.lastWords)}`;
      return `crashed${when} with ${end.signal ?? `exit code ${end.exitCode}`}${words}`;
    }
    case 'killed':
      return `did not stop in time, and was killed${when}${who}`;
    case 'vanished':
      return 'ended, and no process saw how';
    case 'lost':
      return 'ended with the machine or the container';
  }
}

/** Why the last start failed. */
export function startSentence({ at, reason }: FailedStart): string {
  return `failed at ${stamp(at)}: ${reason}`;
}

function details(found: DaemonStatus): string {
  const { pidFile, record } = found;
  const failed = 'failedReload' in found ? found.failedReload : undefined;
  const lines: readonly (readonly [string, string | undefined])[] = [
    ['pidfile', pidFile],
    ['log', record?.logFile],
    ['socket', record?.socket],
    ['version', record?.version],
    ['status', record?.status],
    ['problem', record?.problem],
    ['start', 'failedStart' in found ? startSentence(found.failedStart) : undefined],
    ['above', supervisor(found)],
    ['reload', failed && `failed at ${stamp(failed.at)}: ${failed.reason}`],
  ];
  return lines
    .map(([label, value]) => (value === undefined ? '' : `${label.padStart(8)}: ${printableLine(value)}\n`))
    .join('');
}

/** The process above it. */
function supervisor(found: DaemonStatus): string | undefined {
  if (!('supervisorPid' in found)) return undefined;
  return `supervisor with pid ${found.supervisorPid}, ${restartsSentence(found.restarts ?? 0)}`;
}
