import { encodeEnvelope } from '@flotilla/contracts-protocol';
import { newId } from '@flotilla/kernel';
import { streamView } from '@flotilla/messaging';
import { until } from '@flotilla/testing';
import { startTestService, type TestService } from '../src/testing/index.ts';
import { AlphaConfig } from './fixtures/alpha/alpha.config.ts';
import { AlphaModule } from './fixtures/alpha/alpha.module.ts';
import { Add } from './fixtures/contracts.ts';

interface Page {
  readonly events: readonly {
    readonly subject: string;
    readonly headers: Record<string, string>;
    readonly body: string;
  }[];
  readonly next?: string;
  readonly code?: string;
}

let alpha: TestService;
beforeAll(async () => {
  alpha = await startTestService({ module: AlphaModule, config: AlphaConfig });
});
afterAll(() => alpha.stop());

async function ask(body: object): Promise<Page> {
  const id = newId();
  const headers = encodeEnvelope({
    id,
    type: 'ops.alpha.history',
    source: 'test',
    time: new Date().toISOString(),
    subject: id,
    correlationId: id,
  });
  const reply = await alpha.broker.request(
    { id, subject: 'ops.alpha.history', key: id, headers, body: JSON.stringify(body) },
    { timeoutMs: 10_000 },
  );
  return reply.json() as Page;
}

describe('the history of a service', () => {
  const types = ['alpha.Added.v1'];
  const accountId = `account-${newId()}`;
  const amounts = ({ events }: Page): number[] =>
    events.map(({ body }) => (JSON.parse(body) as { amount: number }).amount);

  beforeAll(async () => {
    for (const amount of [1, 2, 3, 4, 5]) await alpha.execute(new Add({ accountId, amount }));
    await until(async () => (await alpha.sql('SELECT FROM outbox WHERE published_at IS NULL')).length === 0);
  });

  it('is answered from its outbox, a page at a time, in order', async () => {
    const first = await ask({ types, limit: 2 });
    const second = await ask({ types, limit: 2, after: first.next });
    const third = await ask({ types, limit: 2, after: second.next });
    expect([first, second, third].map(amounts)).toEqual([[1, 2], [3, 4], [5]]);
    expect(third.next).toBeUndefined();
    expect(first.events[0]).toMatchObject({
      subject: expect.stringMatching(/^evt\.alpha\.Added\.v1\./) as string,
      headers: { 'ce-type': 'alpha.Added.v1', 'ce-subject': accountId },
    });
  });

  it('has only what the stream has not, for who knows the stream', async () => {
    const state = await streamView(alpha.broker.connection).streamState('EVT_alpha');
    expect(amounts(await ask({ types, stream: state }))).toEqual([]);
    // As if the stream had dropped its oldest two, and as if it had been made anew since.
    expect(amounts(await ask({ types, stream: { ...state, firstSequence: 3 } }))).toEqual([1, 2]);
    const anew = { createdAtMs: Date.now() + 60_000, firstSequence: 1, lastSequence: 5 };
    expect(amounts(await ask({ types, stream: anew }))).toEqual([1, 2, 3, 4, 5]);
  });

  it('has only the events that are asked for', async () => {
    expect((await ask({ types: ['alpha.Other.v1'] })).events).toEqual([]);
    // It is a pattern for nobody.
    expect((await ask({ types: ['alpha.Adde_.v1'] })).events).toEqual([]);
    expect((await ask({ types: ['%'] })).code).toBe('INVALID_MESSAGE');
  });
});
