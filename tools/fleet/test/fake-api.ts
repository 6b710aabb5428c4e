import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface FakeOrder {
  readonly orderId: string;
  readonly total: number;
  readonly lines: unknown;
  status: string;
}

export interface FakeReturn {
  readonly returnId: string;
  readonly orderId: string;
  readonly lines: readonly { readonly sku: string; readonly quantity: number }[];
  status: string;
}

interface Answer {
  readonly status: number;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** The public API as far as an import uses it, in memory: what it was told, and what it is made to answer. */
export class FakeApi {
  readonly orders = new Map<string, FakeOrder>();
  readonly products = new Map<string, unknown>();
  readonly receipts = new Map<string, number>();
  readonly returns = new Map<string, FakeReturn>();
  readonly tokens = new Set<string>();
  /** Answers instead of the next request that `matches`; each is used once. */
  readonly interventions: { readonly matches: RegExp; readonly answer: Answer | 'hang up' }[] = [];
  requests = 0;
  /** What a new order becomes. */
  endAs: (reference: string) => string = () => 'completed';
  /** What a new return becomes. */
  endReturnAs = 'completed';
  readonly #server: Server;
  #port = 0;
  readonly #keys = new Map<string, string>();

  private constructor() {
    this.#server = createServer((request, response) => void this.#serve(request, response));
  }

  static async start(): Promise<FakeApi> {
    const api = new FakeApi();
    await api.listen();
    return api;
  }

  /** Also again, on the same port, after it was stopped. */
  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(this.#port, '127.0.0.1', resolve));
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.requests += 1;
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString('utf8');
    const answer = this.#answer(
      request,
      text === '' ? undefined : (JSON.parse(text) as Record<string, unknown>),
    );
    if (answer === 'hang up') {
      request.socket.destroy();
      return;
    }
    response.writeHead(answer.status, { 'content-type': 'application/json', ...answer.headers });
    response.end(answer.body === undefined ? undefined : JSON.stringify(answer.body));
  }

  #answer(request: IncomingMessage, body: Record<string, unknown> | undefined): Answer | 'hang up' {
    const { method = '', url = '', headers } = request;
    const at = this.interventions.findIndex(({ matches }) => matches.test(`${method} ${url}`));
    if (at !== -1) return this.interventions.splice(at, 1)[0]?.answer ?? { status: 500 };
    const path = url.split('?')[0] ?? '';
    if (path === '/v1/auth/token') {
      const token = `token-${this.tokens.size + 1}`;
      this.tokens.add(token);
      return { status: 200, body: { access_token: token } };
    }
    if (!this.tokens.has((headers.authorization ?? '').replace('Bearer ', ''))) return { status: 401 };
    const [, , kind, id = ''] = path.split('/').map(decodeURIComponent);
    if (method === 'PUT') {
      this.products.set(id, { sku: id, ...body });
      return { status: 200, body: { sku: id } };
    }
    if (method === 'GET' && kind === 'products')
      return { status: 200, body: { products: [...this.products.values()] } };
    if (method === 'GET' && path.endsWith('/returns')) return this.#returnsOf(id);
    if (method === 'GET') return this.#list(new URLSearchParams(url.split('?')[1]));
    const key = String(headers['idempotency-key']);
    const replayed: Record<string, string> = this.#keys.has(key) ? { 'idempotency-replayed': 'true' } : {};
    if (kind === 'stock') {
      if (!this.#keys.has(key))
        this.receipts.set(id, (this.receipts.get(id) ?? 0) + Number(body?.['quantity']));
      this.#keys.set(key, id);
      return { status: 200, headers: replayed };
    }
    if (path.endsWith('/review')) {
      const order = this.orders.get(id);
      if (order?.status !== 'awaiting_review') return { status: 409 };
      order.status = 'completed';
      return { status: 202, body: {} };
    }
    if (path.endsWith('/returns')) {
      const returnId = this.#keys.get(key) ?? `return-${this.returns.size + 1}`;
      this.#keys.set(key, returnId);
      const lines = body?.['lines'] as FakeReturn['lines'];
      if (!this.returns.has(returnId)) {
        this.returns.set(returnId, { returnId, orderId: id, lines, status: this.endReturnAs });
      }
      return { status: 202, body: { orderId: id, returnId, status: 'requested' }, headers: replayed };
    }
    const orderId = this.#keys.get(key) ?? `order-${this.orders.size + 1}`;
    this.#keys.set(key, orderId);
    if (!this.orders.has(orderId)) this.orders.set(orderId, this.#placed(orderId, body ?? {}));
    return { status: 202, body: { orderId, status: 'pending' }, headers: replayed };
  }

  #placed(orderId: string, body: Record<string, unknown>): FakeOrder {
    const lines = body['lines'] as { quantity: number; unitPrice: { amount: string } }[];
    const total = lines.reduce(
      (sum, { quantity, unitPrice }) => sum + quantity * Math.round(Number(unitPrice.amount) * 100),
      0,
    );
    return { orderId, total, lines, status: this.endAs(String(body['reference'])) };
  }

  /** Every piece is worth 1.50. */
  #returnsOf(orderId: string): Answer {
    const returns = [...this.returns.values()]
      .filter((each) => each.orderId === orderId)
      .map(({ returnId, status, lines }) => {
        const pieces = lines.reduce((sum, { quantity }) => sum + quantity, 0);
        return { returnId, status, refund: { amount: (pieces * 1.5).toFixed(2), currency: 'GBP' } };
      });
    return { status: 200, body: { returns } };
  }

  /** The newest first, two a page. */
  #list(query: URLSearchParams): Answer {
    const from = Number(query.get('cursor') ?? 0);
    const all = [...this.orders.values()].reverse();
    const orders = all.slice(from, from + 2).map(({ orderId, status, total }) => {
      const amount = (total / 100).toFixed(2);
      const captured = status === 'completed' ? amount : '0.00';
      return {
        orderId,
        status,
        total: { amount, currency: 'GBP' },
        payment: { captured: { amount: captured, currency: 'GBP' } },
        ...(status === 'rejected' && { rejectionReason: 'out_of_stock' }),
      };
    });
    const next = from + 2 < all.length ? { nextCursor: String(from + 2) } : {};
    return { status: 200, body: { orders, ...next } };
  }
}
