import { ManualClock } from '@flotilla/testing';
import {
  CapturePayment,
  RefundPayment,
  ReleaseStock,
  ReserveStock,
  ScreenOrder,
  ShipOrder,
} from '../test/fixtures/fulfilment.ts';
import {
  bindSaga,
  command,
  defineSaga,
  InMemorySagaStore,
  migration,
  parallel,
  SagaEngine,
  type OutgoingSagaCommand,
  type SagaDefinition,
} from './index.ts';

interface Old {
  readonly orderId: string;
}
interface New {
  readonly orderId: string;
  readonly channel: string;
}

const reserve = <D extends Old>(name: string) =>
  command<D, unknown, typeof ReserveStock, typeof ReleaseStock>(name, ReserveStock, {
    send: ({ orderId }) => ({ orderId, skus: ['A'] }),
    compensate: { command: ReleaseStock, send: ({ orderId }) => ({ orderId }) },
  });
const capture = <D extends Old>(name: string) =>
  command<D, unknown, typeof CapturePayment, typeof RefundPayment>(name, CapturePayment, {
    send: ({ orderId }) => ({ orderId }),
    timeoutMs: 60_000,
    compensate: { command: RefundPayment, send: ({ orderId }) => ({ orderId }) },
  });
const ship = <D extends Old>(name: string) =>
  command<D, unknown, typeof ShipOrder>(name, ShipOrder, { send: ({ orderId }) => ({ orderId }) });

const v1 = defineSaga<Old>({ name: 'orders', version: 1 }, [
  reserve('reserve'),
  capture('capture'),
  ship('ship'),
]);
const screen = command<New, unknown, typeof ScreenOrder>('screen', ScreenOrder, {
  send: ({ orderId }) => ({ orderId, total: 1 }),
});
const v2 = defineSaga<New>(
  {
    name: 'orders',
    version: 2,
    migrations: {
      1: migration<Old, New>({ reserve: 'hold', capture: 'charge' }, (old) => ({ ...old, channel: 'web' })),
    },
  },
  [reserve('hold'), capture('charge'), screen, ship('send')],
);

function setUp() {
  const store = new InMemorySagaStore();
  const clock = new ManualClock(0);
  const sent: OutgoingSagaCommand[] = [];
  const engineOf = (...definitions: SagaDefinition<never, never>[]) =>
    new SagaEngine({
      store,
      clock,
      transport: { send: (message) => void sent.push(message) },
      sagas: definitions.map((definition) => bindSaga(definition, undefined as never)),
    });
  const reply = (engine: SagaEngine, body: unknown) => {
    const last = sent.at(-1);
    if (last === undefined) throw new Error('nothing was sent');
    const { sagaId, commandId } = last;
    return engine.handleReply({ sagaId, commandId, outcome: 'ok', body });
  };
  const before = engineOf(v1 as never);
  return { store, clock, sent, engineOf, reply, before };
}

