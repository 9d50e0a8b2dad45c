/** A service script for OpenRC: openrc-run(8). */
import { actionsOf, asRoot, assignments, shellWord, text, type Service } from './service.js';

/** What OpenRC itself returns for a service that was started and has ended without being stopped. */
const crashed = 32;

export function openrcScript(service: Service): string {
  const { name, env } = service;
  const { start, stop, reload, status } = actionsOf(service);
  return text(
    '#!/sbin/openrc-run',
    `# /etc/init.d/${name}, then: chmod +x /etc/init.d/${name} && rc-update add ${name} && rc-service ${name} start`,
    asRoot(service),
    `description=${shellWord(name)}`,
    'extra_started_commands="reload"',
    ...assignments(env).map((assignment) => `export ${assignment}`),
    '',
    'depend() {',
    '  use net',
    '  after localmount bootmisc',
    '}',
    '',
    '# Returns when the service is up, or says why it is not.',
    ...action('start', `Starting ${name}`, start),
    '',
    ...action('stop', `Stopping ${name}`, stop),
    '',
    ...action('reload', `Reloading ${name}`, reload),
    '',
    'status() {',
    `  ${status}`,
    '  code=$?',
    `  [ "$code" -ne 1 ] || code=${crashed}`,
    '  return "$code"',
    '}',
  );
}

function action(name: string, title: string, line: string): readonly string[] {
  return [`${name}() {`, `  ebegin "${title}"`, `  ${line}`, '  eend $?', '}'];
}
