/** Processes that race each other: each calls one function, all at the same moment or a little apart. */
import { fork, type ForkOptions } from 'node:child_process';
import { once } from 'node:events';
import type { Answer } from './bench.js';
import { fixture } from './run.js';

export interface Move {
  readonly call:
    'spawnDaemon' | 'stopDaemon' | 'signalDaemon' | 'look' | 'unlinkSync' | 'killByContent' | 'killByStatus';
  readonly args: readonly unknown[];
  /** Milliseconds after the common moment. */
  readonly delay?: number;
}

interface Reply extends Answer {
  /** How the racer itself has ended, which it is not to do. */
  readonly gone?: string;
}

export interface Outcome extends Reply {
  readonly move: Move;
}

/** Starts that many processes, which live until `end`. Each race takes as many of them as it has moves. */
export async function racers(count: number, options: ForkOptions = {}) {
  const field = Array.from({ length: count }, () => racer(options));
  await Promise.all(field.map(({ ready }) => ready));
  return {
    async race(moves: readonly Move[]): Promise<Outcome[]> {
      // By then each of them has its message.
      const moment = now() + 1 + moves.length / 8;
      const told = await Promise.all(moves.map((move, index) => field[index]!.make(move, moment)));
      return moves.map((move, index) => ({ move, ...told[index] }));
    },
    /** Each of them makes one move after the other until there is none for it any more. */
    async chase(next: (racer: number) => Move | undefined, tell: (outcome: Outcome) => void): Promise<void> {
      await Promise.all(
        field.map(async ({ make }, racer) => {
          for (let move = next(racer); move !== undefined; move = next(racer))
            tell({ move, ...(await make(move, now())) });
        }),
      );
    },
    end: () => Promise.all(field.map((racer) => racer.end())),
  };
}

/** Milliseconds on the clock that all processes share. */
const now = () => Number(process.hrtime.bigint()) / 1e6;

function racer(options: ForkOptions) {
  const child = fork(fixture('racer.mjs'), options);
  const exit = once(child, 'exit');
  let settle: (reply: Reply) => void;
  let gone: Reply | undefined;
  const answer = () => new Promise<Reply>((resolve) => (gone === undefined ? (settle = resolve) : resolve(gone)));
  const ready = answer();
  child.on('message', (told: Answer) => settle(told));
  child.on('exit', (code, signal) => settle((gone = { gone: String(signal ?? code) })));
  return {
    ready,
    make({ call, args, delay = 0 }: Move, moment: number) {
      const answered = answer();
      // Of one that has just ended its exit tells.
      child.send({ at: moment + delay, call, args }, () => {});
      return answered;
    },
    async end() {
      if (child.connected) child.disconnect();
      await exit;
    },
  };
}
