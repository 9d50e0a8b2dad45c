/** The public options of every way to start a daemon. */
import type { Limit, Resource } from './limits.js';
import type { Endpoint, ListenAddress } from './listen.js';

/** A file that a daemon writes to. */
export interface LogFile {
  /** Where it is; relative to the launcher's working directory. */
  readonly path: string | URL;
  /**
   * Exactly this mode when it has to be created, whatever the umask; never writable by everybody.
   * @default 0o640
   */
  readonly mode?: number;
  /**
   * `false` empties it at the start, once the pidfile is locked.
   * @default true
   */
  readonly append?: boolean;
}

/** What a standard stream is connected to: `/dev/null`, the launcher's own, a file, or an open descriptor. */
export type StreamOption = 'ignore' | 'inherit' | (string & {}) | URL | LogFile | number;

/** How there came to be a daemon: this call started it, it ran already, or this call started it in the place of another. */
export type StartOutcome = 'started' | 'reused' | 'replaced';

/** How often a daemon may be restarted. */
export interface RestartLimit {
  /** The number of restarts. */
  readonly times: number;
  /** The milliseconds within which they are counted. */
  readonly within: number;
}

/** What a started daemon is, for {@link DaemonizeOptions.onStarted}. */
export interface StartedDaemon {
  /** Whether this call has started it. */
  readonly outcome: StartOutcome;
  /** The daemon's pid. */
  readonly pid: number;
  /** Where the sockets of {@link StartOptions.listen} listen; missing without them, and of a daemon that ran already. */
  readonly listeners?: Readonly<Record<string, Endpoint>>;
}

/**
 * Options of every way to start a daemon. `Sockets` are the names of the sockets of `listen`. A path can be given as a `file:` URL,
 * such as `new URL('app.log', import.meta.url)`.
 */
