/**
 * The daemonizers that `npm run bench` compares, each used as its own documentation says to start the same program, `service.js`.
 *
 * `files` are written beside the program, `start` is the command that a user would type there, with that folder's path, and
 * `before` one that has run when it is typed. `note` says what readers of the figures have to know. Where a peer could lock or
 * could write a pidfile, it is asked to.
 */
import { fileURLToPath } from 'node:url';

const node = process.execPath;
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const bin = (name) => here(`node_modules/.bin/${name}`);
const pm2 = {
  npm: 'pm2',
  start: () => [bin('pm2'), 'start', 'service.js'],
  pidFile: 'pm2/pids/service-0.pid',
};

export const own = [
  {
    ours: true,
    name: 'daemonry, `daemonize(main)`',
    files: {
      'app.mjs': `import { daemonize } from 'daemonry';
daemonize({ pidFile: 'service.pid', log: 'service.log' }, () => import('./service.js'));
`,
    },
    start: () => [node, 'app.mjs'],
    pidFile: 'service.pid',
    note: 'returns when `main` has settled: after the two boots of Node.js that the launcher and the daemon need.',
  },
  {
    ours: true,
    name: 'daemonry start',
    start: () => [here('../dist/cli.js'), 'start', '-p', 'service.pid', '-l', 'service.log', 'service.js'],
    pidFile: 'service.pid',
    note: 'starts a program that knows nothing of daemons, and waits until it has lived for a second (`--alive-for`).',
  },
];

export const peers = [
  {
    name: 'daemonize-process',
    npm: 'daemonize-process',
    files: {
      'app.mjs': `import { daemonizeProcess } from 'daemonize-process';
daemonizeProcess();
await import('./service.js');
`,
    },
    start: () => [node, 'app.mjs'],
    note: 'spawns the program anew and exits; by design no pidfile, no single instance, and no log unless `stdio` gives one.',
  },
  {
    name: 'daemon (npm)',
    npm: 'daemon',
    files: {
      'app.js': `require('daemon')({ cwd: process.cwd() });
require('./service.js');
`,
    },
    start: () => [node, 'app.js'],
    note: 'the same by design. It is given a `cwd`, for as documented, without, it throws on Node.js 20.',
  },
  {
    name: 'daemonize2',
    npm: 'daemonize2',
    files: {
      'control.js': `require('daemonize2').setup({ main: 'service.js', name: 'service', pidfile: 'service.pid' }).start();
`,
    },
    start: () => [node, 'control.js'],
    pidFile: 'service.pid',
    note: 'returns 100 ms after the program was loaded; by design no log.',
  },
  {
    name: 'sock-daemon',
    npm: 'sock-daemon',
    files: {
      'index.mjs': `import { SockDaemonClient, SockDaemonServer } from 'sock-daemon';
export class Server extends SockDaemonServer {
  static serviceName = 'service';
  handle({ id }) {
    return { id };
  }
}
export class Client extends SockDaemonClient {
  static serviceName = 'service';
  static daemonScript = new URL('daemon.mjs', import.meta.url);
}
`,
      'daemon.mjs': `import { Server } from './index.mjs';
new Server().listen();
await import('./service.js');
`,
      'client.mjs': `import { Client } from './index.mjs';
await new Client().ping();
`,
    },
    start: () => [node, 'client.mjs'],
    pidFile: '.service/daemon/pid',
    note: 'starts a server for a client; what is measured is a client that pings it. Only servers made with it can be started.',
  },
  {
    name: 'bare-daemon',
    npm: 'bare-daemon',
    files: {
      'start.js': `const { spawn } = require('bare-daemon');
spawn(process.execPath, [__dirname + '/service.js']);
`,
    },
    start: () => [node, 'start.js'],
    note: 'executes any program and returns its pid; by design no pidfile, no single instance, no log.',
  },
  {
    ...pm2,
    name: 'pm2, first start',
    note: 'a process manager: the first start starts its God Daemon, too, which stays, restarts programs that end, and is one for all of them.',
  },
  {
    ...pm2,
    name: 'pm2, later start',
    before: [bin('pm2'), 'ping'],
    note: 'the same with a God Daemon that runs already.',
  },
  {
    name: 'forever',
    npm: 'forever',
    start: (folder) => {
      const files = { l: 'forever.log', o: 'out.log', e: 'err.log', '-pidFile': 'service.pid' };
      const options = Object.entries(files).flatMap(([option, file]) => [`-${option}`, `${folder}/${file}`]);
      return [bin('forever'), 'start', '--append', ...options, 'service.js'];
    },
    pidFile: 'service.pid',
    note: 'its monitor stays with the program and restarts it when it ends; by design any number of the same program.',
  },
  {
    name: 'start-stop-daemon',
    debian: 'dpkg',
    start: (folder) => {
      const options = ['--background', '--make-pidfile', '--pidfile', `${folder}/service.pid`];
      return ['start-stop-daemon', '--start', '--quiet', ...options, '--exec', node, '--', `${folder}/service.js`];
    },
    pidFile: 'service.pid',
    note: '`--background`, for a program that does not go there itself; by design it cannot tell what becomes of it. `--notify-await` waits for programs that speak sd_notify(3), which this one does not.',
  },
  {
    name: 'daemonize (Debian)',
    debian: 'daemonize',
    start: (folder) => {
      const [pid, out, error] = ['service.pid', 'out.log', 'err.log'].map((file) => `${folder}/${file}`);
      return ['daemonize', '-p', pid, '-l', pid, '-o', out, '-e', error, node, `${folder}/service.js`];
    },
    pidFile: 'service.pid',
    note: 'with `-l`, the lock for a single instance.',
  },
  {
    name: 'daemon (Debian)',
    debian: 'daemon',
    start: (folder) => {
      const options = ['--name=service', `--pidfiles=${folder}`, `--output=${folder}/service.log`];
      return ['daemon', ...options, '--', node, `${folder}/service.js`];
    },
    pidFile: 'service.pid',
    note: 'stays as the parent of the program, to log for it and, on request, to restart it.',
  },
  {
    name: 'python3-daemon',
    debian: 'python3-daemon',
    files: {
      'start.py': `import os
from daemon import DaemonContext
from daemon.pidfile import TimeoutPIDLockFile

folder = os.path.dirname(os.path.abspath(__file__))
log = open(folder + '/service.log', 'a')
with DaemonContext(pidfile=TimeoutPIDLockFile(folder + '/service.pid'), stdout=log, stderr=log):
    os.execv('${node}', ['node', folder + '/service.js'])
`,
    },
    start: () => ['/usr/bin/python3', 'start.py'],
    pidFile: 'service.pid',
    note: 'a library for programs in Python: here such a program executes Node.js in its place.',
  },
];
