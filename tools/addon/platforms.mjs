// The platforms that daemonry is built for, from the targets in package.json, which is the one place that names them.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));

const { napi } = JSON.parse(readFileSync(`${root}package.json`, 'utf8'));
const architectures = { x86_64: 'x64', aarch64: 'arm64' };

/** Each as Rust, Node.js and npm name it, and where build-target puts its addon and its command. */
export const platforms = napi.targets.map((target) => {
  const [machine, , os, libc] = target.split('-');
  const name = [os, architectures[machine], libc].filter(Boolean).join('-');
  const folder = `${root}target/binaries/${name}`;
  return {
    target,
    name,
    os,
    arch: architectures[machine],
    libc,
    addon: `${folder}/${napi.binaryName}.${name}.node`,
    command: `${folder}/${napi.binaryName}`,
  };
});
