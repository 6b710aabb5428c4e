import {
  AuthorisePayment,
  CapturePayment,
  OrderReviewed,
  RefundPayment,
  ReleaseStock,
  ReserveStock,
  ScreenOrder,
  ShipOrder,
} from '../test/fixtures/fulfilment.ts';
import { command, defineSaga, local, parallel, scope, waitFor, type SagaStep } from './index.ts';
import { simulateSaga } from './testing/index.ts';

interface Data {
  readonly orderId: string;
  readonly degraded?: boolean;
}

const order: Data = { orderId: 'o-1' };
const send = ({ orderId }: Data) => ({ orderId });
const undo = <K>(compensation: K) => ({ compensate: { command: compensation, send } });

const reserve: SagaStep<Data, unknown> = command('reserve', ReserveStock, {
  send: ({ orderId }) => ({ orderId, skus: ['A'] }),
  ...undo(ReleaseStock),
});
const capture: SagaStep<Data, unknown> = command('capture', CapturePayment, {
  send,
  timeoutMs: 4_000,
  retries: 5,
  ...undo(RefundPayment),
});
const ship: SagaStep<Data, unknown> = command('ship', ShipOrder, { send });
const pivot: SagaStep<Data, unknown> = local('confirm', { pivot: true, run: async (data) => data });

describe('the deadline of a scope', () => {
  const scoped = defineSaga<Data>({ name: 'scoped', version: 1 }, [
    reserve,
    scope('payment', { deadlineMs: 10_000 }, [
      capture,
      waitFor('seen', OrderReviewed, { timeoutMs: 60_000 }),
    ]),
    ship,
  ]);

  it('begins with its first step, and ends with its last', async () => {
    await simulateSaga(scoped, order)
      .after(1_000)
      .expectCommand(ReserveStock)
      .reply({ reservationId: 'r' })
      .inspect(({ deadlines }) => expect(deadlines).toEqual({ payment: 11_000 }))
      .expectCommand(CapturePayment)
      .reply()
      .event(OrderReviewed, { orderId: 'o-1', approved: true })
      .inspect(({ deadlines }) => expect(deadlines).toBeNull())
      .expectCommand(ShipOrder);
  });

  it('cuts every wait within it, and what is in flight then may have been done', async () => {
    await simulateSaga(scoped, order)
      .expectCommand(ReserveStock)
      .reply({ reservationId: 'r' })
      .expectCommand(CapturePayment)
      .timeout()
      .expectCommand(CapturePayment)
      .timeout()
      .expectCommand(CapturePayment)
      .inspect(({ dueAt }) => expect(dueAt).toBe(10_000))
      .timeout()
      .expectCommand(RefundPayment)
      .reply()
      .expectCommand(ReleaseStock)
      .reply()
      .expectCompensated('DEADLINE')
      .inspect((_instance, history) =>
        expect(history).toContainEqual(
          expect.objectContaining({ kind: 'deadline-passed', detail: { of: 'payment' } }),
        ),
      );
  });

  it('after the pivot parks; a retry gives it its whole time again', async () => {
    const saga = defineSaga<Data>({ name: 'later', version: 1 }, [
      pivot,
      scope('payment', { deadlineMs: 3_000 }, [capture]),
    ]);
    await simulateSaga(saga, order)
      .expectCommand(CapturePayment)
      .timeout()
      .expectParked('capture', 'DEADLINE')
      .retry()
      .expectCommand(CapturePayment)
      .inspect(({ dueAt }) => expect(dueAt).toBe(6_000))
      .reply()
      .expectCompleted();
  });

  it('goes on behind the scope where a function says so', async () => {
    const saga = defineSaga<Data>({ name: 'degraded', version: 1 }, [
      scope('payment', { deadlineMs: 3_000, onDeadline: (data) => ({ ...data, degraded: true }) }, [
        capture,
        reserve,
      ]),
      ship,
    ]);
    await simulateSaga(saga, order)
      .expectCommand(CapturePayment)
      .timeout()
      .expectCommand(ShipOrder)
      .expectData({ degraded: true })
      .inspect(({ undo: stack }) => expect(stack).toEqual(['capture']));
  });
});

describe('the deadline of a group', () => {
  it('gives up all of its branches at once', async () => {
    const saga = defineSaga<Data>({ name: 'group', version: 1 }, [
      parallel('both', [reserve, capture], { deadlineMs: 2_000 }),
    ]);
    await simulateSaga(saga, order)
      .expectCommands(ReserveStock, CapturePayment)
      .timeout()
      .expectCommand(RefundPayment)
      .reply()
      .expectCommand(ReleaseStock)
      .reply()
      .expectCompensated('DEADLINE');
  });
});

