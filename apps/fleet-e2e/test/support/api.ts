import { newId } from '@flotilla/kernel';
import { until } from '@flotilla/testing';

export interface ApiAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Record<string, unknown>;
}

export interface OrderBody {
  readonly orderId: string;
  readonly status: string;
  readonly rejectionReason?: string;
  readonly total: { readonly amount: string };
  readonly payment: Readonly<Record<'authorised' | 'captured' | 'refunded', { readonly amount: string }>>;
  readonly lines: readonly { readonly sku: string; readonly quantity: number; readonly returned?: number }[];
  readonly timeline: readonly { readonly event: string; readonly status: string; readonly detail?: string }[];
  readonly returns?: readonly { readonly returnId: string; readonly status: string }[];
}

const everything = [
  'orders:write',
  'orders:read',
  'orders:place-for-any',
  'orders:read-any',
  'orders:agree-price',
  'orders:review',
  'catalog:write',
  'stock:read',
  'stock:write',
].join(' ');

/** The public API as a client uses it. */
export class Api {
  readonly #url: string;
  readonly #token: string;

  private constructor(url: string, token: string) {
    this.#url = url;
    this.#token = token;
  }

  static async login(url: string, customerId = 'c-e2e', scope = everything): Promise<Api> {
    const response = await fetch(`${url}/v1/auth/token`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ customerId, scope }),
    });
    const { access_token } = (await response.json()) as { access_token: string };
    return new Api(url, access_token);
  }

  /** For a client of another kind. */
  get authorization(): string {
    return `Bearer ${this.#token}`;
  }

  async send(
    method: string,
    path: string,
    body?: unknown,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<ApiAnswer> {
    const response = await fetch(`${this.#url}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${this.#token}`,
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...(method === 'POST' && { 'idempotency-key': newId() }),
        ...headers,
      },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    return {
      status: response.status,
      headers: response.headers,
      body: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>),
    };
  }

  /** Defines a product and books stock for it. */
  async stock(sku: string, quantity: number, amount = '12.50'): Promise<void> {
    const price = { amount, currency: 'GBP' };
    const product = await this.send('PUT', `/v1/products/${sku}`, {
      name: `The ${sku}`,
      kind: 'stocked',
      price,
    });
    if (product.status !== 200) throw new Error(JSON.stringify(product.body));
    const receipt = await this.send('POST', `/v1/stock/${sku}/receipts`, { quantity });
    if (receipt.status !== 201) throw new Error(JSON.stringify(receipt.body));
  }

  place(
    sku: string,
    quantity: number,
    token = 'tok_ok',
    headers: Readonly<Record<string, string>> = {},
    name = 'Ada',
  ) {
    const body = {
      lines: [{ sku, quantity }],
      payment: { token },
      shipTo: { name, country: 'France' },
    };
    return this.send('POST', '/v1/orders', body, headers);
  }

  async order(orderId: unknown): Promise<OrderBody> {
    const { body } = await this.send('GET', `/v1/orders/${String(orderId)}`);
    return body as unknown as OrderBody;
  }

  /** Waits until the order has a status; returns it. */
  async becomes(orderId: unknown, status: string): Promise<OrderBody> {
    return until(
      async () => {
        const order = await this.order(orderId);
        return order.status === status ? order : undefined;
      },
      { timeoutMs: 60_000, intervalMs: 50, describe: `order ${String(orderId)} is ${status}` },
    );
  }
}
