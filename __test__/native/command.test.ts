/** Where the native command is found. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import test from 'ava';
import { commandPath } from '../../src/native/command.js';

test('the native command lies beside the addon and has the version of the package', (t) => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  t.is(execFileSync(commandPath(), ['--version'], { encoding: 'utf8' }), `${version}\n`);
});
