/** A run script for s6: s6-supervise's service directories. */
import { assignments, commandOf, environmentWithHome, shellLine, shellWord, text, type Service } from './service.js';

/** The descriptor for the newline that says "up". */
const readiness = 3;

export function s6Script(service: Service): string {
  const { name, cwd, user, daemonizes } = service;
  const asUser = user === undefined ? [] : ['s6-setuidgid', user];
  return text(
    '#!/bin/sh',
    `# /etc/s6/${name}/run, then: chmod +x /etc/s6/${name}/run`,
    ...(daemonizes
      ? [
          `# It says when it is up: echo ${readiness} >/etc/s6/${name}/notification-fd`,
          `export DAEMONRY_NOTIFY_FD=${readiness}`,
        ]
      : []),
    'exec 2>&1',
    'export DAEMONRY_MODE=foreground',
    ...assignments(environmentWithHome(service)).map((assignment) => `export ${assignment}`),
    `cd ${shellWord(cwd)} || exit 1`,
    `exec ${shellLine([...asUser, ...commandOf(service)])}`,
  );
}
