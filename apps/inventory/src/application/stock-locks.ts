import { partitionOf, PARTITIONS } from '@flotilla/kernel';
import type { Line } from '../domain/lines.ts';

/**
 * The locks under which stock changes. SKUs share sixteen of them: an order of 1,000 lines, 32 of them to a
 * commit group, would fill the lock table of a Postgres server with one lock per SKU, and groups of orders of 20
 * lines overlap anyway. Whoever changes stock holds its lock from the group's beginning to its commit, so row
 * locks are never waited for, and never form a cycle.
 */
export function stockLocks(lines: readonly Pick<Line, 'sku'>[]): string[] {
  return [...new Set(lines.map(({ sku }) => stripe(partitionOf(sku))))];
}

/** For messages that name an order but not its SKUs: they exclude every change of stock, reservations included. */
export function allStockLocks(): string[] {
  return every;
}

/** Two commands of one order exclude each other even where their lines share no SKU. */
export function orderLock(orderId: string): string {
  return `order/${orderId}`;
}

function stripe(number: number): string {
  return `stock/${number}`;
}

const every = Array.from({ length: PARTITIONS }, (_, number) => stripe(number));
