// Reads what an addon's file says about itself, without tools of its platform: ELF and Mach-O, 64 bits, little-endian.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

/**
 * @typedef {object} Binary
 * @property {'linux' | 'darwin'} os
 * @property {'x64' | 'arm64'} arch as Node.js names them
 * @property {boolean} isLibrary whether it is a library (a shared object, a bundle) and no program
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
  const magic = file.readUInt32LE(0);
  if (magic === 0x464c457f) return { ...elf(file), size: file.length };
  if (magic === 0xfeedfacf) return { ...machO(file), size: file.length };
  throw new Error(`${path} is neither ELF nor Mach-O`);
}

const architectures = { 62: 'x64', 183: 'arm64', 0x01000007: 'x64', 0x0100000c: 'arm64' };

const text = (file, at) => file.toString('latin1', at, file.indexOf(0, at));
const word = (file, at) => Number(file.readBigUInt64LE(at));

/** elf(5), and the Linux Standard Base for the versions. */
function elf(file) {
  const [start, size, count] = [word(file, 40), file.readUInt16LE(58), file.readUInt16LE(60)];
  const sections = Array.from({ length: count }, (_, index) => {
    const at = start + index * size;
    return {
      type: file.readUInt32LE(at + 4),
      offset: word(file, at + 24),
      size: word(file, at + 32),
      link: file.readUInt32LE(at + 40),
      info: file.readUInt32LE(at + 44),
    };
  });
  const section = (type) => sections.find((one) => one.type === type);
  const named = ({ link }, at) => text(file, sections[link].offset + at);
  /** Entries of one size, as offsets. */
  const entries = (one, length) =>
    Array.from({ length: Math.floor(one.size / length) }, (_, index) => one.offset + index * length);

  // A shared object with an interpreter is a program.
  const [segments, segmentSize, segmentCount] = [word(file, 32), file.readUInt16LE(54), file.readUInt16LE(56)];
  const hasInterpreter = Array.from({ length: segmentCount }, (_, index) =>
    file.readUInt32LE(segments + index * segmentSize),
  ).includes(3);

  const [dynamic, symbols, needed] = [section(6), section(11), section(0x6ffffffe)];
  const tags = entries(dynamic, 16).map((at) => [word(file, at), word(file, at + 8)]);
  const versions = {};
  let library = needed?.offset;
  for (let left = needed?.info ?? 0; left > 0; left--) {
    let at = library + file.readUInt32LE(library + 8);
    for (let more = file.readUInt16LE(library + 2); more > 0; more--) {
      const [family, version] = named(needed, file.readUInt32LE(at + 8)).split(/_(?=\d)/);
      if (version !== undefined && isNewer(version, versions[family])) versions[family] = version;
      at += file.readUInt32LE(at + 12);
    }
    library += file.readUInt32LE(library + 12);
  }
  return {
    os: 'linux',
    arch: architectures[file.readUInt16LE(18)],
    isLibrary: file.readUInt16LE(16) === 3 && !hasInterpreter,
    needs: tags.filter(([tag]) => tag === 1).map(([, at]) => named(dynamic, at)),
    exports: entries(symbols, 24)
      .filter((at) => file.readUInt16LE(at + 6) !== 0)
      .map((at) => named(symbols, file.readUInt32LE(at))),
    versions,
    staysLoaded: tags.some(([tag, flags]) => tag === 0x6ffffffb && (flags & 8) !== 0),
  };
}

/** `version`s are numbers with dots. */
export function isNewer(version, than = '0') {
  const [one, other] = [version, than].map((numbers) => numbers.split('.').map(Number));
  const place = one.findIndex((number, index) => number !== (other[index] ?? 0));
  return place !== -1 && one[place] > (other[place] ?? 0);
}

/** The header and load commands of <mach-o/loader.h>. */
function machO(file) {
  const [needs, exports] = [[], []];
  let [minimum, isSigned] = [undefined, false];
  let at = 32;
  for (let left = file.readUInt32LE(16); left > 0; left--) {
    const [command, length] = [file.readUInt32LE(at), file.readUInt32LE(at + 4)];
    // LC_LOAD_DYLIB, LC_CODE_SIGNATURE, LC_BUILD_VERSION, LC_SYMTAB.
    if (command === 0xc) needs.push(text(file, at + file.readUInt32LE(at + 8)));
    if (command === 0x1d) isSigned = isSignatureOf(file, file.readUInt32LE(at + 8));
    if (command === 0x32) minimum = `${file.readUInt16LE(at + 14)}.${file.readUInt8(at + 13)}`;
    if (command === 0x2) {
      const [symbols, count, strings] = [8, 12, 16].map((offset) => file.readUInt32LE(at + offset));
      for (let index = 0; index < count; index++) {
        const symbol = symbols + index * 16;
        // Defined in a section, for others to see.
        const isExport = (file.readUInt8(symbol + 4) & 0x1f) === 0xf;
        if (isExport) exports.push(text(file, strings + file.readUInt32LE(symbol)).replace(/^_/, ''));
      }
    }
    at += length;
  }
  return {
    os: 'darwin',
    arch: architectures[file.readUInt32LE(4)],
    // MH_DYLIB, MH_BUNDLE.
    isLibrary: [6, 8].includes(file.readUInt32LE(12)),
    needs,
    exports,
    versions: {},
    minimum,
    isSigned,
    // Thread-local destructors keep an image mapped there.
    staysLoaded: true,
  };
}

/** The hashes of all pages in the code directory of <Kernel/kern/cs_blobs.h>, which has them by SHA-256. */
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
