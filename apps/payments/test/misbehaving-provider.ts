import {
  PaymentProvider,
  type AuthoriseRequest,
  type ProviderAnswer,
  type RefundRequest,
  type SettleRequest,
} from '../src/provider/payment-provider.ts';

type Call = 'authorise' | 'capture' | 'void' | 'refund' | 'lookup' | 'cancel';

/**
 * What goes wrong with a call: `lost request` never reaches the provider; `lost answer` is decided there, but we
 * do not hear of it; `late request` waits on its way until {@link MisbehavingProvider.deliverLate}.
 */
export type Fault = 'lost request' | 'lost answer' | 'late request';

/** Stands between the service and the real sandbox provider, and is the network at its worst. */
export class MisbehavingProvider extends PaymentProvider {
  /** Every call that was made, in order. */
  readonly calls: { readonly call: Call; readonly key: string }[] = [];
  readonly #real: PaymentProvider;
  readonly #faults: {
    readonly call: Call;
    readonly orderId: string;
    readonly fault: Fault;
    times: number;
  }[] = [];
  readonly #late: (() => Promise<ProviderAnswer | undefined>)[] = [];

  constructor(real: PaymentProvider) {
    super();
    this.#real = real;
  }

  /** Makes the next calls about an order go wrong. */
  plan(orderId: string, call: Call, fault: Fault, times = 1): void {
    this.#faults.push({ call, orderId, fault, times });
  }

  /** Makes every call about an order go wrong until {@link heal}. */
  planOutage(orderId: string, fault: Fault = 'lost request'): void {
    for (const call of ['authorise', 'capture', 'void', 'refund', 'lookup', 'cancel'] as const) {
      this.plan(orderId, call, fault, Infinity);
    }
  }

  heal(): void {
    this.#faults.length = 0;
  }

  /** Lets the late requests arrive; returns what the provider says, or throws, and nobody hears any more. */
  deliverLate(): Promise<unknown[]> {
    return Promise.all(this.#late.splice(0).map((deliver) => deliver().catch((error: unknown) => error)));
  }

  override authorise(request: AuthoriseRequest, signal: AbortSignal): Promise<ProviderAnswer> {
    return this.#pass('authorise', request.key, signal, (each) => this.#real.authorise(request, each));
  }

  override capture(request: SettleRequest, signal: AbortSignal): Promise<ProviderAnswer> {
    return this.#pass('capture', request.key, signal, (each) => this.#real.capture(request, each));
  }

  override void(request: SettleRequest, signal: AbortSignal): Promise<ProviderAnswer> {
    return this.#pass('void', request.key, signal, (each) => this.#real.void(request, each));
  }

  override refund(request: RefundRequest, signal: AbortSignal): Promise<ProviderAnswer> {
    return this.#pass('refund', request.key, signal, (each) => this.#real.refund(request, each));
  }

  override lookup(key: string, signal: AbortSignal): Promise<ProviderAnswer | undefined> {
    return this.#pass('lookup', key, signal, (each) => this.#real.lookup(key, each));
  }

  override cancel(key: string, signal: AbortSignal): Promise<ProviderAnswer> {
    return this.#pass('cancel', key, signal, (each) => this.#real.cancel(key, each));
  }

  async #pass<A extends ProviderAnswer | undefined>(
    call: Call,
    key: string,
    signal: AbortSignal,
    forward: (signal: AbortSignal) => Promise<A>,
  ): Promise<A> {
    this.calls.push({ call, key });
    const planned = this.#faults.find(
      (each) => each.times > 0 && each.call === call && key.startsWith(each.orderId),
    );
    if (!planned) return forward(signal);
    planned.times -= 1;
    switch (planned.fault) {
      case 'lost request':
        throw new Error(`The request to ${call} ${key} got lost`);
      case 'lost answer':
        await forward(signal);
        throw new Error(`The answer to ${call} ${key} got lost`);
      case 'late request':
        return new Promise<A>((_, reject) => {
          this.#late.push(() => forward(new AbortController().signal));
          signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
        });
    }
  }
}
