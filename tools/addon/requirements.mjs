// Whether an addon is what is published for a platform.
import { isNewer } from './binary.mjs';

/** The packages' limit: a megabyte is much for an addon that each installation unpacks. */
const mostBytes = 500_000;
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

/** What is wrong with a file, if anything. */
export function faults({ os, arch, libc }, binary) {
  const isAllowed = (library) => systemLibraries[libc ?? os].test(library);
  const strangers = binary.needs.filter((library) => !isAllowed(library));
  return [
    [binary.os !== os || binary.arch !== arch, `is for ${binary.os} on ${binary.arch}`],
    [!binary.isLibrary, 'is no library'],
    [!binary.exports.includes('napi_register_module_v1'), 'is no addon for Node.js'],
    [libc === 'gnu' && isNewer(binary.versions.GLIBC ?? '0', newestGlibc), `needs glibc ${binary.versions.GLIBC}`],
    [libc === 'musl' && binary.versions.GLIBC !== undefined, 'needs glibc'],
    [libc === 'gnu' && !binary.staysLoaded, 'can be unloaded while thread-local destructors point into it'],
    [os === 'darwin' && arch === 'arm64' && !binary.isSigned, 'is not signed'],
    [os === 'darwin' && isNewer(binary.minimum, oldestMac), `needs macOS ${binary.minimum}`],
    [strangers.length > 0, `needs ${strangers.join(', ')}`],
    [binary.size > mostBytes, `has ${binary.size} bytes, more than ${mostBytes}`],
  ]
    .filter(([isFault]) => isFault)
    .map(([, fault]) => fault);
}
