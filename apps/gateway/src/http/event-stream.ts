import type { FastifyReply } from 'fastify';

/** How long a client waits before it connects again, in milliseconds. */
const RECONNECT_MS = 1_000;

/** What may wait for a client that does not read, in bytes; then its connection is cut, and it resumes. */
const MAX_UNREAD_BYTES = 65_536;

export interface StreamEvent {
  /** What the client sends back as `Last-Event-ID`. */
  readonly id: number;
  readonly name: string;
  readonly data: unknown;
}

/** An answer that stays open: server-sent events (HTML Living Standard, section 9.2). */
export class EventStream {
  readonly #reply: FastifyReply;

  constructor(reply: FastifyReply) {
    this.#reply = reply;
  }

  open(): void {
    this.#reply.hijack();
    // What hooks have set: the correlation id, rate limits.
    for (const [name, value] of Object.entries(this.#reply.getHeaders())) {
      if (value !== undefined) this.#reply.raw.setHeader(name, value);
    }
    this.#reply.raw.writeHead(200, { 'content-type': 'text/event-stream', 'x-accel-buffering': 'no' });
    this.#reply.raw.write(`retry: ${RECONNECT_MS}\n\n`);
  }

  send({ id, name, data }: StreamEvent): void {
    this.#write(`id: ${id}\nevent: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
  }

  comment(text: string): void {
    this.#write(`: ${text}\n\n`);
  }

  end(): void {
    this.#reply.raw.end();
  }

  #write(text: string): void {
    const { raw } = this.#reply;
    raw.write(text);
    if (raw.writableLength > MAX_UNREAD_BYTES) raw.destroy();
  }
}
