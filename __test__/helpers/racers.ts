/** Processes that race each other: each calls one function, all at the same moment or a little apart. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fixture } from './run.js';
import type { Told } from './script.js';

export interface Move {
  readonly call: 'spawnDaemon' | 'stop' | 'sendSignal' | 'look' | 'unlinkSync';
  readonly args: readonly unknown[];
  /** Milliseconds after the common moment. */
  readonly delay?: number;
}

export interface Outcome extends Told {
  readonly move: Move;
}

/** Starts that many processes, which live until `end`. Each race takes as many of them as it has moves. */
export async function racers(count: number) {
  const field = Array.from({ length: count }, racer);
  await Promise.all(field.map(({ ready }) => ready));
  return {
    async race(moves: readonly Move[]): Promise<Outcome[]> {
      // By then each of them has its message.
      const moment = Number(process.hrtime.bigint()) / 1e6 + 1 + moves.length / 8;
      const told = await Promise.all(moves.map((move, index) => field[index]!.make(move, moment)));
      return moves.map((move, index) => ({ move, ...told[index] }));
    },
    end: () => Promise.all(field.map((racer) => racer.end())),
  };
}

function racer() {
  const child = fork(fixture('racer.mjs'));
  const exit = once(child, 'exit');
  let settle: (told: Told) => void;
  const answer = () => new Promise<Told>((resolve) => (settle = resolve));
  const ready = answer();
  child.on('message', (told: Told) => settle(told));
  child.on('exit', (code, signal) => settle({ error: new Error(`a racer has ended: ${signal ?? code}`) as never }));
  return {
    ready,
    make({ call, args, delay = 0 }: Move, moment: number) {
      const answered = answer();
      child.send({ at: moment + delay, call, args });
      return answered;
    },
    async end() {
      child.disconnect();
      await exit;
    },
  };
}
