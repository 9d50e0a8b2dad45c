/** What a running daemon reports about itself, in a file of its own. */
import { native, throwFailure } from '../native/index.js';

/** What a daemon says about itself. */
export interface SelfReported {
  version?: string;
  status?: string;
  socket?: string;
  problem?: string;
}

/** What this process says about itself, in a file of its own that is only shown. */
export class SelfReport {
  readonly #path: string;
  #said: { readonly [Key in keyof SelfReported]?: string | undefined } = {};

  constructor(path: string) {
    this.#path = path;
  }

  /** What to say from now on; `undefined` takes it back. Throws a {@link SystemCallError}. */
  change(changes: { readonly [Key in keyof SelfReported]?: string | undefined }): void {
    this.#said = { ...this.#said, ...changes };
    throwFailure(native().writeSelfReport(this.#path, JSON.stringify(this.#said)));
  }
}
