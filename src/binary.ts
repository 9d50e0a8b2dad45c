/** The native core's binary for this platform: beside the package in a checkout, else in the platform's own package. */
import { createRequire } from 'node:module';
import type * as Binding from '../index.js';

/** The binary's functions. */
export type Native = typeof Binding;

/** The package that has the binary for this platform. Takes its time to find out. */
export function binaryPackage(): string {
  const name = `daemonry-${process.platform}-${process.arch}`;
  if (process.platform !== 'linux') return name;
  const { header } = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } };
  return `${name}-${header.glibcVersionRuntime === undefined ? 'musl' : 'gnu'}`;
}

/** Loads it; throws an {@link AggregateError} of all that was tried. */
export function loadBinary(): Native {
  const require = createRequire(import.meta.url);
  const platform = `${process.platform}-${process.arch}`;
  // Of the two C libraries only one can load its binary, and asking which one it is takes longer than trying.
  const names = process.platform === 'linux' ? [`${platform}-gnu`, `${platform}-musl`] : [platform];
  const failures: unknown[] = [];
  for (const file of names.flatMap((name) => [`../daemonry.${name}.node`, `daemonry-${name}`])) {
    try {
      return require(file) as Native;
    } catch (error) {
      failures.push(error);
    }
  }
  throw new AggregateError(failures, `there is no binary for ${platform}`);
}
