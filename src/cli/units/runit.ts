/** A run script for runit: runsv(8). */
import { assignments, commandOf, shellLine, shellWord, text, type Service } from './service.js';

export function runitScript(service: Service): string {
  const { name, cwd, env, user } = service;
  const asUser = user === undefined ? [] : ['chpst', '-u', user];
  return text(
    '#!/bin/sh',
    `# /etc/sv/${name}/run, then: chmod +x /etc/sv/${name}/run && ln -s /etc/sv/${name} /etc/service/`,
    'exec 2>&1',
    'export DAEMONRY_MODE=foreground',
    ...assignments(env).map((assignment) => `export ${assignment}`),
    `cd ${shellWord(cwd)} || exit 1`,
    `exec ${shellLine([...asUser, ...commandOf(service)])}`,
  );
}
