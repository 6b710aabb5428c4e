import { connect, type Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';

/** Where a connection's server is, and what names the connection there. */
export interface CancelTarget {
  /** Host name, or the folder of the Unix socket. */
  readonly host: string;
  readonly port: number;
  /** As the connection itself has it. */
  readonly ssl: boolean | ConnectionOptions | undefined;
  readonly processId: number;
  readonly secretKey: number;
}

const CANCEL_REQUEST = 80_877_102;
const SSL_REQUEST = 80_877_103;

/**
 * Asks Postgres to end the statement that a connection runs, on a connection of the request's own that needs no place
 * among `max_connections`. Resolves when the server has passed it on, so that what is sent on the connection
 * afterwards is not hit by it. Rejects when the server cannot be reached within `withinMs`. See "Canceling Requests in
 * Progress" in the protocol's documentation.
 */
export async function requestCancel(target: CancelTarget, withinMs: number): Promise<void> {
  const { host, port, ssl } = target;
  const socket = host.startsWith('/') ? connect(`${host}/.s.PGSQL.${port}`) : connect(port, host);
  socket.setTimeout(withinMs, () => socket.destroy(new Error(`no answer within ${withinMs} ms`)));
  try {
    await once(socket, 'connect');
    const line = ssl === undefined || ssl === false ? socket : await encrypted(socket, host, ssl);
    const closed = once(line, 'close');
    line.resume();
    line.write(words(16, CANCEL_REQUEST, target.processId, target.secretKey));
    await closed;
  } finally {
    socket.destroy();
  }
}

async function encrypted(socket: Socket, host: string, ssl: true | ConnectionOptions): Promise<Socket> {
  socket.write(words(8, SSL_REQUEST));
  const answer = await new Promise<Buffer>((resolve, reject) => {
    socket.once('data', resolve);
    socket.once('error', reject);
  });
  if (answer.toString('latin1') !== 'S') throw new Error('the server takes no encrypted connection');
  const line = connectTls({ ...(ssl === true ? {} : ssl), socket, servername: host });
  await once(line, 'secureConnect');
  return line;
}

function once(socket: Socket, event: 'connect' | 'secureConnect' | 'close'): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once(event, () => resolve());
    socket.once('error', reject);
  });
}

function words(...numbers: readonly number[]): Buffer {
  const buffer = Buffer.alloc(numbers.length * 4);
  // The key is signed, the rest is small.
  for (const [index, number] of numbers.entries()) buffer.writeInt32BE(number | 0, index * 4);
  return buffer;
}