describe('an instance of an older version', () => {
  it('is carried over by the next thing that happens to it: step, undo stack and data', async () => {
    const { before, engineOf, reply, sent } = setUp();
    await before.start(v1, 'o-1', { orderId: 'o-1' });
    await reply(before, { reservationId: 'r' });
    const after = engineOf(v2 as never);
    await expect(after.missingDefinitions()).resolves.toEqual([]);
    await reply(after, null);
    await expect(after.show('orders', 'o-1')).resolves.toMatchObject({
      version: 2,
      step: 'screen',
      undo: ['hold', 'charge'],
      data: { orderId: 'o-1', channel: 'web' },
    });
    expect((await after.history('orders', 'o-1')).map(({ kind, detail }) => [kind, detail])).toEqual([
      ['started', { version: 1 }],
      ['replied', null],
      ['migrated', { from: 1, to: 2 }],
      ['replied', null],
    ]);
    expect(sent.at(-1)?.command).toBeInstanceOf(ScreenOrder);
    await after.abort('orders', 'o-1', 'enough');
    await reply(after, { score: 0 });
    expect(sent.at(-1)?.command).toBeInstanceOf(RefundPayment);
  });

  it('that waits is carried over by the sweep, and keeps its timer', async () => {
    const { before, engineOf, store } = setUp();
    await before.start(v1, 'o-1', { orderId: 'o-1' });
    await before.start(v1, 'o-2', { orderId: 'o-2' });
    const after = engineOf(v2 as never);
    await expect(after.migrateOpen(1)).resolves.toBe(1);
    await expect(after.migrateOpen(10)).resolves.toBe(1);
    await expect(after.migrateOpen(10)).resolves.toBe(0);
    await expect(store.load({ saga: 'orders', id: 'o-1' })).resolves.toMatchObject({
      version: 2,
      step: 'hold',
      dueAt: 5_000,
      revision: 2,
    });
  });

  it('finishes on its version where the migration does not cover where it is', async () => {
    const { before, engineOf, reply, store } = setUp();
    await before.start(v1, 'o-1', { orderId: 'o-1' });
    await reply(before, { reservationId: 'r' });
    await reply(before, null);
    const both = engineOf(v1 as never, v2 as never);
    await expect(both.migrateOpen(10)).resolves.toBe(0);
    await reply(both, { shipmentId: 's' });
    await expect(store.load({ saga: 'orders', id: 'o-1' })).resolves.toMatchObject({
      version: 1,
      status: 'completed',
    });
  });

  it('is parked where neither is possible, and says why', async () => {
    const { before, engineOf, reply, store } = setUp();
    await before.start(v1, 'o-1', { orderId: 'o-1' });
    const strict = defineSaga<New>(
      {
        name: 'orders',
        version: 3,
        migrations: {
          1: migration<Old, New>({ reserve: 'hold' }, () => {
            throw new RangeError('which channel?');
          }),
        },
      },
      [reserve('hold')],
    );
    await reply(engineOf(strict as never), { reservationId: 'r' });
    await expect(store.load({ saga: 'orders', id: 'o-1' })).resolves.toMatchObject({
      version: 1,
      status: 'parked',
      parked: { code: 'MIGRATION_FAILED', message: expect.stringContaining('which channel?') as string },
    });
  });

  it('in a group keeps its branches', async () => {
    const { engineOf, store } = setUp();
    const pair = (version: number, names: readonly [string, string, string], more: object = {}) =>
      defineSaga<Old>({ name: 'pairs', version, ...more }, [
        parallel(names[0], [reserve(names[1]), capture(names[2])]),
      ]);
    const [first, second] = [
      pair(1, ['both', 'a', 'b']),
      pair(2, ['all', 'x', 'y'], { migrations: { 1: migration({ both: 'all', a: 'x', b: 'y' }) } }),
    ];
    await engineOf(first as never).start(first, 'o-1', { orderId: 'o-1' });
    await engineOf(first as never, second as never).migrateOpen(10);
    await expect(store.load({ saga: 'pairs', id: 'o-1' })).resolves.toMatchObject({
      version: 2,
      step: 'all',
      branches: [{ step: 'x' }, { step: 'y' }],
      dueAt: 5_000,
    });
  });
});

describe('a migration that is not consistent', () => {
  it('is refused where it is declared', () => {
    expect(() =>
      defineSaga<Old>(
        {
          name: 'orders',
          version: 2,
          migrations: { 1: migration({ a: 'nowhere', b: 'hold', c: 'hold' }), 2: migration({}) },
        },
        [reserve('hold')],
      ),
    ).toThrowErrorMatchingInlineSnapshot(`
      "Saga "orders" is not consistent:
      - migration from 1: names no step: "nowhere"
      - migration from 1: makes several steps one: "hold"
      - migration from 2: is not from a version before 2"
    `);
  });

  it('is refused beside the older definition, if an answer or an undo would have nowhere to go', () => {
    const { engineOf } = setUp();
    const wrong = defineSaga<Old>(
      {
        name: 'orders',
        version: 2,
        migrations: { 1: migration({ reserve: 'send', capture: 'bare', gone: 'other' }) },
      },
      [
        ship('send'),
        command('bare', CapturePayment, { send: ({ orderId }) => ({ orderId }) }),
        ship('other'),
      ],
    );
    expect(() => engineOf(v1 as never, wrong as never)).toThrowErrorMatchingInlineSnapshot(`
      "Sagas cannot be carried over as declared:
      - orders: migration from 1 to 2, "reserve" to "send": the answer to inventory.ReserveStock.v1 is not one to shipping.ShipOrder.v1
      - orders: migration from 1 to 2, "capture" to "bare": it has a compensation that the new step has not
      - orders: migration from 1 to 2, "gone" to "other": the old version has no such step"
    `);
  });
});
