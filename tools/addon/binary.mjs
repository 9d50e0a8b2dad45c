// Reads what a binary says about itself, by LLVM's tools, which know the formats of all platforms (Debian's package llvm).
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

/**
 * @typedef {object} Binary
 * @property {'linux' | 'darwin'} os
 * @property {'x64' | 'arm64'} arch as Node.js names them
 * @property {boolean} isLibrary whether it is a library (a shared object, a bundle) and no program
 * @property {string} [loader] the program that loads it, if it is a program of Linux
 * @property {string[]} needs the libraries that it is linked with
 * @property {string[]} exports
 * @property {Record<string, string>} versions the highest version of each family of symbols that it asks for, say GLIBC
 * @property {string} [minimum] the oldest macOS
 * @property {boolean} [isSigned] whether its signature is that of its content, without which macOS on arm64 kills who loads it
 * @property {boolean} staysLoaded whether closing it leaves it mapped
 * @property {number} size
 */

/** @returns {Binary} */
export function read(path) {
  const file = readFileSync(path);
  return { ...(file.readUInt32LE(0) === 0xfeedfacf ? machO(path, file) : elf(path)), size: file.length };
}

const run = (command, ...args) => execFileSync(command, args, { encoding: 'utf8', maxBuffer: 2 ** 28 });
const lines = (text) => text.split('\n').map((line) => line.trim());
const symbols = (path, ...options) =>
  lines(run('llvm-nm', '--defined-only', '--extern-only', '--just-symbol-name', ...options, path)).filter(Boolean);

function elf(path) {
  const about = ['--file-headers', '--program-headers', '--needed-libs', '--dynamic-table', '--version-info'];
  const text = run('llvm-readobj', ...about, path);
  const versions = {};
  for (const [, family, version] of text.split('VersionRequirements [')[1].matchAll(/\bName: (\w+?)_(\d[\d.]*)$/gm))
    if (isNewer(version, versions[family])) versions[family] = version;
  return {
    os: 'linux',
    arch: { EM_X86_64: 'x64', EM_AARCH64: 'arm64' }[/\bMachine: (\w+)/.exec(text)?.[1]],
    // A shared object with an interpreter is a program.
    isLibrary: text.includes('Type: SharedObject') && !text.includes('Type: PT_INTERP'),
    loader: text.includes('Type: PT_INTERP') ? loaderOf(path) : undefined,
    needs: lines(/^NeededLibraries \[\n([^]*?)\]/m.exec(text)[1]).filter(Boolean),
    exports: symbols(path, '--dynamic'),
    versions,
    staysLoaded: /FLAGS_1 .*\bNODELETE\b/.test(text),
  };
}

function loaderOf(path) {
  return /^\[ *0\] (.*)$/m.exec(run('llvm-readelf', '--string-dump=.interp', path))?.[1];
}

/** `version`s are numbers with dots. */
export function isNewer(version, than = '0') {
  const [one, other] = [version, than].map((numbers) => numbers.split('.').map(Number));
  const place = one.findIndex((number, index) => number !== (other[index] ?? 0));
  return place !== -1 && one[place] > (other[place] ?? 0);
}

function machO(path, file) {
  const text = run('llvm-objdump', '--macho', '--private-headers', path);
  const [, machine, type] = /^ *MH_MAGIC_64 +(\w+) +\w+ +\w+ +(\w+) /m.exec(text) ?? [];
  const signature = /cmd LC_CODE_SIGNATURE\n.*\n *dataoff (\d+)/.exec(text)?.[1];
  return {
    os: 'darwin',
    arch: { X86_64: 'x64', ARM64: 'arm64' }[machine],
    isLibrary: ['DYLIB', 'BUNDLE'].includes(type),
    needs: [...text.matchAll(/cmd LC_LOAD_DYLIB\n.*\n *name (\S+)/g)].map(([, name]) => name),
    exports: symbols(path).map((name) => name.replace(/^_/, '')),
    versions: {},
    minimum: /cmd LC_BUILD_VERSION\n[^]*?\bminos (\S+)/.exec(text)?.[1],
    isSigned: signature !== undefined && isSignatureOf(file, Number(signature)),
    // Thread-local destructors keep an image mapped there.
    staysLoaded: true,
  };
}

/** The hashes of all pages in the code directory of <Kernel/kern/cs_blobs.h>, which has them by SHA-256: no tool of LLVM compares them. */
function isSignatureOf(file, blob) {
  const directory = blob + file.readUInt32BE(blob + 16);
  const [hashes, count, end] = [16, 28, 32].map((offset) => file.readUInt32BE(directory + offset));
  const [length, page] = [file.readUInt8(directory + 36), 2 ** file.readUInt8(directory + 39)];
  return Array.from({ length: count }, (_, index) => {
    const content = file.subarray(index * page, Math.min((index + 1) * page, end));
    const at = directory + hashes + index * length;
    return createHash('sha256')
      .update(content)
      .digest()
      .equals(file.subarray(at, at + length));
  }).every(Boolean);
}
