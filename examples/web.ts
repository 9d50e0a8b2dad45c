/**
 * A web server on a port that only root may have, served by a user who may do nothing: `sudo npm run web`, then `curl localhost`.
 * `--port PORT`, `--user USER`; `--status` and `--kill` for the one that runs.
 */
import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { daemonize, type StartedDaemon } from 'daemonry';
import { BadInput, explain, kill, log, onlyCommand, showStatus } from './command-line.js';

const usage = 'web.ts [--name NAME] [[--port PORT] [--user USER] | --status | --kill]';

try {
  const [text, flag] = [{ type: 'string' }, { type: 'boolean' }] as const;
  const options = { name: text, port: text, user: text, status: flag, kill: flag } as const;
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const { name = 'web', port = '80', user = 'nobody', ...flags } = values;
  const command = onlyCommand(flags, positionals, () => 0);
  if (command === 'status') await showStatus(name);
  else if (command === 'kill') await kill(name);
  else start(name, portOf(port), user);
} catch (error) {
  explain(error, usage);
}

function portOf(text: string): number {
  if (/^\d{1,5}$/.test(text) && Number(text) <= 65_535) return Number(text);
  throw new BadInput(`--port must be a number from 0 to 65535, not ${JSON.stringify(text)}`);
}

function start(name: string, port: number, user: string): void {
  // Bound before the fork, with the rights of whoever starts it; nothing of them is left when a request comes.
  daemonize({ name, user, listen: { http: { port } }, onStarted: tell }, async (daemon) => {
    const { createServer } = await import('node:http');
    const server = createServer((request, response) => {
      log(`${request.method} ${request.url}`);
      response.end(`served by uid ${process.getuid!()} with pid ${process.pid}\n`);
    });
    daemon.serve(server);
    await once(server.listen({ fd: daemon.listeners.http }), 'listening');
  });
}

function tell({ pid, listeners = {} }: StartedDaemon): void {
  const http = listeners['http'];
  console.log(`Daemon PID ${pid}, port ${http !== undefined && 'port' in http ? http.port : 'unknown'}`);
}
