/** Whether what came out of a run with a fault is the truth, and whether anything is left of it. */
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { processes, stat, statusField } from '../../__test__/helpers/processes.js';
import { until } from '../../__test__/helpers/until.js';
import { daemonStatus, stopDaemon, type DaemonStatus } from '../../dist/index.js';
import { logBefore, type Place } from './scenarios.js';

/** The processes of a run that still live. */
export function alive({ path }: Place) {
  return processes().filter((process) => process.mentions(path));
}

/** What is left of a start that has failed; nothing, if all is well. */
export async function leftovers(place: Place): Promise<string[]> {
  const { path, pidFile, log, locksItself, crashed } = place;
  const left = alive(place).map((process) => `process ${process}`);
  const { state } = await daemonStatus({ pidFile });
  const isAsBefore = () => readFileSync(pidFile, 'utf8') === `${crashed}\n`;
  const isDead = state === 'dead' && (locksItself || !existsSync(pidFile) || isAsBefore());
  if (state !== 'stopped' && !isDead)
    left.push(`the pidfile, ${state}: ${JSON.stringify(readFileSync(pidFile, 'utf8'))}`);
  for (const file of readdirSync(join(path, 'state'))) {
    if (file !== 'app.log' && file !== 'app.pid') left.push(`the file ${file}`);
  }
  if (!existsSync(log) || !readFileSync(log, 'utf8').startsWith(logBefore)) left.push('a log without what was in it');
  return left;
}

/** What is wrong with a daemon that is said to be up; nothing, if all is well. Ends it. */
export async function wrongs(place: Place, isRight: (facts: Facts) => string[]): Promise<string[]> {
  const { pidFile } = place;
  const found = await daemonStatus({ pidFile });
  const wrong: string[] = [];
  if (found.state !== 'running') wrong.push(`its pidfile says that it is ${found.state}`);
  else {
    // It may just be about to do something for which it blocks signals.
    await until('it is right', () => isRight(facts(found.pid)).length === 0, 1000).catch(() => {});
    wrong.push(...isRight(facts(found.pid)));
  }
  if (found.state === 'running' && readFileSync(pidFile, 'utf8') !== `${found.pid}\n`)
    wrong.push('its pidfile is torn');
  wrong.push(...(await ended(place, found)));
  return wrong;
}

/** Stops the daemon; what is wrong with that, and what is left. */
export async function ended(place: Place, found: DaemonStatus): Promise<string[]> {
  const wrong: string[] = [];
  const { outcome } = await stopDaemon({ pidFile: place.pidFile }, { timeout: 10_000 });
  if (found.state === 'running' && outcome !== 'stopped') wrong.push(`stop says ${outcome}`);
  await until('the processes have ended', () => alive(place).length === 0, 5000).catch(() => {});
  return [...wrong, ...(await leftovers(place))];
}

/** What a daemon is, as far as a fault could have spoilt it. */
export interface Facts {
  readonly [what: string]: string | undefined;
}

export function facts(pid: number): Facts {
  const { pgrp, session, tty } = stat(pid)!;
  const link = (file: string) => readlinkSync(`/proc/${pid}/${file}`);
  const fields = ['Umask', 'SigBlk', 'SigIgn', 'Groups', 'NoNewPrivs', 'CapEff'] as const;
  // A new user has another number each time.
  const ids = ['Uid', 'Gid'].map((field) => [field, statusField(pid, field)?.replaceAll(/\d{7,}/g, 'new')]);
  return {
    stdin: link('fd/0'),
    stdout: link('fd/1').replace(/.*\//, ''),
    stderr: link('fd/2').replace(/.*\//, ''),
    cwd: link('cwd'),
    session: session !== pid && pgrp === session ? 'of its leader' : `pid ${pid}, group ${pgrp}, session ${session}`,
    tty: String(tty),
    limits: readFileSync(`/proc/${pid}/limits`, 'utf8'),
    oom: readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8'),
    ...Object.fromEntries([...ids, ...fields.map((field) => [field, statusField(pid, field)])]),
  };
}
