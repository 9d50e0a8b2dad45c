/** Whatever values the package is called with, it answers or throws a typed error; nothing is started, and nothing is left. */
import { chownSync, mkdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { nobody, noOtherUser } from '../helpers/privileges.js';
import { seconds } from '../helpers/property.js';
import { fixture, run } from '../helpers/run.js';
import { workspace } from '../helpers/workspace.js';

const starts = ['daemonize', 'spawnDaemon', 'connectDaemon', 'restartDaemon', 'PidFile'];
const controls = ['stopDaemon', 'reloadDaemon', 'signalDaemon', 'forgetDaemon', 'daemonStatus', 'daemonPaths'];

for (const call of [...starts, ...controls]) {
  test.serial(`${call}: any values are answered, or refused with a typed error`, async (t) => {
    t.timeout((seconds + 120) * 1000);
    const { path, at } = workspace(t);
    // Far enough below for names that lead upwards.
    const cwd = at('a', 'b', 'c', 'd');
    mkdirSync(cwd, { recursive: true });
    // Root could do harm by a path that comes up by chance.
    const user = noOtherUser === undefined ? nobody : {};
    if (noOtherUser === undefined) {
      for (const directory of [path, at('a'), at('a', 'b'), at('a', 'b', 'c'), cwd])
        chownSync(directory, nobody.uid, nobody.gid);
    }
    const environment = { PATH: '/nonexistent', HOME: path, DAEMONRY_MODE: 'daemon', DAEMONRY_FUZZ: String(seconds) };
    const tsx = fileURLToPath(import.meta.resolve('tsx'));
    const { code, signal, stdout, stderr } = await run(
      process.execPath,
      ['--import', tsx, fixture('any-value.ts'), call],
      { cwd, env: environment, deadline: (seconds + 90) * 1000, ...user },
    );
    t.is(stderr, '');
    t.is(signal, null);
    t.is(code, 0);
    t.log(stdout.trimEnd());
  });
}

test('a panic in the core would be an exception, not the end of the process', (t) => {
  const source = readFileSync(new URL('../../crates/daemonry-napi/src/lib.rs', import.meta.url), 'utf8');
  const functions = [...source.matchAll(/((?:^ *#\[.*\]\n)*) *pub fn (\w+)/gm)];
  t.true(functions.length > 0);
  for (const [, attributes, name] of functions) t.regex(attributes!, /#\[napi\(.*\bcatch_unwind\)\]/, name);
});
