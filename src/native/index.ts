/** The one door to the native core: loads it, and turns its failures into errors. */
import type * as Binding from '../../index.js';
import type { Failure } from '../../index.js';
import { daemonError, type DaemonError, type DaemonErrorCode } from '../errors.js';
import { binaryPackage, loadBinary, searchedFrom, type LoadedBinary, type Native } from './load.js';

let loaded: LoadedBinary | undefined;
let refusal: unknown;
try {
  // Not an import: where there is no binary, importing daemonry must still work.
  loaded = loadBinary();
} catch (error) {
  refusal = error;
}

/**
 * Whether daemonry works here: Linux or macOS, with the platform's binary installed and native addons allowed. Where it is
 * false, every call throws `ERR_UNSUPPORTED_PLATFORM`.
 */
export const supported: boolean = loaded !== undefined;

/** The native core, or the reason why there is none. */
export function native(): Native {
  return binary().functions;
}

/** The file that the core was loaded from. */
export function addonPath(): string {
  return binary().path;
}

function binary(): LoadedBinary {
  if (loaded === undefined) throw unsupported(refusal);
  return loaded;
}

/** Whether this is the main thread; asked of the core, for loading `node:worker_threads` takes longer than all of daemonry. */
export function inMainThread(): boolean {
  return loaded?.functions.isMainThread() ?? true;
}

/** For calls that concern the whole process. */
export function nativeOfMainThread(): Native {
  const core = native();
  if (!core.isMainThread()) {
    throw daemonError('ERR_WORKER_THREAD', 'a worker thread cannot become a daemon: call it in the main thread', {});
  }
  return core;
}

/** The value of a native call; throws its failure. */
export function unwrap<T>(outcome: T): Exclude<T, Binding.Failure> {
  if (isFailure(outcome)) throw failureError(outcome);
  return outcome as Exclude<T, Binding.Failure>;
}

/** A native failure as an error, its sentence optionally put another way. */
export function failureError(failure: Binding.Failure, message = failure.message): DaemonError {
  const { errorCode, message: _, advice: _advice, ...fields } = failure;
  return daemonError(errorCode as DaemonErrorCode, message, fields as never);
}

export function isFailure(outcome: unknown): outcome is Binding.Failure {
  return typeof outcome === 'object' && outcome !== null && 'errorCode' in outcome;
}

function unsupported(cause: unknown): DaemonError {
  const platforms = 'Linux (x64, arm64; glibc, musl) and macOS (x64, arm64)';
  const here = `${process.platform} ${process.arch}`;
  let message = `daemonry has no binary for ${here}: it runs on ${platforms}`;
  if (cause instanceof AggregateError && cause.errors.some(isForbidden)) {
    message = isRestricted()
      ? "Node's permission model forbids the native addon of daemonry: add --allow-addons"
      : "Node's --no-addons forbids the native addon of daemonry: start without it";
  } else if (['linux', 'darwin'].includes(process.platform) && ['x64', 'arm64'].includes(process.arch)) {
    message = `daemonry's binary for ${here} ${whyNotLoaded(cause)}`;
  }
  return daemonError('ERR_UNSUPPORTED_PLATFORM', message, {}, cause);
}

/** Why there is no binary although there is one for this platform. */
function whyNotLoaded(cause: unknown): string {
  const errors = cause instanceof AggregateError ? (cause.errors as NodeJS.ErrnoException[]) : [];
  const found = errors.find(({ code }) => code !== 'MODULE_NOT_FOUND');
  if (found !== undefined) {
    const reason = found.message.split('\n', 1)[0]!;
    // The words of glibc and of musl for an mmap(2) with PROT_EXEC that the kernel refuses.
    const isUnmapped = /failed to map segment|Operation not permitted/.test(reason);
    return `cannot be loaded: ${reason}${isUnmapped ? ': its file system may be mounted with noexec' : ''}`;
  }
  return `was not found: its package ${binaryPackage()}, an optional dependency of daemonry, must be in a node_modules directory above ${searchedFrom().join(' or ')}`;
}

/** `--no-addons`, or the permission model without `--allow-addons`. */
function isForbidden(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ERR_DLOPEN_DISABLED';
}

/** Whether Node's permission model is on. */
function isRestricted(): boolean {
  return (process as { permission?: unknown }).permission !== undefined;
}

export function throwFailure(failure: Failure | null): void {
  if (failure !== null) throw failureError(failure);
}
