/** An init script as the Linux Standard Base has it, for Debian's start-stop-daemon(8). */
import { asRoot, assignments, managedLines, shellLine, shellWord, stopSeconds, text, type Service } from './service.js';

export function sysvScript(service: Service): string {
  const { name, pidFile, cwd, env } = service;
  const { start, stop, status } = managedLines(service) ?? ownLines(service);
  return text(
    '#!/bin/sh',
    `# /etc/init.d/${name}, then: chmod +x /etc/init.d/${name} && update-rc.d ${name} defaults`,
    asRoot(service),
    '### BEGIN INIT INFO',
    `# Provides:          ${name}`,
    '# Required-Start:    $remote_fs $network $syslog',
    '# Required-Stop:     $remote_fs $network $syslog',
    '# Default-Start:     2 3 4 5',
    '# Default-Stop:      0 1 6',
    `# Short-Description: ${name}`,
    '### END INIT INFO',
    'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    `PIDFILE=${shellWord(pidFile)}`,
    ...assignments(env).map((assignment) => `export ${assignment}`),
    '. /lib/lsb/init-functions',
    `cd ${shellWord(cwd)} || exit 1`,
    '',
    '# Returns when the service is up, or says why it is not.',
    'start() {',
    `  ${start}`,
    '}',
    '',
    'stop() {',
    `  ${stop}`,
    '}',
    '',
    'case "$1" in',
    '  start)',
    `    log_daemon_msg "Starting" "${name}"`,
    '    start',
    '    code=$?',
    '    log_end_msg $code',
    '    ;;',
    '  stop)',
    `    log_daemon_msg "Stopping" "${name}"`,
    '    stop',
    '    code=$?',
    '    log_end_msg $code',
    '    ;;',
    '  restart | force-reload)',
    `    log_daemon_msg "Restarting" "${name}"`,
    '    stop && start',
    '    code=$?',
    '    log_end_msg $code',
    '    ;;',
    '  reload)',
    `    log_daemon_msg "Reloading" "${name}"`,
    '    start-stop-daemon --stop --quiet --signal HUP --pidfile "$PIDFILE"',
    '    code=$?',
    '    # What does not run cannot be reloaded.',
    '    [ "$code" -ne 1 ] || code=7',
    '    log_end_msg $code',
    '    ;;',
    '  status)',
    `    ${status}`,
    '    code=$?',
    '    ;;',
    '  *)',
    '    echo "Usage: $0 {start|stop|restart|reload|force-reload|status}" >&2',
    '    code=2',
    '    ;;',
    'esac',
    'exit "$code"',
  );
}

/** Of a program that makes itself the daemon that it is to be. */
function ownLines({ name, program, args }: Service) {
  const [exec, tool] = [shellWord(program), 'start-stop-daemon'];
  return {
    start: `${tool} --start --quiet --oknodo --chdir "$PWD" --pidfile "$PIDFILE" --exec ${exec} -- ${shellLine(args)}`,
    stop: `${tool} --stop --quiet --oknodo --retry TERM/${stopSeconds}/KILL/5 --pidfile "$PIDFILE" --exec ${exec}`,
    status: `status_of_proc -p "$PIDFILE" ${exec} ${name}`,
  };
}
