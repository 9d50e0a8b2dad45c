/** The defaults of the options, and the values of `mode`. */

/** Every default, in one place. */
export const defaults = {
  cwd: '/',
  umask: 0o022,
  logMode: 0o640,
  pidFileMode: 0o644,
  aliveFor: 0,
  startTimeout: 30_000,
  stopTimeout: 8_000,
  reloadTimeout: 10_000,
} as const;

/** The values of the option `mode`. */
export const modes = ['auto', 'daemon', 'foreground'] as const;
