#!/usr/bin/env node
// Formats a file, or standard input as if it were that file: format.mjs [--stdin] FILE. The work is done by a server (server.mjs)
// that the first call starts and later calls find; FORMAT_NAME and FORMAT_IDLE (ms) change its name and when it is idle.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { json, text } from 'node:stream/consumers';
import { connectDaemon } from 'daemonry';

const [fromStdin, file = fromStdin] = process.argv.slice(2);
if (file === undefined) {
  console.error('usage: format.mjs [--stdin] FILE');
  process.exit(2);
}
process.stdout.on('error', () => process.exit(1)); // whoever read it has gone, as head does
try {
  const source = fromStdin === '--stdin' ? await text(process.stdin) : readFileSync(file, 'utf8');
  const connection = await connectDaemon(process.execPath, [`${import.meta.dirname}/server.mjs`], {
    name: process.env.FORMAT_NAME ?? 'format',
    version: process.env.FORMAT_VERSION ?? '1.0.0', // raised with every release, so that an upgrade replaces the server
  });
  connection.end(JSON.stringify({ file: resolve(file), source }));
  const { formatted, error } = await json(connection);
  if (error !== undefined) throw new Error(error);
  process.stdout.write(formatted);
} catch ({ message }) {
  console.error(`format: ${message}`);
  process.exitCode = 2;
}
