import { cancel, ShipmentTransitionError, type Shipment, nextMove, type NextMove } from './shipment.ts';

const booked = { id: 's1', orderId: 'o1', trackingNumber: 'FLT1' };
const at = new Date('2030-01-02T03:04:05Z');

describe('a shipment', () => {
  it('can be cancelled until it has left', () => {
    expect(cancel({ ...booked, status: 'created' })).toEqual({ ...booked, status: 'cancelled' });
  });

  it.each<Shipment>([
    { ...booked, status: 'dispatched', dispatchedAt: at },
    { ...booked, status: 'delivered', dispatchedAt: at, deliveredAt: at },
    { ...booked, status: 'cancelled' },
    { id: 's1', orderId: 'o1', status: 'forestalled' },
  ])('refuses to be cancelled when it is $status, and names both states', (shipment) => {
    expect(() => cancel(shipment)).toThrow(ShipmentTransitionError);
    expect(() => cancel(shipment)).toThrow(
      `Shipment s1 of order o1 cannot go from ${shipment.status} to cancelled`,
    );
  });
});

describe("the carrier's word", () => {
  const failed = { outcome: 'failed', reason: 'nobody there' } as const;
  const lost = { outcome: 'lost', reason: 'gone' } as const;

  it.each<[Parameters<typeof nextMove>, NextMove]>([
    [['created', { outcome: 'done' }, 1, 3], { move: 'dispatched' }],
    [['dispatched', { outcome: 'done' }, 3, 3], { move: 'delivered' }],
    [['created', failed, 2, 3], { move: 'again', reason: 'nobody there' }],
    [['created', failed, 3, 3], { move: 'failed', reason: 'nobody there' }],
    [['dispatched', failed, 1, 3], { move: 'again', reason: 'nobody there' }],
    [['dispatched', failed, 3, 3], { move: 'returning', reason: 'nobody there' }],
    [['dispatched', lost, 1, 3], { move: 'lost', reason: 'gone' }],
    // What was never collected is still here.
    [['created', lost, 1, 3], { move: 'again', reason: 'gone' }],
    [['returning', failed, 1, 3], { move: 'returned' }],
  ])('%j: %j', (word, move) => expect(nextMove(...word)).toEqual(move));
});
