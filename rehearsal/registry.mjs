/** A package registry of a few packages: what npm, pnpm and yarn ask of one to install from it, and no more. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { basename } from 'node:path';

/** Serves packages, each `{ manifest, tarball }`, and tells its address. */
export async function serveRegistry(packages) {
  const server = createServer(({ url }, response) => {
    const path = decodeURIComponent(new URL(url, 'http://localhost').pathname).slice(1);
    const asked = packages.find(({ manifest }) => manifest.name === path);
    const file = packages.find(({ tarball }) => basename(tarball) === basename(path));
    if (asked !== undefined) response.setHeader('content-type', 'application/json').end(JSON.stringify(about(asked)));
    else if (file !== undefined) response.end(readFileSync(file.tarball));
    else response.writeHead(404).end('{}');
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const address = `http://127.0.0.1:${server.address().port}/`;

  function about({ manifest, tarball }) {
    const integrity = `sha512-${createHash('sha512').update(readFileSync(tarball)).digest('base64')}`;
    const shasum = createHash('sha1').update(readFileSync(tarball)).digest('hex');
    const dist = { tarball: `${address}-/${basename(tarball)}`, integrity, shasum };
    const { name, version } = manifest;
    return { name, 'dist-tags': { latest: version }, versions: { [version]: { ...manifest, dist } } };
  }

  return { address, close: () => server.close() };
}
