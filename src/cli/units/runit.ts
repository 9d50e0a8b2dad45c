/** A run script for runit: runsv(8). */
import { assignments, commandOf, environmentWithHome, shellLine, shellWord, text, type Service } from './service.js';

export function runitScript(service: Service): string {
  const { name, cwd, user, home, daemonizes, daemonry } = service;
  const asUser = user === undefined ? [] : ['chpst', '-u', user];
  const ofUser = home === undefined ? [] : ['env', `HOME=${home}`];
  const check = shellLine([...ofUser, ...daemonry, 'status', '--ready', name]);
  return text(
    '#!/bin/sh',
    `# /etc/sv/${name}/run, then: chmod +x /etc/sv/${name}/run && ln -s /etc/sv/${name} /etc/service/`,
    daemonizes ? `# A script beside it, ./check, lets sv start wait until it is up: exec ${check}` : undefined,
    'exec 2>&1',
    'export DAEMONRY_MODE=foreground',
    ...assignments(environmentWithHome(service)).map((assignment) => `export ${assignment}`),
    `cd ${shellWord(cwd)} || exit 1`,
    `exec ${shellLine([...asUser, ...commandOf(service)])}`,
  );
}
