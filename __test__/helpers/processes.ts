/** Looking at real processes through /proc. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

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

/** Whether a process is gone or a zombie: PID 1 here may reap late. */
export function hasEnded(pid: number): boolean {
  const state = stat(pid)?.state;
  return state === undefined || state === 'Z' || state === 'X';
}

/** Every living process but this one. */
export function processes() {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map(Number)
    .filter((pid) => !hasEnded(pid))
    .map((pid) => {
      const [commandLine, environment] = [read(pid, 'cmdline'), read(pid, 'environ')];
      return {
        pid,
        mentions: (text: string) => commandLine.includes(text) || environment.includes(text),
        hasEnded: () => hasEnded(pid),
        kill: () => process.kill(pid, 'SIGKILL'),
        toString: () => `${pid}: ${commandLine.replaceAll('\0', ' ')}`,
      };
    });
}

function read(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return '';
  }
}
