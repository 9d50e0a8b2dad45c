/** The native core's binary for this platform: beside the package in a checkout, else in the platform's own package. */
import { existsSync } from 'node:fs';
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
  const platform = `${process.platform}-${process.arch}`;
  // Of the two C libraries only one can load its binary, and asking which one it is takes longer than trying.
  const names = process.platform === 'linux' ? [`${platform}-gnu`, `${platform}-musl`] : [platform];
  const failures: unknown[] = [];
  for (const path of names.flatMap(usualPlaces).filter((path) => existsSync(path))) {
    const addon = { exports: {} };
    try {
      process.dlopen(addon, path);
      return addon.exports as Native;
    } catch (error) {
      failures.push(error);
    }
  }
  // Wherever it may be, which takes several times longer.
  const require = createRequire(import.meta.url);
  for (const name of names) {
    try {
      return require(`daemonry-${name}`) as Native;
    } catch (error) {
      failures.push(error);
    }
  }
  throw new AggregateError(failures, `there is no binary for ${platform}`);
}

/** In a checkout; in the first two places where Node.js looks for the platform's package, one of which npm and pnpm take. */
function usualPlaces(name: string): string[] {
  const folders = ['..', `../node_modules/daemonry-${name}`, `../../daemonry-${name}`];
  return folders.map((folder) => `${import.meta.dirname}/${folder}/daemonry.${name}.node`);
}
