/** An init script as the Linux Standard Base has it, for Debian's start-stop-daemon(8). */
import { assignments, commandOf, shellLine, shellWord, stopSeconds, text, type Service } from './service.js';

export function sysvScript(service: Service): string {
  const { name, pidFile, cwd, env, program, args, daemonry } = service;
  const line = startLine(service);
  const stopping = `--retry TERM/${stopSeconds}/KILL/5 --pidfile "$PIDFILE"`;
  return text(
    '#!/bin/sh',
    `# /etc/init.d/${name}, then: chmod +x /etc/init.d/${name} && update-rc.d ${name} defaults`,
    '### BEGIN INIT INFO',
    `# Provides:          ${name}`,
    '# Required-Start:    $remote_fs $network $syslog',
    '# Required-Stop:     $remote_fs $network $syslog',
    '# Default-Start:     2 3 4 5',
    '# Default-Stop:      0 1 6',
    `# Short-Description: ${name}`,
    '### END INIT INFO',
    'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    `NAME=${name}`,
    `PIDFILE=${shellWord(pidFile)}`,
    `PROGRAM=${shellWord(program)}`,
    ...assignments(env).map((assignment) => `export ${assignment}`),
    '. /lib/lsb/init-functions',
    `cd ${shellWord(cwd)} || exit 1`,
    '',
    '# Returns when the service is up, or says why it is not.',
    'start() {',
    line === undefined
      ? `  start-stop-daemon --start --quiet --oknodo --pidfile "$PIDFILE" --exec "$PROGRAM" -- ${shellLine(args)}`.trimEnd()
      : `  ${shellLine(line)}`,
    '}',
    '',
    'stop() {',
    line === undefined
      ? `  start-stop-daemon --stop --quiet --oknodo ${stopping}`
      : `  ${shellLine([daemonry, 'stop', '--timeout', String(stopSeconds * 1000), name])}`,
    '}',
    '',
    'case "$1" in',
    '  start)',
    '    log_daemon_msg "Starting" "$NAME"',
    '    start',
    '    code=$?',
    '    log_end_msg $code',
    '    ;;',
    '  stop)',
    '    log_daemon_msg "Stopping" "$NAME"',
    '    stop',
    '    code=$?',
    '    log_end_msg $code',
    '    ;;',
    '  restart | force-reload)',
    '    log_daemon_msg "Restarting" "$NAME"',
    '    stop && start',
    '    code=$?',
    '    log_end_msg $code',
    '    ;;',
    '  reload)',
    '    log_daemon_msg "Reloading" "$NAME"',
    '    start-stop-daemon --stop --quiet --signal HUP --pidfile "$PIDFILE"',
    '    code=$?',
    '    # What does not run cannot be reloaded.',
    '    [ "$code" -ne 1 ] || code=7',
    '    log_end_msg $code',
    '    ;;',
    '  status)',
    '    status_of_proc -p "$PIDFILE" "$PROGRAM" "$NAME"',
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

/**
 * How the service is started by a script of root's where it does not become by itself what it is to be; `undefined` where it does.
 */
export function startLine(service: Service): readonly string[] | undefined {
  const { name, user, cwd, daemonizes, daemonry } = service;
  if (daemonizes && user === undefined) return undefined;
  return [
    ...[daemonry, 'start', '--name', name],
    ...(daemonizes ? ['--wait', 'ready'] : []),
    ...(user === undefined ? [] : ['--user', user]),
    ...['--cwd', cwd, '--', ...commandOf(service)],
  ];
}
