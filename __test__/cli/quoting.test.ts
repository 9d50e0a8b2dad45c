/** Words that are printed for a shell, systemd or a cluster are read back by it as they are, whatever is in them. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import test from 'ava';
import * as fc from 'fast-check';
import { openrcScript } from '../../src/cli/units/openrc.js';
import { assignments, labelOf, shellLine, type Service } from '../../src/cli/units/service.js';
import { systemdUnit } from '../../src/cli/units/systemd.js';
import { sysvScript } from '../../src/cli/units/sysv.js';
import { boot, noMachine } from '../helpers/machine.js';
import { testUnless } from '../helpers/privileges.js';
import { holds, seconds } from '../helpers/property.js';
import { until } from '../helpers/until.js';
import { workspace } from '../helpers/workspace.js';

/** No half of a pair, and none of those that are no characters, which systemd refuses (Unicode, 23.7). */
const character = fc
  .integer({ min: 1, max: 0x10ffff })
  .map((code) => String.fromCodePoint(code))
  .filter((text) => !/[\p{Cs}\p{Noncharacter_Code_Point}]/u.test(text));
const special = fc.constantFrom(...'"\'\\$`!%#;&|<>(){}[]*?~=:-+@ \t\n\r', '$(id)', '%n', '\\n', "'\\''", 'ä', '😀');
const word = fc.string({ unit: fc.oneof(special, character), maxLength: 12 });
const words = fc.array(word, { minLength: 1, maxLength: 20 });

const service: Service = {
  name: 'a',
  isOnPath: true,
  containerUser: '1000',
  program: '/usr/bin/printf',
  args: [],
  cwd: '/',
  env: {},
  user: undefined,
  daemonizes: false,
  home: undefined,
  daemonry: ['false'],
  stopTimeout: undefined,
  killMode: 'session',
  image: 'a',
};

/** Variables V0, V1, … */
function variables(values: readonly string[]): Record<string, string> {
  return Object.fromEntries(values.map((value, index) => [`V${index}`, value]));
}

/** What a shell that runs `script` writes, split at its NULs. */
function said(script: string, ...args: string[]): string[] {
  const { status, stdout, stderr } = spawnSync('sh', ['-c', script, 'sh', ...args], { encoding: 'utf8' });
  assert.deepEqual([status, stderr], [0, '']);
  return stdout.split('\0').slice(0, -1);
}

test('a shell reads back words and variables as they are', async (t) => {
  const check = (words: readonly string[]) => {
    assert.deepEqual(said(`printf '%s\\0' ${shellLine(words)}`), words);
    const exports = assignments(variables(words)).map((assignment) => `export ${assignment}`);
    const values = words.map((_, index) => `"$V${index}"`);
    assert.deepEqual(said(`${exports.join('\n')}\nprintf '%s\\0' ${values.join(' ')}`), words);
  };
  t.log(await holds('words for a shell', words, check, 100));
  t.pass();
});

test('init scripts start a service with its words and variables as they are', async (t) => {
  const script = workspace(t).at('script');
  const check = (words: readonly string[]) => {
    const names = words.map((_, index) => `"$V${index}"`);
    const program = `/usr/bin/printf '%s\\0' "$@" ${names.join(' ')}`;
    const daemon = { ...service, program: '/bin/sh', args: ['-c', program, 'sh', ...words], env: variables(words) };
    for (const print of [openrcScript, sysvScript]) {
      const text = print({ ...daemon, daemonizes: true });
      writeFileSync(script, text.replace(/^\. \/lib.*$|^case "\$1" in\n[^]*$/gm, ''));
      // Without what belongs to the system that runs it.
      const messages = ['ebegin() { :; }', 'eend() { return "$1"; }'];
      assert.deepEqual(said([...messages, `. "$1"`, 'start'].join('\n'), script), [...words, ...words]);
    }
  };
  t.log(await holds('words for init scripts', words, check, 100));
  t.pass();
});

test('any name becomes a label of DNS', async (t) => {
  const line = await holds('names for DNS', fc.oneof(word, fc.string({ maxLength: 200 })), (name) => {
    const label = labelOf(name);
    assert.match(label, /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/);
    assert.equal(labelOf(label), label);
  });
  t.log(line);
  t.pass();
});

testUnless(noMachine)('systemd reads back words and variables as they are', async (t) => {
  t.timeout((seconds + 120) * 1000);
  const flags = ['--unit=basic.target', '--log-target=journal', '--show-status=false'];
  const machine = await boot(['/usr/lib/systemd/systemd', ...flags]);
  t.teardown(() => machine.end());
  await until('systemd has booted', async () =>
    /^(running|degraded)/.test((await machine.sh('systemctl is-system-running')).stdout),
  );
  const check = async (words: readonly string[]) => {
    const unit = systemdUnit({ ...service, args: ['%s\\0', ...words], env: variables(words) });
    const lines = unit.split('\n').filter((text) => /^(ExecStart|Environment)=/.test(text));
    const names = words.map((_, index) => `V${index}`).join(' ');
    const more = ['Type=oneshot', 'StandardOutput=append:/said', `ExecStart=/usr/bin/printenv -0 ${names}`];
    machine.write('/etc/systemd/system/a.service', ['[Service]', ...lines, ...more, ''].join('\n'));
    const { code, stderr } = await machine.sh('rm -f /said; systemctl daemon-reload && systemctl start a');
    assert.deepEqual([code, stderr], [0, '']);
    assert.deepEqual(machine.read('/said').split('\0').slice(0, -1), [...words, ...words]);
  };
  t.log(await holds('words for systemd', words, check, 10));
  t.pass();
});
