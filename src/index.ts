/** The public interface of daemonry. */
export { connectDaemon } from './connect.js';
export { currentDaemon, type Daemon } from './daemon.js';
export { daemonize } from './daemonize.js';
export { list, sendSignal, status, stop, type DaemonStatus, type StopOptions, type StopResult } from './control.js';
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
  type UnknownUserError,
  type UsageError,
} from './errors.js';
export { supported } from './native.js';
export { type Hold } from './idle.js';
export {
  type ConnectOptions,
  type DaemonizeOptions,
  type LogFile,
  type SpawnDaemonOptions,
  type StartedDaemon,
  type StartOptions,
  type StartOutcome,
  type StreamOption,
} from './options.js';
export { type Limit, type LimitValue, type Resource } from './limits.js';
export { type Endpoint, type ListenAddress, type TcpAddress, type UnixAddress } from './listeners.js';
export { PidFile } from './pidfile.js';
export { paths, type DaemonPaths } from './places.js';
export { type DaemonRecord } from './record.js';
export { spawnDaemon, type SpawnedDaemon } from './spawn.js';
export { type Target } from './target.js';
