/** `daemonry events`. */
import { existsSync } from 'node:fs';
import { daemonEvents, type DaemonEvent } from '../../daemon-events.js';
import { printableJson, printableLine } from '../../printable.js';
import { locate } from '../../store/locate.js';
import type { DaemonCaller } from '../../store/record.js';
import type { Command, Parsed } from '../command.js';
import { exitCodes, NotConfiguredError } from '../exit-codes.js';
import { stamp, userOf } from '../output.js';
import { endWithReader } from '../stdout.js';
import { endSentence } from './status.js';

export const events: Command = {
  name: 'events',
  usage: '[OPTIONS] [NAME…]',
  summary: 'Print what has happened to named daemons: starts, stops and exits, by whom and why.',
  options: {
    follow: { type: 'boolean', short: 'f', help: 'also print what happens from now on' },
    json: { type: 'boolean', help: 'print each event as a line of JSON' },
  },
  namedOnly: 'only a named daemon has a journal',
  notes: ["Without a name: all daemons of this user, and the system's if you may read their journals."],
  run,
};

async function run({ values, positionals: names }: Parsed): Promise<number> {
  for (const name of names) refuseUnknown(name);
  endWithReader();
  const print = values['json'] ? printableJsonLine : line;
  for await (const event of daemonEvents(names.length === 0 ? undefined : names, {
    follow: values['follow'] === true,
  })) {
    process.stdout.write(`${print(event)}\n`);
  }
  return exitCodes.success;
}

function refuseUnknown(name: string): void {
  const { record, journal } = locate(name);
  if (record === undefined && !(journal !== undefined && existsSync(journal))) {
    throw new NotConfiguredError(`there is no journal of ${name}: no daemon of that name has been started`);
  }
}

function printableJsonLine(event: DaemonEvent): string {
  return printableJson(JSON.stringify(event));
}

/** When, which daemon, what, and what there is to say about it. */
function line(event: DaemonEvent): string {
  return `${stamp(event.at)}  ${event.name}  ${event.event.padEnd(longest)}  ${details(event)}`.trimEnd();
}

const longest = 'restart'.length;

function details(event: DaemonEvent): string {
  switch (event.event) {
    case 'start':
      return [...(event.version === undefined ? [] : [`version ${printableLine(event.version)}`]), ...who(event)].join(
        ' ',
      );
    case 'up':
      return `pid ${event.pid}`;
    case 'failed':
      return printableLine(event.reason);
    case 'stop':
    case 'restart':
      return [`pid ${event.pid} with ${event.signal}`, ...who(event)].join(' ');
    case 'restarting':
      return `restart ${event.restarts} in ${event.delay} ms`;
    case 'exit':
      return `pid ${event.pid} ${endSentence(event, { isTimed: true })}`;
    case 'cleanup': {
      const { pid, othersEnded: count } = event;
      return [`${count} process${count === 1 ? '' : 'es'} left by pid ${pid} ended`, ...who(event)].join(' ');
    }
  }
}

function who({ by }: { readonly by?: DaemonCaller }): string[] {
  return by === undefined ? [] : [`by ${userOf(by)}: ${printableLine(by.command)}`];
}
