/** The workers of a cluster: whether this process is one, and those that it has. */
import type { Cluster, Worker } from 'node:cluster';
import { daemonVariable } from '../options/env.js';

/** Whether this process is a worker of a cluster. */
export function isClusterWorker(): boolean {
  if (process.send === undefined) return false;
  // Looked at only now: loading it takes time that every other program would pay, too.
  return (process.getBuiltinModule('node:cluster') as unknown as Cluster).isWorker;
}

/** The workers of a cluster whose primary is this process; nothing where the program has not loaded `node:cluster`. */
export function clusterWorkers(): readonly Worker[] {
  // No public API lists the loaded modules, and loading this one would slow down every program.
  const { moduleLoadList = [] } = process as { moduleLoadList?: readonly string[] };
  if (!moduleLoadList.includes('NativeModule cluster')) return [];
  const { isPrimary, workers } = process.getBuiltinModule('node:cluster') as unknown as Cluster;
  return isPrimary ? Object.values(workers ?? {}).filter((worker) => worker !== undefined) : [];
}

/** Whether this process is a cluster worker, or a child of a daemon that runs the daemon's own script over IPC. */
export function isDaemonsWorker(): boolean {
  if (process.send === undefined) return false;
  return isClusterWorker() || process.env[daemonVariable] === `${process.ppid}:${process.argv[1] ?? ''}`;
}
