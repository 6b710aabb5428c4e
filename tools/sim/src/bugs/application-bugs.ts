import { currentContext } from '@flotilla/observability';
import { UnitOfWork } from '@flotilla/persistence';
import type { Tampering } from '../world/service-process.ts';
import { unitOfWorkWith, withFreshMessageId } from './persistence-bugs.ts';

const KEYED: ReadonlySet<string | symbol> = new Set(['authorise', 'capture', 'void', 'refund']);

export const paymentsWithoutKeys: Tampering = {
  part: (token, part) => {
    if (typeof token !== 'function' || token.name !== 'PaymentProvider') return part;
    return new Proxy(part as object, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function') return value;
        const call = (value as (...all: unknown[]) => unknown).bind(target);
        if (!KEYED.has(name)) return call;
        return (request: { readonly key: string }, signal: AbortSignal) =>
          call({ ...request, key: `${request.key}:${Math.random()}` }, signal);
      },
    });
  },
};

const RELEASE = 'inventory.ReleaseStock.v1';
/** What a release moves, and what it tells its caller was there before. */
interface Released {
  readonly state: 'reserved';
  readonly lines: readonly { readonly sku: string; readonly quantity: number }[];
}
type Release = (orderId: string, reason: string) => Promise<unknown>;

/** `stock = stock + n` for what the order reserved once, whether it still holds it or not. */
const releaseWhatever =
  (unitOfWork: UnitOfWork, release: Release): Release =>
  async (orderId, reason) => {
    const lines = await unitOfWork.query<Released['lines'][number]>(
      `WITH marked AS (
         UPDATE reservations SET state = 'released', release_reason = $2, changed_at = now()
          WHERE order_id = $1 AND state <> 'shipped' RETURNING skus, quantities
       )
       UPDATE stock SET on_hand = on_hand + quantity, reserved = reserved - quantity
         FROM marked, unnest(marked.skus, marked.quantities) AS line(sku, quantity)
        WHERE stock.sku = line.sku
       RETURNING stock.sku, line.quantity::float8 AS quantity`,
      [orderId, reason],
    );
    // Nothing was reserved: that it never will be is marked as ever.
    return lines.length === 0 ? release(orderId, reason) : ({ state: 'reserved', lines } satisfies Released);
  };

export const compensationTwice: Tampering = {
  part: (token, part, service) => {
    if (service !== 'inventory') return part;
    if (token === UnitOfWork) return releasesWithoutInbox.part?.(token, part, service);
    if (typeof token !== 'function' || token.name !== 'Warehouse') return part;
    const warehouse = part as { release: Release; readonly unitOfWork: UnitOfWork };
    warehouse.release = releaseWhatever(warehouse.unitOfWork, warehouse.release.bind(warehouse));
    return warehouse;
  },
};

const releasesWithoutInbox = unitOfWorkWith((inner) => ({
  process: (entry, work, options = {}) =>
    inner.process(currentContext()?.type === RELEASE ? withFreshMessageId(entry) : entry, work, options),
}));
