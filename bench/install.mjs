/** Installs the peers, those from npm into this folder and those from Debian into the machine, and tells which are there. */
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));

/** Undefined if it worked, else why it did not: what it said last. */
function failureOf(command, args) {
  const { status, error, stdout, stderr } = spawnSync(command, args, { cwd: here, encoding: 'utf8' });
  if (status === 0) return undefined;
  return error?.message ?? `${stdout}${stderr}`.trim().split('\n').at(-1);
}

const versionInNpm = (name) => JSON.parse(readFileSync(`${here}node_modules/${name}/package.json`, 'utf8')).version;
const versionInDebian = (name) => execFileSync('dpkg-query', ['-W', '-f', '${Version}', name], { encoding: 'utf8' });

/** The peers, each with its `version`, or with the reason why it is `missing`. */
export function install(peers) {
  const npmFailure = failureOf('npm', ['install', '--loglevel=error']);
  return peers.map((peer) => {
    const missing = peer.npm === undefined ? failureOf('../tools/machine/install-debian', [peer.debian]) : npmFailure;
    if (missing !== undefined) return { ...peer, missing };
    return { ...peer, version: peer.npm === undefined ? versionInDebian(peer.debian) : versionInNpm(peer.npm) };
  });
}

/** The folders of all packages that the programs import, by their names. */
export function packages(peers) {
  const installed = peers.filter(({ npm, missing }) => npm !== undefined && missing === undefined);
  return new Map([['daemonry', `${here}..`], ...installed.map(({ npm }) => [npm, `${here}node_modules/${npm}`])]);
}
