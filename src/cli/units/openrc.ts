/** A service script for OpenRC: openrc-run(8). */
import { assignments, commandOf, shellLine, shellWord, stopSeconds, text, type Service } from './service.js';
import { startLine } from './sysv.js';

export function openrcScript(service: Service): string {
  const { name, pidFile, cwd, env, daemonry } = service;
  const exports = assignments(env).map((assignment) => `export ${assignment}`);
  const [program, ...args] = commandOf(service).map(shellWord);
  const line = startLine(service);
  return text(
    '#!/sbin/openrc-run',
    `# /etc/init.d/${name}, then: chmod +x /etc/init.d/${name} && rc-update add ${name} && rc-service ${name} start`,
    `description=${shellWord(name)}`,
    `directory=${shellWord(cwd)}`,
    `pidfile=${shellWord(pidFile)}`,
    `retry="TERM/${stopSeconds}/KILL/5"`,
    'extra_started_commands="reload"',
    ...exports,
    '',
    'depend() {',
    '  need localmount',
    '  use net',
    '  after bootmisc',
    '}',
    '',
    ...(line === undefined
      ? [
          '# Returns when the service is up, or says why it is not.',
          `command=${program}`,
          `command_args=${quoted(args)}`,
        ]
      : [
          'start() {',
          `  ebegin "Starting ${name}"`,
          `  ${shellLine(line)}`,
          '  eend $?',
          '}',
          '',
          'stop() {',
          `  ebegin "Stopping ${name}"`,
          `  ${shellLine([daemonry, 'stop', '--timeout', String(stopSeconds * 1000), name])}`,
          '  eend $?',
          '}',
        ]),
    '',
    'reload() {',
    `  ebegin "Reloading ${name}"`,
    '  start-stop-daemon --signal HUP --pidfile "$pidfile"',
    '  eend $?',
    '}',
  );
}

/** Words that the shell reads twice. */
function quoted(words: readonly string[]): string {
  return shellWord(words.join(' '));
}
