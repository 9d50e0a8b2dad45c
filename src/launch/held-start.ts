/** What a start takes from its caller, held for a start that may come later. */
import type { NativeStream } from '../../index.js';
import { native } from '../native/index.js';
import { withRequest, type ResolvedStart } from '../options/resolve.js';
import { withInherited } from './inherited-sockets.js';

/** A start that a caller has asked for, with what it takes from that caller. */
export interface HeldStart {
  readonly start: ResolvedStart;
  /** Closes the duplicates. */
  release(): void;
}

/**
 * Holds the descriptors that a start takes from its caller, for a start that may come later: the caller may close them meanwhile.
 */
export function holdCaller(start: ResolvedStart): HeldStart {
  const { stdin, stdout, stderr, listeners } = start.request;
  const sockets = withInherited(listeners);
  const numbers = [
    ...[stdin, stdout, stderr].map(({ kind, descriptor }, number) => (kind === 'inherit' ? number : descriptor)),
    ...sockets.map(({ descriptor }) => descriptor),
  ];
  const wanted = numbers.filter((number) => number !== undefined);
  const held = wanted.length === 0 ? undefined : native().holdDescriptors(wanted);
  const duplicates = [...(held?.numbers ?? [])];
  const [input, output, error, ...heldSockets] = numbers.map((number) =>
    number === undefined ? undefined : duplicates.shift(),
  );
  const stream = (own: NativeStream, descriptor: number | undefined): NativeStream =>
    descriptor === undefined ? own : { kind: 'descriptor', descriptor };
  return {
    start: withRequest(start, {
      stdin: stream(stdin, input),
      stdout: stream(stdout, output),
      stderr: stream(stderr, error),
      listeners: sockets.map((listener, index) => {
        const descriptor = heldSockets[index];
        return descriptor === undefined ? listener : { ...listener, descriptor };
      }),
    }),
    release: () => held?.close(),
  };
}