export interface StartOptions<Sockets extends string = string> {
  /**
   * `[A-Za-z0-9_.@-]+`; picks the conventional pidfile and log of {@link daemonPaths}, makes their directories, and keeps a record
   * of how the daemon is started for {@link listDaemons}, {@link restartDaemon} and `daemonry logs`.
   * @default none
   */
  readonly name?: string;
  /**
   * The pidfile: locked from before the fork until the daemon's death, so that only one can run. Without one, nothing is
   * locked, and {@link daemonStatus} and {@link stopDaemon} cannot find the daemon.
   * @default from `name`, else none
   */
  readonly pidFile?: string | URL;
  /**
   * The file for stdout and stderr.
   * @default from `name`, else none
   */
  readonly log?: string | URL | LogFile;
  /** @default 'ignore' */
  readonly stdin?: StreamOption;
  /** @default `log`, else 'ignore' */
  readonly stdout?: StreamOption;
  /**
   * With `'ignore'`, what the daemon writes while it starts is kept and shown by the launcher.
   * @default `log`, else 'ignore'
   */
  readonly stderr?: StreamOption;
  /**
   * The daemon's working directory.
   * @default '/' for `daemonize` and `connectDaemon`, the caller's for `spawnDaemon`
   */
  readonly cwd?: string | URL;
  /**
   * The daemon's file mode creation mask. Pidfiles and logs have their own modes, whatever it is.
   * @default 0o022
   */
  readonly umask?: number;
  /**
   * The user that the daemon runs as, by name or number: supplementary groups, group and user are changed in this order before
   * the program is executed, and verified; nothing of the launcher's rights is left. Requires root, unless it is the
   * launcher's own. `HOME`, `USER`, `LOGNAME` and `SHELL` are set accordingly, and `XDG_*_HOME`, `XDG_RUNTIME_DIR` and `MAIL` are
   * removed. In the foreground the option has no effect: the process that started the program has chosen the user.
   * @default the launcher's
   */
  readonly user?: string | number;
  /**
   * The daemon's primary group, by name or number.
   * @default the primary group of `user`, else the launcher's
   */
  readonly group?: string | number;
  /**
   * All of the daemon's supplementary groups, by name or number.
   * @default what the group database gives `user`; with `group` alone none; else the launcher's
   */
  readonly groups?: readonly (string | number)[];
  /**
   * Resource limits, as in setrlimit(2): `{ nofile: 65536, core: 0, as: { soft: 2 ** 30 } }`.
   * @default the launcher's
   */
  readonly limits?: Readonly<Partial<Record<Resource, Limit>>>;
  /**
   * Niceness, from -20 (served first) to 19.
   * @default the launcher's
   */
  readonly nice?: number;
  /**
   * Linux: from -1000 (never killed when memory runs out) to 1000 (killed first); proc_pid_oom_score_adj(5).
   * @default the launcher's
   */
  readonly oomScoreAdjust?: number;
  /**
   * Linux: nothing that the daemon executes gains privileges by set-user-ID bits or file capabilities.
   * @default false
   */
  readonly noNewPrivileges?: boolean;
  /**
   * Sockets to bind before the fork, with the launcher's rights: a port below 1024 as root, served as `user`. A program that
   * calls `daemonize` finds their descriptors in {@link Daemon.listeners}, for `server.listen({ fd })`; any other gets them
   * using systemd's protocol, from descriptor 3 on with `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES` (sd_listen_fds(3)). If
   * systemd has handed over a socket of that name, that one is taken. In the foreground the program binds them itself.
   * @default none
   */
  readonly listen?: { readonly [Name in Sockets]: ListenAddress };
  /**
   * Added to the environment; `undefined` deletes. The record of a daemon that `spawnDaemon` starts by `name` keeps them, for
   * `daemonry restart`, in a file that only its owner reads.
   * @default {}
   */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /**
   * `false` starts from an empty environment; else it is the launcher's without what concerns the launcher alone
   * (`NODE_CHANNEL_FD`, `NOTIFY_SOCKET` and the like).
   * @default true
   */
  readonly extendEnv?: boolean;
  /**
   * Milliseconds that the daemon must live on after it is up.
   * @default 0
   */
  readonly aliveFor?: number;
  /**
   * Milliseconds after which a start has failed and is rolled back, `aliveFor` included. Waiting for another caller's start, and
   * a start of its own after that, have twice as long together; stopping another daemon takes up to 15 s more.
   * @default 30_000
   */
  readonly startTimeout?: number;
  /**
   * Milliseconds that the daemon has to stop. {@link stopDaemon} waits as long, and 2 s; a program that calls `daemonize` ends itself by then.
   * @default 8_000, also for a program that says nothing about it
   */
  readonly stopTimeout?: number;
  /**
   * What a stop ends: `'session'`, the main process and then whatever is left of the session that the start made, such as the
   * server that a shell script runs; `'process'`, only the main process. Needs a pidfile.
   * @default 'session'
   */
  readonly killMode?: 'session' | 'process';
  /**
   * When the daemon is started again after it has ended: `'on-failure'` after an exit code other than 0, a signal that does not ask a
   * program to end, or a restart that failed; `'always'` whenever it was not asked to stop. The first restart follows after 100 ms; each
   * further delay is twice as long, up to 30 s, and 100 ms again once the daemon was up for a minute. A start that fails is not
   * repeated. A small native process above the daemon does this: see `supervise`. In the foreground the option has no effect.
   * @default 'no'
   */
  readonly restart?: 'no' | 'on-failure' | 'always';
  /**
   * With `restart`: after so many restarts within so many milliseconds, the supervisor gives up.
   * @default without end
   */
  readonly restartLimit?: RestartLimit;
  /**
   * Puts a small native process above the daemon. It holds the lock and the sockets of `listen`, sees how the daemon ends, and passes
   * SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1 and SIGUSR2 on. Needs a name or a pidfile, and goes with neither another `user` nor a
   * file as `stdin`.
   * @default true with `restart`, else false
   */
  readonly supervise?: boolean;
  /**
   * With a supervisor: the signal that the daemon gets when it is to stop.
   * @default 'SIGTERM'
   */
  readonly killSignal?: NodeJS.Signals;
  /**
   * What to do when the daemon is running already: `'error'` fails with `ERR_ALREADY_RUNNING`; `'reuse'` takes it for the one
   * that was to be started, once it is up, and waits for one that is about to exit; `'replace'` stops it as {@link stopDaemon} does and
   * starts another, but reuses one that another caller has started meanwhile. Needs a pidfile. A daemon that is to stay in the
   * foreground cannot reuse another, and fails. `'reuse'` of another program, or of one in another directory, fails
   * with `ERR_OTHER_PROGRAM`, unless there is a `version`. `'replace'` fails without stopping anything if the new start is known to
   * fail, and with `ERR_START_CANCELLED` if a stop is requested meanwhile.
   * @default 'error'
   */
  readonly ifRunning?: 'error' | 'reuse' | 'replace';
  /**
   * With `ifRunning: 'reuse'` and `name`: a daemon of the same version is reused, one of any other version replaced. Compared
   * as text.
   * @default none
   */
  readonly version?: string;
}

