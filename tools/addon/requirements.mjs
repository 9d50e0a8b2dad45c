// Whether a binary is what is published for a platform.
import { isNewer } from './binary.mjs';

/** The limits of each, in bytes: every installation unpacks both. */
export const mostBytes = { addon: 500_000, command: 700_000 };
/** As old as Rust supports; Node.js 20 needs 2.28 itself. */
const newestGlibc = '2.17';
/** The oldest macOS that Node.js 20 runs on. */
const oldestMac = '11.0';

/** The libraries that are on every machine that Node.js runs on. */
const systemLibraries = {
  gnu: /^(lib(c|dl|pthread|rt|m|util|gcc_s)|ld-linux-(x86-64|aarch64))\.so\.\d$/,
  musl: /^libc(\.musl-\w+)?\.so(\.1)?$/,
  darwin: /^\/usr\/lib\/lib(System\.B|iconv\.2|charset\.1|objc\.A)\.dylib$/,
};

/** Where the loader of programs is on every machine with this C library. */
const loaders = {
  gnu: { x64: '/lib64/ld-linux-x86-64.so.2', arm64: '/lib/ld-linux-aarch64.so.1' },
  musl: { x64: '/lib/ld-musl-x86_64.so.1', arm64: '/lib/ld-musl-aarch64.so.1' },
};

/** What is wrong with a file of a platform, if anything; `kind` is `addon` or `command`. */
export function faults({ os, arch, libc }, kind, binary) {
  const isAllowed = (library) => systemLibraries[libc ?? os].test(library);
  const strangers = binary.needs.filter((library) => !isAllowed(library));
  const own = {
    addon: [
      [!binary.isLibrary, 'is no library'],
      [!binary.exports.includes('napi_register_module_v1'), 'is no addon for Node.js'],
      [libc === 'gnu' && !binary.staysLoaded, 'can be unloaded while thread-local destructors point into it'],
    ],
    command: [
      [binary.isLibrary, 'is no program'],
      [binary.loader !== loaders[libc]?.[arch], `is loaded by ${binary.loader}`],
    ],
  };
  return [
    [binary.os !== os || binary.arch !== arch, `is for ${binary.os} on ${binary.arch}`],
    ...own[kind],
    [libc === 'gnu' && isNewer(binary.versions.GLIBC ?? '0', newestGlibc), `needs glibc ${binary.versions.GLIBC}`],
    [libc === 'musl' && binary.versions.GLIBC !== undefined, 'needs glibc'],
    [os === 'darwin' && arch === 'arm64' && !binary.isSigned, 'is not signed'],
    [os === 'darwin' && isNewer(binary.minimum, oldestMac), `needs macOS ${binary.minimum}`],
    [strangers.length > 0, `needs ${strangers.join(', ')}`],
    [binary.size > mostBytes[kind], `has ${binary.size} bytes, more than ${mostBytes[kind]}`],
  ]
    .filter(([isFault]) => isFault)
    .map(([, fault]) => `${kind} ${fault}`);
}
