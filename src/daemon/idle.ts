/** Idle exit: what holds a daemon, and what happens when nothing does any more. */

/** Keeps an idle daemon alive until it is released. */
export interface Hold extends Disposable {
  /** Lets go; does nothing the second time. The same as leaving the scope of a `using`. */
  release(): void;
}

/** How often it is looked again whether a daemon that is idle may stop, in ms. */
const watchedPause = 10;

export class Idleness {
  readonly #timeout: number | undefined;
  readonly #mayStop: () => boolean;
  readonly #onIdle: (timeout: number) => void;
  #holds = 0;
  #isUp = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(timeout: number | undefined, mayStop: () => boolean, onIdle: (timeout: number) => void) {
    this.#timeout = timeout;
    this.#mayStop = mayStop;
    this.#onIdle = onIdle;
  }

  /** The daemon is up: from now on it can be idle. */
  begin(): void {
    if (this.#isUp) return;
    this.#isUp = true;
    this.#look();
  }

  hold(): Hold {
    let isHeld = true;
    const release = () => {
      if (!isHeld) return;
      isHeld = false;
      this.#holds -= 1;
      this.#look();
    };
    this.#holds += 1;
    clearTimeout(this.#timer);
    return { release, [Symbol.dispose]: release };
  }

  #look(): void {
    const timeout = this.#timeout;
    if (timeout === undefined || !this.#isUp || this.#holds > 0) return;
    this.#wait(timeout, () => this.#onIdle(timeout));
  }

  #wait(pause: number, onIdle: () => void): void {
    clearTimeout(this.#timer);
    const end = () => (this.#mayStop() ? onIdle() : this.#wait(watchedPause, onIdle));
    // Not what keeps the process alive.
    this.#timer = setTimeout(end, pause).unref();
  }
}
