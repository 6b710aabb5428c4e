import { OrderCompleted, OrderConfirmed, OrderPlaced, OrderShipped } from '@flotilla/contracts-orders';

/** An amount in pounds. */
export const money = (amountMinor: number) => ({ amountMinor, currency: 'GBP' });

/** What every event of an order carries. */
export const fact = (orderId: string, version: number, customerId = 'c-1') => ({
  orderId,
  customerId,
  version,
  at: new Date(Date.UTC(2026, 0, 2, 3, 4, version)).toISOString(),
});

export const placed = (orderId: string, customerId = 'c-1') =>
  new OrderPlaced({
    ...fact(orderId, 1, customerId),
    reference: '536365',
    lines: [{ sku: 'A', name: 'Lantern', kind: 'stocked', quantity: 6, unitPriceMinor: 255 }],
    total: money(1_530),
    shipTo: { name: 'Ada', country: 'France' },
  });
export const confirmed = (orderId: string) => new OrderConfirmed(fact(orderId, 2));
export const shipped = (orderId: string, trackingNumber = 'T-1') =>
  new OrderShipped({ ...fact(orderId, 3), trackingNumber });
export const completed = (orderId: string) =>
  new OrderCompleted({ ...fact(orderId, 4), total: money(1_530) });

/** All that happens to an order that is fulfilled. */
export const fulfilment = (orderId: string) => [
  placed(orderId),
  confirmed(orderId),
  shipped(orderId),
  completed(orderId),
];