describe('the deadline of a saga', () => {
  it('counts from its start, and goes before those within', async () => {
    const saga = defineSaga<Data>({ name: 'whole', version: 1, deadlineMs: 5_000 }, [
      reserve,
      scope('payment', { deadlineMs: 5_000 }, [capture]),
    ]);
    await simulateSaga(saga, order)
      .expectCommand(ReserveStock)
      .reply({ reservationId: 'r' })
      .expectCommand(CapturePayment)
      .timeout()
      .expectCommand(CapturePayment)
      .timeout()
      .inspect((_instance, history) =>
        expect(history.filter(({ kind }) => kind === 'deadline-passed')).toMatchObject([
          { detail: { of: 'saga' } },
        ]),
      )
      .expectCommand(RefundPayment);
  });

  it('is lifted for good by whoever retries', async () => {
    const saga = defineSaga<Data>({ name: 'late', version: 1, deadlineMs: 5_000, onDeadline: 'park' }, [
      command('screen', ScreenOrder, {
        send: ({ orderId }) => ({ orderId, total: 1 }),
        timeoutMs: 60_000,
      }),
    ]);
    await simulateSaga(saga, order)
      .expectCommand(ScreenOrder)
      .timeout()
      .expectParked('screen', 'DEADLINE')
      .retry()
      .expectCommand(ScreenOrder)
      .inspect(({ dueAt, deadlines }) => expect([dueAt, deadlines]).toEqual([65_000, null]))
      .reply({ score: 0 })
      .expectCompleted();
  });
});

describe('the policy of a step', () => {
  const screened = (retries: Parameters<typeof command>[2]['retries']) =>
    defineSaga<Data>({ name: 'screened', version: 1 }, [
      command('screen', ScreenOrder, {
        send: ({ orderId }) => ({ orderId, total: 1 }),
        timeoutMs: 1_000,
        ...(retries !== undefined && { retries }),
      }),
      command('authorise', AuthorisePayment, { send: ({ orderId }) => ({ orderId, total: 1 }) }),
    ]);

  it('lets repeated sendings grow apart, the last waiting no longer than its time-out', async () => {
    const saga = screened({ retries: 3, initialMs: 2_000, multiplier: 3, maxMs: 10_000 });
    await simulateSaga(saga, order)
      .inspect(({ dueAt }) => expect(dueAt).toBe(2_000))
      .expectCommand(ScreenOrder)
      .timeout()
      .inspect(({ dueAt }) => expect(dueAt).toBe(8_000))
      .expectCommand(ScreenOrder)
      .timeout()
      .inspect(({ dueAt }) => expect(dueAt).toBe(18_000))
      .expectCommand(ScreenOrder)
      .timeout()
      .inspect(({ dueAt }) => expect(dueAt).toBe(19_000))
      .expectCommand(ScreenOrder)
      .timeout()
      .expectCompensated('TIMEOUT');
  });

  it('says which failures are tried again, before the pivot too', async () => {
    const saga = screened({ retries: 2, initialMs: 100, retryOn: ['BUSY'] });
    await simulateSaga(saga, order)
      .expectCommand(ScreenOrder)
      .fail('BUSY', { retry: 'never' })
      .inspect(({ dueAt, waiting }) => expect([dueAt, waiting]).toEqual([100, 'retry']))
      .timeout()
      .expectCommand(ScreenOrder)
      .fail('BROKEN')
      .expectCompensated('BROKEN');
    await simulateSaga(screened({ retries: 2, retryOn: 'all', never: ['BROKEN'] }), order)
      .expectCommand(ScreenOrder)
      .fail('OTHER')
      .timeout()
      .expectCommand(ScreenOrder)
      .fail('BROKEN')
      .expectCompensated('BROKEN');
  });

  it('spreads the delays of different instances, and always the same for one', async () => {
    const saga = screened({ retries: 1, initialMs: 10_000, jitter: 0.5 });
    const dueOf = async (id: string): Promise<number> =>
      (await simulateSaga(saga, order, { id }).expectCommand(ScreenOrder)).dueAt ?? 0;
    const dues = await Promise.all(['a', 'b', 'c', 'd'].map(dueOf));
    expect(new Set(dues).size).toBeGreaterThan(1);
    for (const due of dues) expect(due >= 5_000 && due <= 10_000).toBe(true);
    await expect(dueOf('a')).resolves.toBe(dues[0]);
  });
});
