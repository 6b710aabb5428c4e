import { randomBytes } from 'node:crypto';
import { createServer, get, type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { loopback } from '@flotilla/embedded';
import { FlotillaError, errorMessage } from '@flotilla/kernel';
import type { ServerHost } from './server-host.ts';

/** Which of the shared servers. */
export type ServerKind = 'nats' | 'postgres';

/** Thrown when the process that keeps the shared servers could not start one. Code `TEST_SERVER_UNAVAILABLE`. */
export class TestServerUnavailableError extends FlotillaError {
  constructor(message: string, cause?: unknown) {
    super('TEST_SERVER_UNAVAILABLE', message, { cause });
  }
}

export interface ServerDesk {
  /** Where {@link askDesk} asks; holds a secret, so that only this run's processes can. */
  readonly url: string;
  close(): Promise<void>;
}

/**
 * Gives out the addresses of a host's servers to other processes, over HTTP on the loopback address: Jest's
 * workers ask its main process, so that a run without integration tests starts no server at all.
 */
export async function openDesk(host: ServerHost): Promise<ServerDesk> {
  const secret = randomBytes(16).toString('hex');
  const start: Record<string, () => Promise<string>> = {
    [`/${secret}/nats`]: () => host.natsUrl(),
    [`/${secret}/postgres`]: () => host.postgresUrl(),
  };
  const server = createServer((request, response) => {
    const answer = start[request.url ?? ''];
    if (answer === undefined) {
      response.writeHead(404).end('no such server');
      return;
    }
    answer().then(
      (url) => response.end(url),
      (error: unknown) => response.writeHead(500).end(errorMessage(error)),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, loopback, resolve);
  });
  const address = server.address();
  if (address === null || typeof address === 'string')
    throw new TestServerUnavailableError('no TCP address was bound');
  server.unref();
  return {
    url: `http://${loopback}:${address.port}/${secret}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Asks the process that keeps the shared servers for the address of one, which starts it if need be. */
export async function askDesk(deskUrl: string, kind: ServerKind): Promise<string> {
  let response: IncomingMessage;
  try {
    response = await new Promise((resolve, reject) => {
      // No agent: a connection kept open would look like a leak of the test.
      const request = get(`${deskUrl}/${kind}`, { agent: false, timeout: 240_000 }, resolve);
      request.once('timeout', () => request.destroy(new Error('no answer within 240 s')));
      request.once('error', reject);
    });
  } catch (error) {
    throw new TestServerUnavailableError(`no ${kind} server: ${errorMessage(error)}`, error);
  }
  const body = await text(response);
  if (response.statusCode !== 200) throw new TestServerUnavailableError(`no ${kind} server: ${body}`);
  return body;
}
