import { InvalidTransitionError, Order, type OrderStatus } from './order.ts';

const placed = (): Order =>
  Order.place({ orderId: 'o-1', customerId: 'c-1', totalMinor: 1250, currency: 'GBP' });

/** Walks an order along a way of statuses. */
const walk = (...way: OrderStatus[]): Order => way.reduce((order, status) => order.become(status), placed());

describe('an order', () => {
  it('is pending when placed, with its first event', () => {
    expect(placed().state).toMatchObject({ status: 'pending', version: 1 });
    expect(placed().isTerminal).toBe(false);
  });

  it.each<[string, OrderStatus[]]>([
    ['is fulfilled', ['confirmed', 'shipped', 'completed']],
    ['is fulfilled after a review', ['awaiting_review', 'pending', 'confirmed', 'shipped', 'completed']],
    ['has nothing to ship', ['confirmed', 'completed']],
    ['is rejected', ['rejected']],
    ['is rejected by a reviewer', ['awaiting_review', 'rejected']],
    ['is cancelled after it was confirmed', ['confirmed', 'cancelled']],
    ['cannot be delivered', ['confirmed', 'shipped', 'cancelled']],
  ])('%s, one version per event', (_, way) => {
    const order = walk(...way);
    expect(order.state.version).toBe(way.length + 1);
    expect(order.isTerminal).toBe(true);
  });

  it.each<[OrderStatus[], OrderStatus]>([
    [['confirmed', 'shipped'], 'rejected'],
    [['confirmed', 'shipped', 'completed'], 'cancelled'],
    [['rejected'], 'confirmed'],
    [['cancelled'], 'completed'],
    [[], 'shipped'],
  ])('after %p refuses to become %s, naming both', (way, to) => {
    const order = walk(...way);
    expect(() => order.become(to)).toThrow(InvalidTransitionError);
    expect(() => order.become(to)).toThrow(`Order o-1 is ${order.state.status} and cannot become ${to}`);
  });

  it('that is completed stays so while goods come back, each with an event', () => {
    const { state } = walk('confirmed', 'shipped', 'completed').noteReturn().noteReturn();
    expect(state).toMatchObject({ status: 'completed', version: 6 });
    expect(() => walk('confirmed').noteReturn()).toThrow('Order o-1 is confirmed: only what was delivered');
  });
});
