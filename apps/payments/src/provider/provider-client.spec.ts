import { systemClock } from '@flotilla/kernel';
import { PolicyRegistry, type PolicyDependencies } from '@flotilla/resilience';
import { Logger } from '@nestjs/common';
import type { PaymentsConfig } from '../payments.config.ts';
import { PaymentProvider, type ProviderAnswer } from './payment-provider.ts';
import { ProviderClient, ProviderUnavailableError } from './provider-client.ts';

type Behaviour = ProviderAnswer | undefined | 'breaks' | 'hangs';

const authorised: ProviderAnswer = { outcome: 'authorised', reference: 'auth_1' };
const cancelled: ProviderAnswer = { outcome: 'cancelled' };
const unavailable = { outcome: 'declined', reason: 'provider_unavailable' };

/** Does what it is told, call by call, and writes down what it was asked. */
class ScriptedProvider extends PaymentProvider {
  readonly asked: string[] = [];
  readonly #script: Behaviour[];

  constructor(script: Behaviour[]) {
    super();
    this.#script = script;
  }

  authorise = (): Promise<ProviderAnswer> => this.#answer('authorise');
  capture = (): Promise<ProviderAnswer> => this.#answer('capture');
  void = (): Promise<ProviderAnswer> => this.#answer('void');
  refund = (): Promise<ProviderAnswer> => this.#answer('refund');
  lookup = (): Promise<ProviderAnswer | undefined> => this.#answer('lookup');
  cancel = (): Promise<ProviderAnswer> => this.#answer('cancel');

  async #answer<T>(what: string): Promise<T> {
    this.asked.push(what);
    if (this.#script.length === 0) throw new Error(`the script does not say what to do on ${what}`);
    const behaviour = this.#script.shift();
    if (behaviour === 'breaks') throw new Error('connection reset');
    if (behaviour === 'hangs') return new Promise<T>(() => undefined);
    return behaviour as T;
  }
}

function clientOf(...script: Behaviour[]): { client: ProviderClient; asked: string[] } {
  return clientWith({}, ...script);
}

function clientWith(
  dependencies: PolicyDependencies,
  ...script: Behaviour[]
): { client: ProviderClient; asked: string[] } {
  const provider = new ScriptedProvider(script);
  const config = {
    providerTimeoutMs: 20,
    providerAttempts: 3,
    providerRetryMs: 1,
    providerBreakerCalls: 20,
  } as PaymentsConfig;
  const policies = new PolicyRegistry(dependencies);
  return { client: new ProviderClient(provider, config, systemClock, policies), asked: provider.asked };
}

const request = { key: 'o1:authorise', token: 'tok_ok', amount: { amountMinor: 100, currency: 'GBP' } };
const first = { askedBefore: false };

beforeAll(() => {
  Logger.overrideLogger(false);
});

describe('an authorisation', () => {
  it('is one call when all is well', async () => {
    const { client, asked } = clientOf(authorised);
    expect(await client.authorise(request, first)).toEqual(authorised);
    expect(asked).toEqual(['authorise']);
  });

  it('that was asked for before is looked up first', async () => {
    const { client, asked } = clientOf(authorised);
    expect(await client.authorise(request, { askedBefore: true })).toEqual(authorised);
    expect(asked).toEqual(['lookup']);
  });

  it('that was asked for before and never arrived is asked for again', async () => {
    const { client, asked } = clientOf(undefined, authorised);
    expect(await client.authorise(request, { askedBefore: true })).toEqual(authorised);
    expect(asked).toEqual(['lookup', 'authorise']);
  });

  it('that fails twice is tried a third time, each time after asking whether it had arrived', async () => {
    const { client, asked } = clientOf('breaks', undefined, 'breaks', undefined, authorised);
    expect(await client.authorise(request, first)).toEqual(authorised);
    expect(asked).toEqual(['authorise', 'lookup', 'authorise', 'lookup', 'authorise']);
  });

  it('whose answer got lost counts as the provider decided it', async () => {
    const { client, asked } = clientOf('breaks', { outcome: 'declined', reason: 'insufficient_funds' });
    expect(await client.authorise(request, first)).toEqual({
      outcome: 'declined',
      reason: 'insufficient_funds',
    });
    expect(asked).toEqual(['authorise', 'lookup']);
  });

  it('that times out is not repeated but asked about, then cancelled, and only then declined', async () => {
    const { client, asked } = clientOf('hangs', undefined, undefined, cancelled);
    expect(await client.authorise(request, first)).toEqual(unavailable);
    expect(asked).toEqual(['authorise', 'lookup', 'lookup', 'cancel']);
  });

  it('that arrived just before it was cancelled counts', async () => {
    const { client } = clientOf('hangs', undefined, undefined, authorised);
    expect(await client.authorise(request, first)).toEqual(authorised);
  });

  it('is not declined as long as the provider does not promise never to accept it', async () => {
    const { client, asked } = clientOf('breaks', 'breaks', 'breaks', 'breaks', 'breaks', 'breaks');
    await expect(client.authorise(request, first)).rejects.toThrow(ProviderUnavailableError);
    expect(asked).toEqual(['authorise', 'lookup', 'lookup', 'cancel', 'cancel', 'cancel']);
  });
});

describe('a capture', () => {
  const capture = { key: 'o1:capture:2', reference: 'auth_1' };

  it('whose answer got lost counts as the provider decided it', async () => {
    const { client } = clientOf('hangs', { outcome: 'captured' });
    expect(await client.capture(capture)).toEqual({ outcome: 'captured' });
  });

  it('that stays unknown is left to the redelivery, not cancelled', async () => {
    const { client, asked } = clientOf('breaks', 'breaks', 'breaks');
    await expect(client.capture(capture)).rejects.toThrow(
      'The payment provider did not answer to "o1:capture:2": connection reset',
    );
    expect(asked).toEqual(['capture', 'lookup', 'lookup']);
  });
});

it('a provider that fails all the time is left alone for a while', async () => {
  const { client, asked } = clientOf(...Array.from({ length: 100 }, () => 'breaks' as const));
  const capture = { key: 'o1:capture:2', reference: 'auth_1' };
  for (let times = 0; times < 20; times += 1) {
    await expect(client.capture(capture)).rejects.toThrow(ProviderUnavailableError);
  }
  const { length } = asked;
  expect(length).toBeLessThan(60);
  await expect(client.capture(capture)).rejects.toThrow('its breaker is open');
  expect(asked).toHaveLength(length);
});

describe('a caller that no longer waits', () => {
  it('is told so at once; nothing is asked, and nothing promised', async () => {
    const { client, asked } = clientWith({ deadline: () => Date.now() });
    await expect(client.authorise(request, first)).rejects.toBeInstanceOf(ProviderUnavailableError);
    await expect(client.cancel(request.key)).rejects.toMatchObject({ cause: { code: 'DEADLINE_EXCEEDED' } });
    expect(asked).toEqual([]);
  });

  it('ends the call that is under way, and no other follows', async () => {
    const deadline = Date.now() + 10;
    const { client, asked } = clientWith({ deadline: () => deadline }, 'hangs');
    await expect(client.authorise(request, first)).rejects.toBeInstanceOf(ProviderUnavailableError);
    expect(asked).toEqual(['authorise']);
  });
});
