/** What a start takes from its caller, held for a start that may come later. */
import type { NativeStream } from '../../index.js';
import { native } from '../native/index.js';
import type { ResolvedStart } from '../options/resolve.js';
import { withInherited } from './inherited-sockets.js';

/** A start that a caller has asked for, with what it takes from that caller. */
export interface HeldStart {
  readonly start: ResolvedStart;
  /** Closes the duplicates. */
  release(): void;
}

/**
 * Holds what a start takes from its caller, for a start that may come later: descriptors and the environment. The caller may
 * change both meanwhile.
 */
export function holdCaller(start: ResolvedStart): HeldStart {
  const streams = [start.stdin, start.stdout, start.stderr];
  const listen = withInherited(start.listen);
  const numbers = [
    ...streams.map(({ kind, descriptor }, number) => (kind === 'inherit' ? number : descriptor)),
    ...listen.map(({ descriptor }) => descriptor),
  ];
  const wanted = numbers.filter((number) => number !== undefined);
  const held = wanted.length === 0 ? undefined : native().holdDescriptors(wanted);
  const duplicates = [...(held?.numbers ?? [])];
  const [stdin, stdout, stderr, ...sockets] = numbers.map((number) =>
    number === undefined ? undefined : duplicates.shift(),
  );
  const stream = (own: NativeStream, descriptor: number | undefined): NativeStream =>
    descriptor === undefined ? own : { kind: 'descriptor', descriptor };
  const own = { ...process.env };
  return {
    start: {
      ...start,
      stdin: stream(start.stdin, stdin),
      stdout: stream(start.stdout, stdout),
      stderr: stream(start.stderr, stderr),
      listen: listen.map((listener, index) => {
        const descriptor = sockets[index];
        return descriptor === undefined ? listener : { ...listener, descriptor };
      }),
      environment: (ofUser) => start.environment(ofUser, own),
    },
    release: () => held?.close(),
  };
}
