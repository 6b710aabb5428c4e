import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as SecureAgent, request as httpsRequest } from 'node:https';
import { backoffDelayMs, errorCode, errorMessage, systemClock, type Clock } from '@flotilla/kernel';
import { ApiRefusedError, ApiUnavailableError } from './import.errors.ts';

export interface ApiRequest {
  readonly method: 'GET' | 'POST' | 'PUT';
  /** From the root, such as `/v1/orders`. */
  readonly path: string;
  readonly body?: unknown;
  readonly idempotencyKey?: string;
}

export interface ApiAnswer {
  readonly status: number;
  /** Parsed JSON; undefined when there is none. */
  readonly body: unknown;
  /** The answer is the one of an earlier request with this idempotency key. */
  readonly replayed: boolean;
}

export interface ApiClientOptions {
  readonly url: string;
  /** Connections kept open, and so requests in flight, at most. */
  readonly connections: number;
  /** Gives a bearer token; asked again when the API does not accept the one before. */
  readonly authenticate: (client: ApiClient) => Promise<string>;
  /** How long one request is tried while the API is away or busy, in milliseconds. Default 120,000. */
  readonly patienceMs?: number;
  readonly clock?: Clock;
}

interface RawAnswer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
}

const RESPONSE_TIMEOUT_MS = 30_000;

/**
 * A client of the public API that is cheap on the CPU (kept connections, no more than `connections` in flight) and
 * stubborn: what is busy, restarting or gone is asked again until its patience ends. Every request can be repeated
 * without harm: GET and PUT by nature, POST by its idempotency key.
 */
export class ApiClient {
  readonly #url: URL;
  readonly #agent: Agent;
  readonly #request: typeof httpRequest;
  readonly #options: ApiClientOptions;
  readonly #clock: Clock;
  readonly #patienceMs: number;
  #token: Promise<string> | undefined;
  /** Requests that had to be tried again. */
  retries = 0;

  constructor(options: ApiClientOptions) {
    this.#options = options;
    this.#url = new URL(options.url);
    const secure = this.#url.protocol === 'https:';
    const agentOptions = { keepAlive: true, maxSockets: options.connections, scheduling: 'lifo' as const };
    this.#agent = secure ? new SecureAgent(agentOptions) : new Agent(agentOptions);
    this.#request = secure ? httpsRequest : httpRequest;
    this.#clock = options.clock ?? systemClock;
    this.#patienceMs = options.patienceMs ?? 120_000;
  }

  close(): void {
    this.#agent.destroy();
  }

  /** Sends with the bearer token. Throws {@link ApiRefusedError} on a final refusal. */
  async send(request: ApiRequest): Promise<ApiAnswer> {
    for (let renewed = false; ; renewed = true) {
      this.#token ??= this.#options.authenticate(this);
      const token = this.#token;
      const answer = await this.#untilAnswered(request, { authorization: `Bearer ${await token}` });
      if (answer.status === 401 && !renewed) {
        // Expired, or signed by an issuer that has restarted. Others may have seen it first.
        if (this.#token === token) this.#token = undefined;
        continue;
      }
      return checked(request, answer);
    }
  }

  /** Sends without a token. */
  async sendAnonymously(
    request: ApiRequest,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<ApiAnswer> {
    return checked(request, await this.#untilAnswered(request, headers));
  }

  async #untilAnswered(request: ApiRequest, headers: Readonly<Record<string, string>>): Promise<RawAnswer> {
    const start = this.#clock.monotonicMs();
    for (let attempt = 1; ; attempt++) {
      let reason: string;
      let cause: unknown;
      let waitMs = backoffDelayMs(attempt, { initialMs: 100, maxMs: 5_000 });
      try {
        const answer = await this.#once(request, headers);
        if (!isTransient(answer)) return answer;
        reason = `it answers ${answer.status} (${problemOf(answer).detail})`;
        waitMs = Math.max(waitMs, retryAfterMs(answer.headers['retry-after'], this.#clock.now()));
      } catch (error) {
        reason = `${errorCode(error)} ${errorMessage(error)}`;
        cause = error;
      }
      this.retries += 1;
      const forMs = this.#clock.monotonicMs() - start;
      if (forMs + waitMs > this.#patienceMs) {
        throw new ApiUnavailableError(
          `${request.method} ${this.#url.origin}${request.path}`,
          reason,
          forMs,
          cause,
        );
      }
      await this.#clock.sleep(waitMs);
    }
  }

  #once(
    { method, path, body, idempotencyKey }: ApiRequest,
    headers: Readonly<Record<string, string>>,
  ): Promise<RawAnswer> {
    const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    return new Promise((resolve, reject) => {
      const outgoing = this.#request(
        {
          protocol: this.#url.protocol,
          hostname: this.#url.hostname,
          port: this.#url.port,
          agent: this.#agent,
          method,
          path,
          timeout: RESPONSE_TIMEOUT_MS,
          headers: {
            accept: 'application/json',
            ...headers,
            ...(idempotencyKey !== undefined && { 'idempotency-key': idempotencyKey }),
            ...(payload && { 'content-type': 'application/json', 'content-length': payload.length }),
          },
        },
        (incoming) => {
          const chunks: Buffer[] = [];
          incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
          incoming.on('error', reject);
          incoming.on('end', () =>
            resolve({
              status: incoming.statusCode ?? 0,
              headers: incoming.headers,
              text: Buffer.concat(chunks).toString('utf8'),
            }),
          );
        },
      );
      outgoing.on('timeout', () =>
        outgoing.destroy(new Error(`no answer within ${RESPONSE_TIMEOUT_MS / 1_000} s`)),
      );
      outgoing.on('error', reject);
      outgoing.end(payload);
    });
  }
}

/** Whether asking again later can help: busy, restarting, or another request with the key is still under way. */
function isTransient({ status, headers }: RawAnswer): boolean {
  return status === 429 || status >= 500 || (status === 409 && headers['retry-after'] !== undefined);
}

/** `Retry-After` in seconds or as a date, in milliseconds from now. */
function retryAfterMs(header: string | undefined, now: number): number {
  if (header === undefined) return 0;
  const seconds = Number(header);
  const ms = Number.isNaN(seconds) ? Date.parse(header) - now : seconds * 1_000;
  return Number.isNaN(ms) ? 0 : Math.max(0, ms);
}

function checked({ method, path }: ApiRequest, answer: RawAnswer): ApiAnswer {
  if (answer.status >= 400) {
    const { problem, detail } = problemOf(answer);
    throw new ApiRefusedError(`${method} ${path}`, answer.status, problem, detail);
  }
  return {
    status: answer.status,
    body: parseJson(answer.text),
    replayed: answer.headers['idempotency-replayed'] === 'true',
  };
}

/** Reads an RFC 9457 problem, or what else there is. */
function problemOf({ text }: RawAnswer): { problem: string; detail: string } {
  const body = parseJson(text);
  if (typeof body !== 'object' || body === null) return { problem: '', detail: text.slice(0, 300) };
  const field = (name: string): string | undefined => {
    const value = (body as Record<string, unknown>)[name];
    return typeof value === 'string' ? value : undefined;
  };
  return {
    problem: field('code') ?? field('type') ?? field('title') ?? '',
    detail: field('detail') ?? field('title') ?? field('message') ?? text.slice(0, 300),
  };
}

function parseJson(text: string): unknown {
  if (text === '') return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // not from the API itself, as a proxy's error page
  }
}
