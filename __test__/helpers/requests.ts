/** Requests to a service, and what becomes of them while it is restarted. */
import { once } from 'node:events';
import { get } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';

/** A port on which nobody listens now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** What the service answers; each request on a connection of its own. */
export async function ask(port: number, path = '/'): Promise<string> {
  const request = get({ host: '127.0.0.1', port, path, agent: false, timeout: 20_000 });
  request.on('timeout', () => request.destroy(new Error('no answer')));
  const [response] = await once(request, 'response');
  let body = '';
  for await (const chunk of response) body += chunk;
  return body;
}

/** The same of a service that answers in JSON. */
export async function askJson(port: number, path = '/'): Promise<Record<string, unknown>> {
  return JSON.parse(await ask(port, path)) as Record<string, unknown>;
}

/** Keeps asking, four at a time, while `work` goes on. */
export async function underLoad(port: number, work: () => Promise<unknown>) {
  const over = new AbortController();
  const answers: Record<string, unknown>[] = [];
  const lost: string[] = [];
  const askOn = async () => {
    while (!over.signal.aborted) {
      try {
        answers.push(await askJson(port, '/?wait=5'));
      } catch (error) {
        lost.push(String((error as NodeJS.ErrnoException).code ?? error));
      }
    }
  };
  const askers = [askOn(), askOn(), askOn(), askOn()];
  try {
    await work();
  } finally {
    over.abort();
    await Promise.all(askers);
  }
  return { answered: answers.length, pids: new Set(answers.map(({ pid }) => pid)), lost };
}
