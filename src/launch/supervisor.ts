/**
 * Who has started this program: a supervisor that already does what a daemon would have to do itself, or a person who wants the
 * prompt back.
 *
 * Nothing that is merely inherited decides. A supervisor counts only where it has started exactly this process, or its parent,
 * a wrapper such as npm or a script, whose wait ends with this process.
 */
import { existsSync, fstatSync, readFileSync } from 'node:fs';
import { native } from '../native/index.js';
import { hasTerminal } from './tty.js';

/** What keeps a process in the foreground. */
export type Supervisor = 'systemd' | 'launchd' | 'container' | 'other';

/**
 * What runs one program in its foreground and ends when that does, or starts it again, by the names of its processes (the
 * kernel keeps 15 characters): the inits of containers, and process supervisors.
 */
const supervisors: ReadonlyMap<string, Supervisor> = new Map([
  ...['tini', 'tini-static', 'docker-init', 'podman-init', 'catatonit', 'dumb-init'].map(named('container')),
  ...['runsv', 's6-supervise', 'supervise', 'supervisord', 'supervise-daemo'].map(named('other')),
]);

function named(supervisor: Supervisor): (name: string) => [string, Supervisor] {
  return (name) => [name, supervisor];
}

/** The supervisor that waits for this process; `undefined` where there is none. */
export function findSupervisor(): Supervisor | undefined {
  if (process.platform === 'darwin') return isLaunchdsJob() ? 'launchd' : undefined;
  if (process.pid === 1) return 'container';
  if (isSystemdsService()) return 'systemd';
  const { ppid } = process;
  // The first program of a container is a script, or npm. Of a whole system it is an init, which starts sessions of their own.
  if (ppid === 1 && native().sharesGroupOfParent() === true) return 'container';
  return supervises(ppid) ?? (isJob() ? undefined : supervises(parentOf(ppid)));
}

/** Whether systemd has started this process or its parent as a service (systemd.exec(5), "Environment Variables"). */
export function isSystemdsService(): boolean {
  const { SYSTEMD_EXEC_PID: executed, INVOCATION_ID: invocation, JOURNAL_STREAM: journal } = process.env;
  const { pid, ppid } = process;
  if (executed !== undefined) return Number(executed) === pid || (Number(executed) === ppid && !isJob());
  // Before systemd 248.
  if (ppid !== 1 || invocation === undefined || journal === undefined || !isBootedBySystemd()) return false;
  return [1, 2].some((descriptor) => streamOf(descriptor) === journal);
}

/** Whether a shell with job control has started this process: the person there wants the prompt back. */
function isJob(): boolean {
  return native().sharesGroupOfParent() === false && hasTerminal();
}

/** What a process that has started others is to them. */
function supervises(pid: number | undefined): Supervisor | undefined {
  if (pid === undefined) return undefined;
  // The parent of what a container runtime starts in the namespace of a pod, whose first process only waits (Kubernetes).
  if (pid === 0) return nameOf(1) === 'pause' ? 'container' : undefined;
  const name = nameOf(pid);
  // Without /proc this can only be a container, and its init is not known.
  if (name === undefined) return pid === 1 && !existsSync('/proc/self') ? 'container' : undefined;
  return supervisors.get(name);
}

/** launchd names every job to itself; what runs in a terminal inherits `0`, or the name of an application. */
function isLaunchdsJob(): boolean {
  const job = process.env['XPC_SERVICE_NAME'];
  return process.ppid === 1 && job !== undefined && job !== '0' && !job.startsWith('application.');
}

/** sd_booted(3) */
function isBootedBySystemd(): boolean {
  return existsSync('/run/systemd/system');
}

/** A descriptor as `JOURNAL_STREAM` names the one that leads to the journal. */
function streamOf(descriptor: number): string | undefined {
  try {
    const { dev, ino } = fstatSync(descriptor, { bigint: true });
    return `${dev}:${ino}`;
  } catch {
    return undefined;
  }
}

/** What the kernel calls a process; `undefined` where that cannot be seen. */
function nameOf(pid: number): string | undefined {
  return readProc(pid, 'comm')?.trimEnd();
}

function parentOf(pid: number): number | undefined {
  // The name, in parentheses, may itself have some.
  const parent = readProc(pid, 'stat')?.split(') ').at(-1)?.split(' ')[1];
  return parent === undefined ? undefined : Number(parent);
}

function readProc(pid: number, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return undefined;
  }
}
