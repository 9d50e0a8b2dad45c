// The server behind format.mjs: one JSON document in, one out, for each connection.
import { createServer } from 'node:net';
import { json } from 'node:stream/consumers';
import { daemonize } from 'daemonry';

const name = process.env.FORMAT_NAME ?? 'format';
const idleTimeout = Number(process.env.FORMAT_IDLE ?? 600_000);

daemonize({ name, idleTimeout }, async (daemon) => {
  const prettier = await import('prettier'); // the slow part, which later calls are spared
  const server = createServer({ allowHalfOpen: true }, async (connection) => {
    connection.on('error', () => {}); // a caller that has gone needs no answer
    const request = json(connection.iterator({ destroyOnReturn: false })); // which leaves the way back open
    connection.end(JSON.stringify(await request.then(format).catch(({ message }) => ({ error: message }))));
  });
  const format = async ({ file, source }) => {
    const options = await prettier.resolveConfig(file, { useCache: false });
    return { formatted: await prettier.format(source, { ...options, filepath: file }) };
  };
  await daemon.listen(server);
});
