import { cancel, ShipmentTransitionError, type Shipment } from './shipment.ts';

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