/** Options of {@link daemonize}. */
export interface DaemonizeOptions<Sockets extends string = string> extends StartOptions<Sockets> {
  /**
   * When the start counts: `'start'`, once `daemonize()` has returned in the daemon and the event loop has turned; `'ready'`,
   * once `daemon.ready()` was called. Not together with `main`, which counts as up when it has settled or called `ready()`.
   * @default 'start'
   */
  readonly waitFor?: 'start' | 'ready';
  /**
   * `'daemon'` or `'foreground'`; `'auto'` stays in the foreground if a supervisor already does what a daemon does by
   * itself: systemd (unless the unit has `PIDFile=`), launchd, the init of a container or its first program, runit, s6,
   * supervisord and supervise-daemon. Only the one that has started exactly this process, or its parent, counts. In the
   * foreground stdio, working directory, umask, user and limits are left as they are, and the manager is notified
   * as in sd_notify(3). The variable `DAEMONRY_MODE` wins over this option.
   * @default 'auto'
   */
  readonly mode?: 'auto' | 'daemon' | 'foreground';
  /**
   * Milliseconds without a {@link Daemon.hold} after which the daemon stops itself, counted from when it is up.
   * @default none
   */
  readonly idleTimeout?: number;
  /**
   * Called in the launcher just before it exits; must be synchronous. What it throws is printed, and the launcher exits with 1
   * instead of 0; the daemon stays up.
   * @default none
   */
  readonly onStarted?: (started: StartedDaemon) => void;
}

/** Options of {@link spawnDaemon}. */
export interface SpawnDaemonOptions extends StartOptions {
  /**
   * When the start counts: `'exec'`, once the program's image is executed; `'start'` and `'ready'` for a Node program that
   * calls `daemonize()` itself: see {@link DaemonizeOptions.waitFor}. A program with `main` is started when `main` is called.
   * @default 'exec'
   */
  readonly waitFor?: 'exec' | 'start' | 'ready';
  /**
   * Rolls back a start that is under way, which then rejects with `ERR_START_INTERRUPTED`.
   * @default none
   */
  readonly signal?: AbortSignal;
}

/** Options of {@link connectDaemon}: a `name`, or a `pidFile` and a `socket`, and others. */
export type ConnectOptions = SpawnDaemonOptions & {
  /**
   * The path of the Unix socket that the daemon listens on.
   * @default the socket of {@link daemonPaths} for `name`
   */
  readonly socket?: string | URL;
  /**
   * As for {@link spawnDaemon}.
   * @default 'ready'
   */
  readonly waitFor?: 'exec' | 'start' | 'ready';
  /**
   * As for {@link spawnDaemon}, but without `'error'`.
   * @default 'reuse'
   */
  readonly ifRunning?: 'reuse' | 'replace';
} & ({ readonly name: string } | { readonly pidFile: string | URL; readonly socket: string | URL });
