/** A package registry that starts empty: what npm, pnpm and yarn ask of one to publish to it and to install from it, and no more. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import { json } from 'node:stream/consumers';

/** Serves, and tells its address, the .npmrc of whoever publishes to it, and the names of what was published, in that order. */
export async function serveRegistry() {
  const published = [];
  const packages = new Map();
  const tarballs = new Map();
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, 'http://localhost').pathname).slice(1);
    if (request.method === 'PUT') {
      const { _attachments: attachments, ...about } = await json(request);
      published.push(about.name);
      packages.set(about.name, about);
      for (const [file, { data }] of Object.entries(attachments))
        tarballs.set(`${about.name}/-/${file}`, Buffer.from(data, 'base64'));
      response.writeHead(201).end('{}');
    } else if (packages.has(path)) {
      response.setHeader('content-type', 'application/json').end(JSON.stringify(packages.get(path)));
    } else if (tarballs.has(path)) response.end(tarballs.get(path));
    else response.writeHead(404).end('{}');
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const place = `//127.0.0.1:${server.address().port}/`;
  const address = `http:${place}`;
  const npmrc = `registry=${address}\n${place}:_authToken=anything\n`;
  return { address, npmrc, published, close: () => server.close() };
}
