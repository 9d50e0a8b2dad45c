/** The public interface of daemonry. */
export { currentDaemon, type Daemon } from './daemon.js';
export { daemonize } from './daemonize.js';
export { sendSignal, status, stop, type DaemonStatus, type StopOptions, type StopResult } from './control.js';
export {
  isDaemonError,
  type AlreadyRunningError,
  type DaemonError,
  type DaemonErrorCode,
  type DaemonStep,
  type Errno,
  type NotAPidFileError,
  type NotRunningError,
  type PidFileHeldError,
  type SignalRefusedError,
  type StartError,
  type StopTimeoutError,
  type SystemCallError,
  type UsageError,
} from './errors.js';
export { supported } from './native.js';
export { type DaemonizeOptions, type LogFile, type StartedDaemon, type StreamOption } from './options.js';
export { PidFile } from './pidfile.js';
export { paths, type DaemonPaths, type Target } from './places.js';
