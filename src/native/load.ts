/** The native core's binary for this platform: beside the package in a checkout, else in the platform's own package. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, isAbsolute, join } from 'node:path';
import type * as Binding from '../../index.js';

/** The binary's functions. */
export type Native = typeof Binding;

/** The package that has the binary for this platform. Takes its time to find out. */
export function binaryPackage(): string {
  const name = `daemonry-${process.platform}-${process.arch}`;
  if (process.platform !== 'linux') return name;
  const { header } = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } };
  return `${name}-${header.glibcVersionRuntime === undefined ? 'musl' : 'gnu'}`;
}

/** What was loaded, and the file that it was loaded from. */
export interface LoadedBinary {
  readonly functions: Native;
  readonly path: string;
}

/** Loads it; throws an {@link AggregateError} of all that was tried. */
export function loadBinary(): LoadedBinary {
  const platform = `${process.platform}-${process.arch}`;
  // Of the two C libraries only one can load its binary, and asking which one it is takes longer than trying.
  const names = process.platform === 'linux' ? [`${platform}-gnu`, `${platform}-musl`] : [platform];
  const failures: unknown[] = [];
  for (const path of names.flatMap(usualPaths).filter((path) => existsSync(path))) {
    const addon = { exports: {} };
    try {
      process.dlopen(addon, path);
      return { functions: addon.exports as Native, path };
    } catch (error) {
      failures.push(error);
    }
  }
  // Wherever it may be, which takes several times longer.
  for (const place of searchedFrom()) {
    for (const require of requiresOf(place)) {
      for (const name of names) {
        try {
          // With the file: a program that Bun has compiled reads no package.json.
          const path = require.resolve(`daemonry-${name}/daemonry.${name}.node`);
          return { functions: require(path) as Native, path };
        } catch (error) {
          failures.push(error);
        }
      }
    }
  }
  throw new AggregateError(failures, `there is no binary for ${platform}`);
}

/** In a CommonJS bundle, whose `import.meta` is empty. */
// eslint-disable-next-line no-underscore-dangle -- Node's own name
declare const __filename: string;

/** The file that this code is in; the executable, if the code was compiled into it and its own path exists only there. */
function ownFile(): string {
  return isBunExecutable() ? process.execPath : ((import.meta.filename as string | undefined) ?? __filename);
}

/** Whether `bun build --compile` has made this program. */
export function isBunExecutable(): boolean {
  return process.argv[1]?.startsWith('/$bunfs/') ?? false;
}

/** From where the platform's package is looked for: this file, and the script, if a bundler has given this file another path. */
export function searchedFrom(): string[] {
  const script = isBunExecutable() ? undefined : process.argv[1];
  return [...new Set([ownFile(), script ?? ''])].filter((place) => isAbsolute(place) && existsSync(place));
}

/** How a file requires a package: as its own dependency, and as one of daemonry's, which pnpm keeps apart. */
function* requiresOf(place: string): Iterable<NodeJS.Require> {
  const require = createRequire(place);
  yield require;
  try {
    yield createRequire(require.resolve('daemonry/package.json'));
  } catch {
    // It is daemonry itself, or a bundle without it.
  }
}

/** In a checkout; in the first two places where Node.js looks for the platform's package, one of which npm and pnpm take. */
function usualPaths(name: string): string[] {
  // Tests import this file from src; the bundle is in dist.
  const folders = [
    ownFile().endsWith('.ts') ? '../..' : '..',
    `../node_modules/daemonry-${name}`,
    `../../daemonry-${name}`,
  ];
  return folders.map((folder) => join(dirname(ownFile()), folder, `daemonry.${name}.node`));
}
