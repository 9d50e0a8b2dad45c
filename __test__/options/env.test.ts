/** The environment of a daemon, whatever its variables are called. */
import test from 'ava';
import { signalDaemon, spawnDaemon } from '../../dist/index.js';
import { bench } from '../helpers/bench.js';
import { named } from '../helpers/named.js';
import { testOnLinux } from '../helpers/privileges.js';
import { environmentOf } from '../helpers/processes.js';

/** Names that every object has, whether or not a caller has given them. */
const inherited = ['constructor', 'toString', 'hasOwnProperty', 'valueOf', '__proto__'];
const ofLauncher = {
  ...process.env,
  ...Object.fromEntries(inherited.map((variable) => [variable, 'of the launcher'])),
};

testOnLinux('variables that are called like members of every object reach the daemon', async (t) => {
  const name = named(t);
  const { returned } = await bench(t).call(`return spawnDaemon('sleep', ['100'], { name: args[0] });`, {
    args: [name],
    env: ofLauncher,
  });
  const found = environmentOf(returned.pid)!;
  for (const variable of inherited) t.true(found.includes(`${variable}=of the launcher`), variable);
});

testOnLinux('they can be set, too', async (t) => {
  const name = named(t);
  const env = Object.fromEntries(inherited.map((variable) => [variable, 'given']));
  const { pid } = await spawnDaemon('sleep', ['100'], { name, env });
  const found = environmentOf(pid)!;
  for (const variable of inherited) t.true(found.includes(`${variable}=given`), variable);
});

testOnLinux('they can be removed, too', async (t) => {
  const name = named(t);
  const code = `
    const env = Object.fromEntries(${JSON.stringify(inherited)}.map((variable) => [variable, undefined]));
    return spawnDaemon('sleep', ['100'], { name: args[0], env });`;
  const { returned } = await bench(t).call(code, { args: [name], env: ofLauncher });
  const found = environmentOf(returned.pid)!;
  t.deepEqual(
    found.filter((variable) => variable.endsWith('=of the launcher')),
    [],
  );
});

test('none of them is a signal, a resource, a unit or an option', async (t) => {
  const refused = { code: 'ERR_INVALID_OPTION' };
  for (const member of inherited) {
    const send = async () => signalDaemon({ pidFile: '/nonexistent' }, member as NodeJS.Signals);
    await t.throwsAsync(send, refused, member);
    await t.throwsAsync(spawnDaemon('true', [], { limits: { [member]: 1 } as object }), refused, member);
    await t.throwsAsync(spawnDaemon('true', [], { [member]: 1 }), refused, member);
    await t.throwsAsync(spawnDaemon('true', [], { waitFor: member as 'exec' }), refused, member);
  }
});
