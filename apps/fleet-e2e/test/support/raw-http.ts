import { Agent, request } from 'node:http';
import type { Answer } from './openapi.ts';

export interface RawRequest {
  readonly method: string;
  /** As it goes over the wire: nothing is escaped or put right. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: string | undefined;
}

/** A client that sends what it is told, as `fetch` would not: broken escapes, repeated headers, any body. */
export class RawHttp implements Disposable {
  readonly #url: URL;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 32 });

  constructor(url: string) {
    this.#url = new URL(url);
  }

  /** The answer; of an event stream only its head. */
  send({ method, path, headers, body }: RawRequest): Promise<Answer> {
    const { hostname, port } = this.#url;
    return new Promise((resolve, reject) => {
      const sent = request(
        {
          agent: this.#agent,
          hostname,
          port,
          method,
          path,
          headers: headers as Record<string, string | string[]>,
          timeout: 30_000,
        },
        (response) => {
          const contentType = response.headers['content-type'];
          const status = response.statusCode ?? 0;
          if (contentType?.startsWith('text/event-stream')) {
            resolve({ status, contentType, text: '' });
            response.destroy();
            return;
          }
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('end', () =>
            resolve({ status, contentType, text: Buffer.concat(chunks).toString('utf8') }),
          );
          response.on('error', reject);
        },
      );
      sent.on('timeout', () => sent.destroy(new Error(`${method} ${path} was not answered within 30 s`)));
      sent.on('error', reject);
      sent.end(body);
    });
  }

  /** The request as a command line, to send it again. */
  curl({ method, path, headers, body }: RawRequest): string {
    const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;
    const lines = Object.entries(headers).flatMap(([name, value]) =>
      [value].flat().map((each) => `${name}: ${each}`),
    );
    return [
      `curl -i --path-as-is -X ${method} ${quoted(new URL('/', this.#url).href.slice(0, -1) + path)}`,
      ...lines.map((line) => `-H ${quoted(line)}`),
      ...(body === undefined ? [] : [`--data-binary ${quoted(body)}`]),
    ].join(' ');
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }
}
