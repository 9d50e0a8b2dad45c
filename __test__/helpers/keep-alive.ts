/** Clients that use their connections again and again, as browsers, proxies and HTTP libraries do. */
import { Agent, request } from 'node:http';

/** What became of the requests of some clients while the server stopped. */
export interface Outcome {
  readonly answered: number;
  /** Error codes of the requests that got no answer: without `over`, of those on a connection that had answered before. */
  readonly lost: readonly string[];
}

/**
 * `count` clients, each with one connection, ask on as fast as they are answered until nobody listens any more. Every second
 * request has a body.
 * @param over if given, they ask until then, and every request that fails is lost
 */
export async function keepAsking(port: number, count: number, over?: AbortSignal): Promise<Outcome> {
  let answered = 0;
  const lost: string[] = [];
  const client = async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    for (let turn = 0; ; turn += 1) {
      if (over?.aborted === true) break;
      const outcome = await ask(agent, port, turn % 2 === 1);
      if (outcome.code === undefined) answered += 1;
      else if (outcome.reused || over !== undefined) lost.push(outcome.code);
      else break;
    }
    agent.destroy();
  };
  await Promise.all(Array.from({ length: count }, client));
  return { answered, lost };
}

function ask(agent: Agent, port: number, hasBody: boolean): Promise<{ code?: string; reused: boolean }> {
  return new Promise((resolve) => {
    const asked = request({ host: '127.0.0.1', port, agent, method: hasBody ? 'POST' : 'GET' }, (response) => {
      response.on('error', ({ code }: NodeJS.ErrnoException) =>
        resolve({ code: code ?? 'error', reused: asked.reusedSocket }),
      );
      response.on('end', () => resolve({ reused: asked.reusedSocket })).resume();
    });
    asked.on('error', ({ code }: NodeJS.ErrnoException) =>
      resolve({ code: code ?? 'error', reused: asked.reusedSocket }),
    );
    asked.end(hasBody ? 'x'.repeat(2000) : undefined);
  });
}
