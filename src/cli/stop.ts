/** `daemonry stop`. */
import { stop as stopDaemon, type StopOptions } from '../control.js';
import { jsonOption, labelOf, number, targetOf, targetOption, text, type Parsed } from './arguments.js';
import type { Command, Option } from './commands.js';
import { exitCodes } from './exit.js';
import { printJson, spin } from './output.js';
import { signalName } from './signal.js';

export const stopOptions: Readonly<Record<string, Option>> = {
  signal: { type: 'string', short: 's', value: 'SIGNAL', help: 'what asks it to stop (default: SIGTERM)' },
  timeout: { type: 'string', short: 't', value: 'MS', help: 'how long it may take (default: 10000)' },
  'no-force': { type: 'boolean', help: 'fail then, instead of sending SIGKILL' },
};

export const stop: Command = {
  name: 'stop',
  usage: '[OPTIONS] NAME | -p FILE',
  summary: 'Stop a daemon and wait until it has ended.',
  options: { 'pid-file': targetOption, ...stopOptions, json: jsonOption },
  notes: ['Of a daemon that is not running it says so, and succeeds.'],
  run,
};

async function run(parsed: Parsed): Promise<number> {
  const target = targetOf(parsed);
  const label = labelOf(target);
  const result = await spin(`${label} stops`, stopDaemon(target, stopOptionsOf(parsed.values)));
  if (parsed.values['json']) printJson(result);
  else if (result.outcome === 'not-running') process.stdout.write(`${label} is not running\n`);
  else {
    const how = result.outcome === 'killed' ? 'did not end in time and was killed' : 'stopped';
    process.stdout.write(`${label} ${how} (pid ${result.pid})\n`);
  }
  return exitCodes.success;
}

export function stopOptionsOf(values: Parsed['values']): StopOptions {
  const [killSignal, timeout] = [text(values, 'signal'), number(values, 'timeout')];
  return {
    force: !values['no-force'],
    ...(killSignal === undefined ? {} : { killSignal: signalName(killSignal) }),
    ...(timeout === undefined ? {} : { timeout }),
  };
}
