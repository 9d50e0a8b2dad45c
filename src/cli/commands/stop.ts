/** `daemonry stop`. */
import { stopDaemon, type StopOptions, type StopResult } from '../../stop-daemon.js';
import type { Command, Option, Parsed } from '../command.js';
import { duration, jsonOption, text } from '../parse.js';
import {
  allOption,
  chosen,
  forEach,
  labelOf,
  nothingDone,
  targetOption,
  targetsOf,
  type Done,
  type GivenTarget,
} from '../targets.js';
import { signalName } from './signal.js';

export const stopOptions: Readonly<Record<string, Option>> = {
  signal: { type: 'string', short: 's', value: 'SIGNAL', help: 'the signal to send first (default: SIGTERM)' },
  timeout: {
    type: 'string',
    short: 't',
    value: 'TIME',
    help: 'how long to wait, as 500ms, 10s or 1.5m (default: its own stop timeout)',
  },
  'no-force': { type: 'boolean', help: 'then fail, instead of sending SIGKILL' },
};

export const stop: Command = {
  name: 'stop',
  usage: '[OPTIONS] NAME… | --all | -p FILE',
  summary: 'Stop daemons, all at once, and wait until they have exited.',
  options: { all: allOption, 'pid-file': targetOption, ...stopOptions, json: jsonOption },
  notes: ['If a daemon is not running, that is printed, and counts as success.'],
  run: async (parsed) => {
    const options = stopOptionsOf(parsed.values);
    // One that has ended by itself may have left processes behind.
    const targets = await chosen(parsed, targetsOf, ({ state }) => state !== 'stopped');
    const isAll = parsed.values['all'] === true;
    return forEach(parsed, targets, { doing: 'stops', act: (target) => stopOne(target, options, isAll) });
  },
};

async function stopOne(target: GivenTarget, options: StopOptions, isAll: boolean): Promise<Done | typeof nothingDone> {
  const result = await stopDaemon(target, options);
  const isNothing = result.outcome === 'not-running' && result.lastPid === undefined;
  if (isAll && isNothing) return nothingDone;
  return { text: `${labelOf(target)} ${endOf(result)}\n`, result };
}

/** How it ended, with what else happened then. */
function endOf(result: StopResult): string {
  if (result.outcome === 'not-running') {
    const { lastPid } = result;
    return lastPid === undefined
      ? 'is not running'
      : `is not running: it had exited already (${details(lastPid, result)})`;
  }
  const { outcome, pid } = result;
  return `${outcome === 'killed' ? 'did not end in time and was killed' : 'stopped'} (${details(pid, result)})`;
}

function details(pid: number, result: StopResult): string {
  const { othersEnded, othersLeft } = result;
  const handlers = 'handlers' in result ? result.handlers : undefined;
  const processes = (count: number) => `${count} other process${count === 1 ? '' : 'es'} of its session`;
  return [
    `pid ${pid}`,
    ...(handlers === undefined ? [] : [`its stop handlers ${handlers === 'failed' ? 'failed' : 'ran out of time'}`]),
    ...(othersEnded === undefined ? [] : [`${processes(othersEnded)} ended`]),
    ...(othersLeft === undefined ? [] : [`${processes(othersLeft)} left running`]),
  ].join('; ');
}

export function stopOptionsOf(values: Parsed['values']): StopOptions {
  const [killSignal, timeout] = [text(values, 'signal'), duration(values, 'timeout')];
  return {
    force: !values['no-force'],
    ...(killSignal === undefined ? {} : { killSignal: signalName(killSignal) }),
    ...(timeout === undefined ? {} : { timeout }),
  };
}
