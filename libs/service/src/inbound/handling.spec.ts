import { BusinessError, decodeEnvelope, encodeEnvelope } from '@flotilla/contracts-protocol';
import type { IncomingMessage } from '@flotilla/messaging';
import { currentContext, noMetrics, type MetricsRecorder } from '@flotilla/observability';
import { ManualClock } from '@flotilla/testing';
import { aboutOrder, Handling } from './handling.ts';

const headers = encodeEnvelope({
  id: 'm-1',
  type: 'shop.Open.v1',
  source: 'tester',
  time: '2030-01-01T00:00:00.000Z',
  subject: 'shop-1',
  correlationId: 'c-1',
  deadline: Date.parse('2030-01-01T00:00:05Z'),
});
const message: IncomingMessage = {
  subject: 'rpc.shop.Open.v1',
  headers,
  envelope: decodeEnvelope((name) => headers[name]),
  body: new Uint8Array(),
  json: () => ({}),
};

function setUp() {
  const clock = new ManualClock();
  const handled: unknown[] = [];
  const metrics: MetricsRecorder = { ...noMetrics, handled: (...facts) => void handled.push(facts) };
  return { clock, handled, handling: new Handling(metrics, clock) };
}

describe('the handling of a message', () => {
  it('runs in the context of the message', async () => {
    const { handling } = setUp();
    const context = await handling.run(message, { handler: 'requests' }, () =>
      Promise.resolve(currentContext()),
    );
    expect(context).toEqual({
      correlationId: 'c-1',
      messageId: 'm-1',
      type: 'shop.Open.v1',
      deadline: Date.parse('2030-01-01T00:00:05Z'),
    });
    expect(currentContext()).toBeUndefined();
  });

  it('is measured, with its outcome', async () => {
    const { handling, handled, clock } = setUp();
    const options = { handler: 'requests', outcomeOf: (result: string) => result };
    await handling.run(message, options, async () => {
      await clock.advance(30);
      return 'refused';
    });
    const fails = (error: unknown) => handling.run(message, options, () => Promise.reject(error as Error));
    await expect(fails(new Error('boom'))).rejects.toThrow('boom');
    await expect(fails(new BusinessError('shop.Open.v1', 'UNKNOWN_MESSAGE', {}))).rejects.toThrow();
    expect(handled).toEqual([
      ['shop.Open.v1', 'requests', 'refused', 30],
      ['shop.Open.v1', 'requests', 'failed', 0],
      ['shop.Open.v1', 'requests', 'unknown', 0],
    ]);
  });

  it('logs the order that the message is about, if it is about one', () => {
    const orderOf = (payload: unknown) => aboutOrder({ payload }, () => currentContext()?.orderId);
    expect([{ orderId: 'o-1' }, { orderId: 7 }, { sku: 'A' }, null, 'o-1'].map(orderOf)).toEqual([
      'o-1',
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
  });
});
