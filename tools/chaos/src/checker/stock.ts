import type { Findings } from './report.ts';
import type { Snapshot } from './snapshot.ts';

interface StockRow {
  readonly sku: string;
  readonly on_hand: string;
  readonly reserved: string;
  readonly shipped: string;
  readonly received: string;
  readonly restocked: string;
  readonly held: string;
  readonly left: string;
  readonly back: string;
  readonly told_received: string;
  readonly told_reserved: string;
  readonly told_shipped: string;
  readonly told_restocked: string;
}

/** Each SKU three times: its level, what reservations and receipts say of it, and what the events do. */
const STOCK = `
  WITH held AS (
    SELECT sku, sum(quantity) FILTER (WHERE state = 'reserved') AS held,
           sum(quantity) FILTER (WHERE state = 'shipped') AS "left"
      FROM reservations, unnest(skus, quantities) AS line (sku, quantity) GROUP BY sku
  ), back AS (
    SELECT sku, sum(quantity) AS back
      FROM return_receipts, unnest(skus, quantities, damaged) AS line (sku, quantity, is_damaged)
     WHERE NOT is_damaged GROUP BY sku
  ), told AS (
    SELECT split_part(subject, '.', 3) AS name, body::jsonb AS said FROM outbox
     WHERE subject LIKE 'evt.inventory.%' AND headers->>'flotilla-replay-for' IS NULL
  ), pieces AS (
    SELECT name, line->>'sku' AS sku, (line->>'quantity')::bigint AS quantity,
           coalesce((line->>'damaged')::boolean, false) AS is_damaged
      FROM told, jsonb_array_elements(CASE name WHEN 'StockReceived' THEN jsonb_build_array(said) ELSE said->'lines' END) AS line
  ), events AS (
    SELECT sku,
           sum(quantity) FILTER (WHERE name = 'StockReceived') AS received,
           coalesce(sum(quantity) FILTER (WHERE name = 'StockReserved'), 0)
             - coalesce(sum(quantity) FILTER (WHERE name IN ('StockReleased', 'StockReservationExpired', 'StockShipped')), 0)
             AS reserved,
           sum(quantity) FILTER (WHERE name = 'StockShipped') AS shipped,
           sum(quantity) FILTER (WHERE name = 'StockReturned' AND NOT is_damaged) AS restocked
      FROM pieces GROUP BY sku
  )
  SELECT sku, coalesce(s.on_hand, 0) AS on_hand, coalesce(s.reserved, 0) AS reserved,
         coalesce(s.shipped, 0) AS shipped, coalesce(s.received, 0) AS received, coalesce(s.restocked, 0) AS restocked,
         coalesce(held.held, 0) AS held, coalesce(held."left", 0) AS "left", coalesce(back.back, 0) AS back,
         coalesce(e.received, 0) AS told_received, coalesce(e.reserved, 0) AS told_reserved,
         coalesce(e.shipped, 0) AS told_shipped, coalesce(e.restocked, 0) AS told_restocked
    FROM stock s FULL JOIN held USING (sku) FULL JOIN back USING (sku) FULL JOIN events e USING (sku)
   ORDER BY sku`;

/** `whole`: the outbox still has every event, so that they add up. */
export async function checkStock(inventory: Snapshot, whole: boolean, findings: Findings): Promise<void> {
  for await (const row of inventory.stream<StockRow>(STOCK)) {
    const { sku } = row;
    findings.count('stock is conserved');
    const complain = (what: string): void => findings.violate('stock is conserved', sku, what);
    const [onHand, reserved, shipped] = [BigInt(row.on_hand), BigInt(row.reserved), BigInt(row.shipped)];
    const [received, restocked] = [BigInt(row.received), BigInt(row.restocked)];
    for (const [what, level] of Object.entries({ onHand, reserved, shipped, received, restocked })) {
      if (level < 0n) complain(`${what} is ${level}`);
    }
    if (received + restocked !== onHand + reserved + shipped) {
      complain(
        `received ${received} and restocked ${restocked}, but on hand ${onHand}, reserved ${reserved}, shipped ${shipped}`,
      );
    }
    const expected: [string, bigint, string, string][] = [
      ['reserved', reserved, row.held, 'the reservations hold'],
      ['shipped', shipped, row.left, 'of the reservations have left'],
      ['restocked', restocked, row.back, 'the receipts say'],
      ...(whole
        ? ([
            ['received', received, row.told_received, 'the events say'],
            ['reserved', reserved, row.told_reserved, 'the events say'],
            ['shipped', shipped, row.told_shipped, 'the events say'],
            ['restocked', restocked, row.told_restocked, 'the events say'],
          ] as [string, bigint, string, string][])
        : []),
    ];
    for (const [what, is, should, who] of expected) {
      if (is !== BigInt(should)) complain(`${is} ${what}, ${who} ${should}`);
    }
  }
}
