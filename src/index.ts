/** The public interface of daemonry. */
export { connectDaemon } from './connect-daemon.js';
export { currentDaemon } from './current-daemon.js';
export { type Daemon } from './daemon/daemon.js';
export { daemonize } from './daemonize.js';
export { type DaemonEnd } from './daemon-end.js';
export { daemonEvents, type DaemonEvent, type EventsOptions } from './daemon-events.js';
export { daemonStatus, type DaemonStatus, type FailedReload, type FailedStart } from './daemon-status.js';
export { forgetDaemon, type ForgetResult } from './forget-daemon.js';
export { listDaemons } from './list-daemons.js';
export {
  DaemonError,
  isDaemonError,
  type AlreadyRunningError,
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
export { supported } from './native/index.js';
export { type Hold } from './daemon/idle.js';
export {
  type ConnectOptions,
  type DaemonizeOptions,
  type LogFile,
  type RestartLimit,
  type SpawnDaemonOptions,
  type StartedDaemon,
  type StartOptions,
  type StartOutcome,
  type StreamOption,
} from './options/types.js';
export { type Limit, type LimitValue, type Resource } from './options/limits.js';
export { type Endpoint, type ListenAddress, type TcpAddress, type UnixAddress } from './options/listen.js';
export { PidFile } from './pid-file.js';
export { reloadDaemon, type ReloadOptions, type ReloadResult } from './reload-daemon.js';
export { restartDaemon, type RestartResult } from './restart-daemon.js';
export { signalDaemon, type SignalResult } from './signal-daemon.js';
export { spawnDaemon, type SpawnedDaemon } from './spawn-daemon.js';
export { stopDaemon, type StopOptions, type StopResult } from './stop-daemon.js';
export { daemonPaths, type DaemonPaths } from './store/paths.js';
export { type DaemonCaller, type DaemonRecord } from './store/record.js';
export { type NamedTarget, type Target } from './store/locate.js';
