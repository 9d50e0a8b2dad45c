/** What a start takes from its caller is what it was at the call, whatever the caller changes right after it. */
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { spawnDaemon, stopDaemon } from '../../dist/index.js';
import { bench } from '../helpers/bench.js';
import { testOnLinux } from '../helpers/privileges.js';
import { until } from '../helpers/until.js';

/** Writes what it was given, and serves nothing on the socket that it was told. */
const tool = (place: string) => `#!/bin/sh
printf '%s|' ${place} "$(cat)" "$WHO" "$*" "$(pwd -P)" >"$TOLD.new"
echo to stdout; echo to stderr >&2
mv "$TOLD.new" "$TOLD"
exec "$NODE" -e 'require("net").createServer((socket) => socket.end()).listen(process.env.SOCKET)'
`;

/** Calls, then changes everything that can be changed, then waits. */
const caller = `
  import { closeSync, openSync } from 'node:fs';
  import { connectDaemon, spawnDaemon } from 'daemonry';
  const { call, command, path, more } = JSON.parse(process.argv[2]);
  const at = (name) => path + '/' + name;
  process.chdir(at('first'));
  process.env.WHO = 'first';
  const input = openSync('input', 'r');
  const args = ['first'];
  const env = { TOLD: at('told'), SOCKET: at('socket'), NODE: process.execPath, PATH: ':' + process.env.PATH };
  const options = { pidFile: at('a.pid'), stdin: input, stdout: 'output', stderr: 'inherit', cwd: '.', env, ...more };
  const calls = {
    spawnDaemon: () => spawnDaemon(command, args, options),
    connectDaemon: () => connectDaemon(command, args, { ...options, socket: at('socket'), waitFor: 'exec' }),
  };
  const started = calls[call]();
  closeSync(input);
  closeSync(2);
  const others = ['input', 'errors'].map((name) => openSync(at('second/' + name), 'a+'));
  // The thread of the call can have been faster, and has them now.
  if (others.sort().join() !== [2, input].sort().join()) process.exit(77);
  process.chdir(at('second'));
  process.env.WHO = 'second';
  args.push('second');
  env.TOLD = at('other');
  options.pidFile = at('b.pid');
  const { pid } = await started;
  console.log(pid);
  process.exit();
`;

function places(t: ExecutionContext) {
  const folder = bench(t, { 'caller.mjs': caller });
  for (const place of ['first', 'second']) {
    mkdirSync(folder.at(place));
    writeFileSync(folder.at(place, 'input'), `input of ${place}`);
    writeFileSync(folder.at(place, 'errors'), '');
    writeFileSync(folder.at(place, 'tool'), tool(place));
    chmodSync(folder.at(place, 'tool'), 0o755);
  }
  const { at, path, shell } = folder;
  return {
    ...folder,
    async calls(call: string, command: string, more = {}) {
      // The daemon keeps it, so it is no pipe that this process waits for.
      const line = 'exec 2>errors; exec "$NODE" caller.mjs "$WHAT"';
      const WHAT = JSON.stringify({ call, command, path, more });
      const { code } = await shell(line, { env: { WHAT } });
      if (code === 77) return false;
      const errors = () => readFileSync(at('errors'), 'utf8');
      t.is(code, 0, errors());
      await until('it has told', () => existsSync(at('told')));
      const told = `first|input of first|first|first|${at('first')}|`;
      t.is(readFileSync(at('told'), 'utf8'), told);
      t.is(errors(), 'to stderr\n');
      t.is(readFileSync(at('second', 'errors'), 'utf8'), '');
      await until('it has written', () => readFileSync(at('first', 'output'), 'utf8') === 'to stdout\n');
      t.false(existsSync(at('second', 'output')));
      return true;
    },
  };
}

/** Until the caller's new descriptors have had the numbers of its old ones. */
async function attempted(attempt: () => Promise<boolean>): Promise<void> {
  for (let count = 0; count < 20; count += 1) if (await attempt()) return;
  throw new Error('20 calls whose thread has taken the numbers first');
}

for (const command of ['./tool', 'tool']) {
  // Standard error has a number that is free again only on Linux, where Node keeps no copy.
  testOnLinux(
    `spawnDaemon of ${command}: descriptors, directory, environment and options are those of the call`,
    async (t) => {
      await attempted(async () => {
        const { calls, at, path } = places(t);
        // Takes its time to end, so that the start comes long after the call.
        const slow = `trap 'sleep 0.5; exit' TERM; while :; do sleep 0.05; done`;
        await spawnDaemon('sh', ['-c', slow], { pidFile: at('a.pid'), env: { PLACE: path } });
        return calls('spawnDaemon', command, { ifRunning: 'replace' });
      });
    },
  );

  testOnLinux(`connectDaemon of ${command}: the same`, async (t) => {
    await attempted(() => places(t).calls('connectDaemon', command));
  });
}

test('a descriptor that is not open at the call is refused, also when its number is taken later', async (t) => {
  const { node, path, at } = bench(t, {
    'caller.mjs': `
      import { closeSync, openSync } from 'node:fs';
      import { connectDaemon, spawnDaemon } from 'daemonry';
      const closed = openSync('caller.mjs');
      closeSync(closed);
      const options = { pidFile: 'a.pid', stdin: closed };
      const calls = [
        spawnDaemon('sleep', ['1000'], options),
        connectDaemon('sleep', ['1000'], { ...options, socket: 'socket', waitFor: 'exec' }),
      ].map((call) => call.catch(({ code, step }) => [code, step].join()));
      openSync('caller.mjs');
      console.log((await Promise.all(calls)).join(' '));`,
  });
  const { stdout, stderr } = await node(['caller.mjs'], { cwd: path });
  t.is(stdout, 'EBADF,open-stdin EBADF,open-stdin\n', stderr);
  await stopDaemon({ pidFile: at('a.pid') });
});
