/** `daemonry list`. */
import type { DaemonStatus } from '../../daemon-status.js';
import type { DaemonError } from '../../errors.js';
import { listDaemons } from '../../list-daemons.js';
import { native } from '../../native/index.js';
import { printableLine } from '../../printable.js';
import type { Command, Parsed } from '../command.js';
import { exitCodes, failureJson } from '../exit-codes.js';
import { coloured, printJson, stamp } from '../output.js';
import { jsonOption, UsageError } from '../parse.js';
import { endSentence, startSentence } from './status.js';

export const list: Command = {
  name: 'list',
  usage: '[OPTIONS]',
  summary: "List the named daemons of this user and the system's, running or not.",
  options: {
    failed: {
      type: 'boolean',
      help: 'only those that crashed, were killed, vanished, were lost or did not start',
    },
    json: jsonOption,
  },
  notes: [
    'Exit code: 1 if a daemon cannot be inspected, for the reason in STATUS;',
    'with --failed also if one has failed.',
  ],
  run,
};

async function run({ values, positionals }: Parsed): Promise<number> {
  if (positionals[0] !== undefined) throw new UsageError(`unexpected argument ${JSON.stringify(positionals[0])}`);
  const onlyFailed = values['failed'] === true;
  const all = await listDaemons();
  const found = all.filter((daemon) => !onlyFailed || hasFailed(daemon) || errorOf(daemon) !== undefined);
  if (values['json']) printJson(found.map(withMessage));
  else if (found.length === 0) process.stdout.write(onlyFailed ? 'no daemon has failed\n' : 'no named daemons\n');
  else process.stdout.write(table(found));
  const isWell = onlyFailed ? found.length === 0 : found.every((daemon) => errorOf(daemon) === undefined);
  return isWell ? exitCodes.success : exitCodes.failure;
}

/** Down without having been meant to be. One that has left its pidfile, or processes, may have ended as it should. */
function hasFailed(daemon: DaemonStatus): boolean {
  if ('failedStart' in daemon) return true;
  if (daemon.state !== 'dead' && daemon.state !== 'stopped') return false;
  const { ended } = daemon;
  if (ended === undefined) return daemon.state === 'dead';
  return !native().isOrderlyEnd(ended.reason) || 'replacementFailed' in ended;
}

/** Why a daemon could not be inspected. */
function errorOf(daemon: DaemonStatus): DaemonError | undefined {
  return daemon.state === 'unknown' ? daemon.error : undefined;
}

/** JSON leaves the message of an error out. */
function withMessage(daemon: DaemonStatus): object {
  const error = errorOf(daemon);
  return error === undefined ? daemon : { ...daemon, error: failureJson(error) };
}

/** Why the last start failed; for a daemon that is dead or has failed, how it ended. */
function endOf(daemon: DaemonStatus): string {
  if ('failedStart' in daemon) return `start ${startSentence(daemon.failedStart)}`;
  const isShown = daemon.state === 'dead' || (daemon.state === 'stopped' && hasFailed(daemon));
  return isShown && daemon.ended !== undefined ? endSentence(daemon.ended) : '';
}

function table(found: readonly DaemonStatus[]): string {
  const titles = ['NAME', 'STATE', 'PID', 'SINCE', 'VERSION', 'STATUS'];
  const calls = new Map<string | undefined, number>();
  for (const { name } of found) calls.set(name, (calls.get(name) ?? 0) + 1);
  // The user and the system may each have one of that name.
  const rows = found.map((daemon) =>
    [
      calls.get(daemon.name)! > 1 ? `${daemon.name} (${daemon.pidFile})` : (daemon.name ?? ''),
      daemon.state,
      'pid' in daemon ? String(daemon.pid ?? '') : '',
      'since' in daemon ? stamp(daemon.since) : '',
      daemon.record?.version ?? '',
      errorOf(daemon)?.message ?? daemon.record?.problem ?? daemon.record?.status ?? endOf(daemon),
    ].map(printableLine),
  );
  const widths = titles.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]!.length)));
  const line = (cells: readonly string[]) => cells.map((cell, column) => cell.padEnd(widths[column]!));
  const lines = rows.map((row, index) => {
    const [name, state, ...rest] = line(row);
    return [name, coloured(found[index]!.state, state), ...rest];
  });
  return [line(titles), ...lines].map((cells) => `${cells.join('  ').trimEnd()}\n`).join('');
}
