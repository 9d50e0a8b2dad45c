/** The same pidfile for programs that stay in the foreground. */
import type { NativePidFile } from '../index.js';
import { invalidOption } from './errors.js';
import { absolute } from './files/working-directory.js';
import { failureError, native, unwrap } from './native/index.js';
import * as check from './options/check.js';
import { defaults } from './options/defaults.js';

/** A pidfile that this process holds until it releases it or ends. */
export class PidFile implements Disposable {
  /** The absolute path. */
  readonly path: string;
  readonly #file: NativePidFile;
  readonly #onExit = () => void this.#file.release();

  /**
   * Locks the pidfile, writes this process's pid and removes the file again at exit. A process that dies without having run
   * its exit handlers leaves an unlocked file, which the next one takes.
   *
   * @param path created if it does not exist
   * @param options `mode`: permissions of a created file, by default `0o644`
   * @example
   * using pidFile = PidFile.acquire('/run/batch.pid');
   * @throws `ERR_ALREADY_RUNNING` with the holder's pid, `ERR_PIDFILE_HELD`, `ERR_NOT_A_PIDFILE`, `ERR_INVALID_OPTION`, a
   * {@link SystemCallError}
   */
  static acquire(path: string | URL, options: { readonly mode?: number } = {}): PidFile {
    check.only(options, 'mode');
    const mode = check.mode('mode', options.mode, defaults.pidFileMode);
    if ((mode & 0o002) !== 0) throw invalidOption('option "mode" must not let everybody write');
    const pidFile = absolute(check.path('path', path));
    const { startTimeout } = defaults;
    const unnamed = { name: null, version: null, record: null, listeners: [] };
    const file = unwrap(native().acquirePidFile({ pidFile, mode, ...unnamed, replaces: false, startTimeout }));
    const failure = file.markUp();
    if (failure !== null) {
      file.release();
      throw failureError(failure);
    }
    return new PidFile(file);
  }

  private constructor(file: NativePidFile) {
    this.path = file.path;
    this.#file = file;
    process.on('exit', this.#onExit);
  }

  /** Removes the file, if it is still this process's, and lets go of the lock. Does nothing the second time. */
  release(): void {
    process.off('exit', this.#onExit);
    const failure = this.#file.release();
    if (failure !== null) throw failureError(failure);
  }

  /** Releases it. */
  [Symbol.dispose](): void {
    this.release();
  }
}
