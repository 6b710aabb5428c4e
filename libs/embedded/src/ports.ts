import { createServer } from 'node:net';
import { errorCode } from '@flotilla/kernel';
import { PortBusyError } from './errors.ts';

/** The only address the embedded servers listen on. */
export const loopback = '127.0.0.1';

/**
 * A port of the loopback address that nothing listened on a moment ago. Another process may take it before
 * you do: a caller that needs certainty tries again when its server reports `PORT_BUSY`.
 */
export async function freePort(): Promise<number> {
  return probe(0);
}

/** Throws {@link PortBusyError} when something listens on the port; `what` names who needs it. */
export async function assertPortFree(port: number, what: string): Promise<void> {
  try {
    await probe(port);
  } catch (error) {
    if (errorCode(error) === 'EADDRINUSE') throw new PortBusyError(port, what, { cause: error });
    throw error;
  }
}

function probe(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ port, host: loopback, exclusive: true }, () => {
      const address = server.address();
      server.close(() => {
        if (address === null || typeof address === 'string') reject(new Error('no TCP address was bound'));
        else resolve(address.port);
      });
    });
  });
}
