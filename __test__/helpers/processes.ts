/** Looking at real processes through /proc; where there is none, ps(1) tells which live and what they mention. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { until } from './until.js';

const hasProc = existsSync('/proc/self/stat');

/** A field of `/proc/PID/status`, such as `'Umask'`. */
export function statusField(pid: number, field: string): string | undefined {
  return new RegExp(`^${field}:[ \\t]*(.*)$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
}

/** What each open descriptor of a process leads to. */
export function descriptors(pid: number): Map<number, string> {
  const found = new Map<number, string>();
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    try {
      found.set(Number(fd), readlinkSync(`/proc/${pid}/fd/${fd}`));
    } catch {
      // Closed between the two looks.
    }
  }
  return found;
}

/** Fields of `/proc/PID/stat`; `undefined` when there is no such process. */
export function stat(pid: number) {
  try {
    const [state, ppid, pgrp, session, tty] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!.split(' ');
    return { state: state!, ppid: Number(ppid), pgrp: Number(pgrp), session: Number(session), tty: Number(tty) };
  } catch {
    return undefined;
  }
}

/** A field of `/proc/PID/stat` by its number in proc_pid_stat(5), from the third one on. */
export function statField(pid: number, number: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!.split(' ');
  return Number(fields[number - 3]);
}

/** Whether a process is gone or a zombie: PID 1 here may reap late. */
export function hasEnded(pid: number): boolean {
  return isOver(hasProc ? stat(pid)?.state : ps('-p', String(pid))[0]?.state);
}

function isOver(state: string | undefined): boolean {
  return state === undefined || /^[ZX]/.test(state);
}

/** Kills a process, and waits for its end. */
export async function kill(pid: number): Promise<void> {
  process.kill(pid, 'SIGKILL');
  await until(`process ${pid} has ended`, () => hasEnded(pid));
}

/** The variables that a process was executed with; `undefined` when there is no such process. */
export function environmentOf(pid: number): string[] | undefined {
  return hasProc ? read(pid, 'environ') : ps('-p', String(pid))[0]?.words;
}

/** Every living process but this one. */
export function processes() {
  const all = hasProc
    ? readdirSync('/proc')
        .filter((name) => /^\d+$/.test(name))
        .map(Number)
        .filter((pid) => !hasEnded(pid))
        .map((pid) => ({ pid, words: ['cmdline', 'environ'].flatMap((file) => read(pid, file) ?? []) }))
    : ps('-ax').filter(({ state }) => !isOver(state));
  return all
    .filter(({ pid }) => pid !== process.pid)
    .map(({ pid, words }) => ({
      pid,
      mentions: (text: string) => words.some((word) => word.includes(text)),
      hasEnded: () => hasEnded(pid),
      kill: () => process.kill(pid, 'SIGKILL'),
      // Not its whole environment.
      toString: () => `${pid}: ${words.filter((word) => !/^\w+=/.test(word)).join(' ')}`,
    }));
}

function read(pid: number, file: string): string[] | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8').split('\0');
  } catch {
    return undefined;
  }
}

/** Processes by ps(1) of macOS: state, and the words of the command line and the environment. */
function ps(...which: readonly string[]) {
  const args = ['-Eww', '-o', 'pid=,state=,command=', ...which];
  const { stdout } = spawnSync('ps', args, { encoding: 'utf8', maxBuffer: 2 ** 26 });
  const lines = stdout.split('\n').filter((line) => line.trim() !== '');
  return lines.map((line) => {
    const [pid, state, ...words] = line.trim().split(/\s+/);
    return { pid: Number(pid), state: state!, words };
  });
}
