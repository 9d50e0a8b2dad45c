/**
 * A heartbeat: a daemon that connects to TARGET every few seconds and logs how that went. TARGET is HOST:PORT, or the path of
 * a Unix socket.
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { daemonize } from 'daemonry';
import { BadInput, explain, kill, log, onlyCommand, showStatus } from './command-line.js';

const usage = 'heartbeat.ts [--name NAME] [[--every SECONDS] TARGET | --status | --kill]';
const longestProbe = 10_000;

try {
  const { name, every, positionals, command } = commandLine();
  if (command === 'status') await showStatus(name);
  else if (command === 'kill') await kill(name);
  else start(name, targetOf(positionals[0]), milliseconds(every));
} catch (error) {
  explain(error, usage);
}

function commandLine() {
  const [text, flag] = [{ type: 'string' }, { type: 'boolean' }] as const;
  const options = { name: text, every: text, status: flag, kill: flag } as const;
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const { name = 'heartbeat', every = '3', ...flags } = values;
  const command = onlyCommand(flags, positionals, (command) => (command === undefined ? 1 : 0));
  return { name, every, positionals, command };
}

type Target = { path: string } | { host: string; port: number };

function targetOf(text: string | undefined): Target {
  if (text === undefined) throw new BadInput(`what to probe is missing (usage: ${usage})`);
  if (text.includes('/')) return { path: resolve(text) };
  const [, ipv6, host = ipv6, port] = /^(?:\[([\da-f:.]+)\]|([^:[\]]+)):(\d{1,5})$/i.exec(text) ?? [];
  if (host !== undefined && Number(port) >= 1 && Number(port) <= 65_535) return { host, port: Number(port) };
  throw new BadInput(`TARGET must be HOST:PORT, or a path with a slash in it, not ${JSON.stringify(text)}`);
}

function milliseconds(seconds: string): number {
  const every = Number(seconds) * 1000;
  if (every >= 100 && every <= 86_400_000) return every;
  throw new BadInput(`--every must be a number of seconds from 0.1 to 86400, not ${JSON.stringify(seconds)}`);
}

function start(name: string, target: Target, every: number): void {
  const onStarted = ({ pid }: { pid: number }) => console.log(`Daemon PID ${pid}`);

  daemonize({ name, onStarted }, async (daemon) => {
    const stopping = daemon.abortOnStop();
    log(`${name} started with pid ${daemon.pid}`);
    daemon.ready();
    while (!stopping.aborted) {
      await Promise.allSettled([probe(target, every, stopping), sleep(every, undefined, { signal: stopping })]);
    }
    log('stopped');
  });
}

/** Never fails: that a target cannot be reached is what we want to know. */
async function probe(target: Target, every: number, stopping: AbortSignal): Promise<void> {
  const title = 'path' in target ? target.path : `${target.host}:${target.port}`;
  const timeout = AbortSignal.timeout(Math.min(every, longestProbe));
  const begin = performance.now();
  log(`probe of ${title} starts`);
  const socket = connect(target);
  let outcome = 'reachable';
  try {
    await once(socket, 'connect', { signal: AbortSignal.any([stopping, timeout]) });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    outcome = stopping.aborted ? 'given up' : `unreachable (${timeout.aborted ? 'no answer' : (code ?? message)})`;
  }
  socket.destroy();
  log(`probe of ${title} ended after ${Math.round(performance.now() - begin)} ms: ${outcome}`);
}
