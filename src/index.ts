/** The public interface of daemonry. */
export { connectDaemon } from './connect.js';
export { currentDaemon, type Daemon } from './daemon.js';
export { daemonize } from './daemonize.js';
export {
  forgetDaemon,
  list,
  reloadDaemon,
  sendSignal,
  status,
  stop,
  type DaemonEnd,
  type DaemonStatus,
  type FailedReload,
  type FailedStart,
  type ReloadOptions,
  type ReloadResult,
  type ForgetResult,
  type StopOptions,
  type StopResult,
} from './control.js';
export { daemonEvents, type DaemonEvent, type EventsOptions } from './events.js';
export {
  isDaemonError,
  type AlreadyRunningError,
  type DaemonError,
  type DaemonErrorCode,
  type DaemonStep,
  type Errno,
  type NotAPidFileError,
  type NotRunningError,
  type OtherProgramError,
  type PidFileHeldError,
  type ReloadError,
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
export { spawnDaemon, type SpawnedDaemon } from './spawn.js';
export { paths, type DaemonCaller, type DaemonPaths, type DaemonRecord, type Target } from './store.js';
