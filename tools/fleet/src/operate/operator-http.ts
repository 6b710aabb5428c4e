import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { FlotillaError } from '@flotilla/kernel';
import type { OperatorAnswer } from './operator-api.ts';

export interface OperatorHttpOptions {
  /** The address to listen on; anything but loopback belongs behind something that encrypts. */
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** What callers show as `Authorization: Bearer ...`. */
  readonly token: string;
  readonly act: (request: unknown) => Promise<OperatorAnswer>;
}

/** Where acts on dead letters are asked for over HTTP. */
export const OPERATOR_PATH = '/v1/dead-letters';

/** The variable with the token of operators, for deployments. */
export const OPERATOR_TOKEN = 'OPERATOR_TOKEN';

/** An edited body may be as large as a message. */
const MAX_BODY_BYTES = 2 * 1024 ** 2;
const BODY_WITHIN_MS = 10_000;

const STATUS: Readonly<Record<string, number>> = {
  INVALID_OPERATOR_REQUEST: 400,
  UNAUTHORISED: 401,
  DEAD_LETTER_NOT_FOUND: 404,
  NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  BODY_TOO_LARGE: 413,
  OVERLOADED: 503,
};

/** The acts of operators for `curl`: the same requests and answers as on NATS, and the same record of them. */
export class OperatorHttp {
  readonly #options: OperatorHttpOptions;
  readonly #server: Server;

  constructor(options: OperatorHttpOptions) {
    this.#options = options;
    this.#server = createServer((request, response) => void this.#handle(request, response));
    this.#server.requestTimeout = BODY_WITHIN_MS;
    this.#server.headersTimeout = BODY_WITHIN_MS;
  }

  /** Where it listens. */
  get url(): string {
    const { address, port } = this.#server.address() as AddressInfo;
    return `http://${address.includes(':') ? `[${address}]` : address}:${port}`;
  }

  async start(): Promise<void> {
    const { host, port } = this.#options;
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(port, host, resolve);
    });
  }

  /** Takes no more, and waits for what runs. */
  async stop(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    await closed;
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let answer: OperatorAnswer;
    try {
      answer = await this.#answer(request);
    } catch (error) {
      // The caller is gone, or sends no body: nobody reads what is said.
      answer = failed('INVALID_OPERATOR_REQUEST', `The request cannot be read: ${String(error)}`);
    }
    const { code } = answer.body as { readonly code?: string };
    const ok = answer.outcome === 'ok';
    // What the service or its state refuses is a conflict.
    const status = ok ? 200 : (STATUS[code ?? ''] ?? 409);
    response.writeHead(status, {
      'content-type': ok ? 'application/json' : 'application/problem+json',
      'cache-control': 'no-store',
      ...(status === 401 && { 'www-authenticate': 'Bearer' }),
      ...(status === 405 && { allow: 'POST' }),
      ...(status === 503 && { 'retry-after': '1' }),
      // What was not read of a body must not be taken for the next request.
      ...(!request.complete && { connection: 'close' }),
    });
    const body = ok ? answer.body : { title: code, status, ...(answer.body as object) };
    response.end(`${JSON.stringify(body)}\n`);
  }

  async #answer(request: IncomingMessage): Promise<OperatorAnswer> {
    const path = request.url?.split('?')[0];
    if (path === '/health/live') return { outcome: 'ok', body: { status: 'ok' } };
    if (path !== OPERATOR_PATH) return failed('NOT_FOUND', `There is only POST ${OPERATOR_PATH}`);
    if (request.method !== 'POST') return failed('METHOD_NOT_ALLOWED', `Use POST ${OPERATOR_PATH}`);
    if (!this.#mayAct(request.headers.authorization))
      return failed('UNAUTHORISED', 'Show the token of operators as "Authorization: Bearer ..."');
    const text = await bodyOf(request);
    if (text === undefined) return failed('BODY_TOO_LARGE', `A request has at most ${MAX_BODY_BYTES} bytes`);
    let asked: unknown;
    try {
      asked = JSON.parse(text);
    } catch {
      return failed('INVALID_OPERATOR_REQUEST', 'The request is not valid: it is no JSON');
    }
    return this.#options.act(asked);
  }

  #mayAct(authorization: string | undefined): boolean {
    const shown = /^Bearer (\S+)$/i.exec(authorization ?? '')?.[1];
    return shown !== undefined && timingSafeEqual(digest(shown), digest(this.#options.token));
  }
}

/** Thrown when operators' acts are to be offered without a token that keeps others out. Code `OPERATOR_TOKEN_MISSING`. */
export class OperatorTokenMissingError extends FlotillaError {
  constructor() {
    super(
      'OPERATOR_TOKEN_MISSING',
      `Set ${OPERATOR_TOKEN} (or ${OPERATOR_TOKEN}_FILE) to at least 16 characters: whoever shows it may replay and drop dead letters`,
      { retry: 'never' },
    );
  }
}

async function bodyOf(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function failed(code: string, message: string): OperatorAnswer {
  return { outcome: 'failed', body: { code, message } };
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
