/** A program for supervisord. */
import { UsageError } from '../parse.js';
import { commandOf, environmentWithHome, shellLine, stopSeconds, text, type Service } from './service.js';

export function supervisordProgram(service: Service): string {
  // A line of its file cannot be continued.
  const unfit = [...commandOf(service), ...Object.values(service.env)].find((word) => word.includes('\n'));
  if (unfit !== undefined) throw new UsageError(`for supervisord no word may have lines: ${JSON.stringify(unfit)}`);
  const { name, cwd, user } = service;
  const variables = Object.entries({ DAEMONRY_MODE: 'foreground', ...environmentWithHome(service) });
  return text(
    `; /etc/supervisor/conf.d/${name}.conf, then: supervisorctl update`,
    `[program:${name}]`,
    `command=${escape(shellLine(commandOf(service)))}`,
    `directory=${escape(cwd)}`,
    `environment=${variables.map(([variable, value]) => `${variable}="${escape(value).replaceAll(/["\\]/g, '\\$&')}"`).join(',')}`,
    user === undefined ? undefined : `user=${user}`,
    'autorestart=unexpected',
    'stopsignal=TERM',
    `stopwaitsecs=${stopSeconds(service)}`,
    'redirect_stderr=true',
    `stdout_logfile=/var/log/supervisor/${name}.log`,
  );
}

/** `%` begins an expression. */
function escape(value: string): string {
  return value.replaceAll('%', '%%');
}
