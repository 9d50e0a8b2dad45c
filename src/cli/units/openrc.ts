/** A service script for OpenRC: openrc-run(8). */
import { asRoot, assignments, commandOf, managedLines, shellWord, stopSeconds, text, type Service } from './service.js';

export function openrcScript(service: Service): string {
  const { name, pidFile, cwd, env } = service;
  const exports = assignments(env).map((assignment) => `export ${assignment}`);
  const [program, ...args] = commandOf(service).map(shellWord);
  const managed = managedLines(service);
  return text(
    '#!/sbin/openrc-run',
    `# /etc/init.d/${name}, then: chmod +x /etc/init.d/${name} && rc-update add ${name} && rc-service ${name} start`,
    asRoot(service),
    `description=${shellWord(name)}`,
    `directory=${shellWord(cwd)}`,
    `pidfile=${shellWord(pidFile)}`,
    `retry="TERM/${stopSeconds}/KILL/5"`,
    'extra_started_commands="reload"',
    ...exports,
    '',
    'depend() {',
    '  use net',
    '  after localmount bootmisc',
    '}',
    '',
    ...(managed === undefined
      ? [
          '# Returns when the service is up, or says why it is not.',
          `command=${program}`,
          `command_args=${quoted(args)}`,
        ]
      : [
          ...action('start', `Starting ${name}`, managed.start),
          '',
          ...action('stop', `Stopping ${name}`, managed.stop),
          '',
          'status() {',
          `  ${managed.status}`,
          '}',
        ]),
    '',
    ...action('reload', `Reloading ${name}`, 'start-stop-daemon --signal HUP --pidfile "$pidfile"'),
  );
}

function action(name: string, title: string, line: string): readonly string[] {
  return [`${name}() {`, `  ebegin "${title}"`, `  ${line}`, '  eend $?', '}'];
}

/** Words that the shell reads twice. */
function quoted(words: readonly string[]): string {
  return shellWord(words.join(' '));
}
