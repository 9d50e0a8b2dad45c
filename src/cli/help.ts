/** What `--help` prints: a screen at most for each command. */
import { createRequire } from 'node:module';
import type { Command } from './command.js';
import { commands } from './commands/index.js';

export function overview(): string {
  const width = Math.max(...commands.map(({ name }) => name.length));
  return [
    'Usage: daemonry COMMAND [OPTIONS] …',
    '',
    'Starts, inspects and stops daemons.',
    '',
    ...commands.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`),
    '',
    'A daemon is given by its name, or by its pidfile (-p FILE).',
    '"daemonry COMMAND --help" describes a command, "daemonry --version" prints the version.',
    '',
  ].join('\n');
}

export function helpOf({ name, usage, summary, options, notes }: Command): string {
  const lines = Object.entries(options).map(([option, { short, value, help }]) => {
    const names = `${short === undefined ? '    ' : `-${short}, `}--${option}`;
    return [value === undefined ? names : `${names} ${value}`, help] as const;
  });
  const width = Math.max(0, ...lines.map(([names]) => names.length));
  return [
    `Usage: daemonry ${name} ${usage}`,
    '',
    summary,
    '',
    ...lines.map(([names, help]) => `  ${names.padEnd(width)}  ${help}`),
    ...(notes.length > 0 ? ['', ...notes] : []),
    '',
  ].join('\n');
}

export function version(): string {
  const { version } = createRequire(import.meta.url)('daemonry/package.json') as { version: string };
  return version;
}
