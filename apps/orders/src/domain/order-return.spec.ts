import { claimReturn, type AskedLine, type ClaimedLine, type DeliveredLine } from './order-return.ts';

const line = (sku: string, quantity: number, unitPriceMinor: number): DeliveredLine => ({
  sku,
  kind: sku === 'POST' ? 'charge' : 'stocked',
  quantity,
  unitPriceMinor,
});
const asked = (sku: string, quantity: number, damaged = false): AskedLine => ({ sku, quantity, damaged });
const claimed = (sku: string, quantity: number, unitPriceMinor: number, damaged = false): ClaimedLine => ({
  sku,
  quantity,
  unitPriceMinor,
  damaged,
});
const delivered = [line('A', 3, 255), line('B', 2, 100), line('A', 2, 300), line('POST', 1, 1_800)];

describe('a return', () => {
  it('is worth what was paid for its pieces', () => {
    expect(claimReturn(delivered, [], [asked('A', 2), asked('B', 1)])).toEqual({
      outcome: 'claimed',
      lines: [claimed('A', 2, 255), claimed('B', 1, 100)],
      refundMinor: 610,
    });
  });

  it('takes a SKU of several prices from the lines as they stand, after what was claimed before', () => {
    expect(claimReturn(delivered, [claimed('A', 2, 255)], [asked('A', 3)])).toMatchObject({
      lines: [claimed('A', 1, 255), claimed('A', 2, 300)],
      refundMinor: 855,
    });
  });

  it('keeps damaged pieces apart, counts them alike, and makes one line of equal ones', () => {
    expect(claimReturn(delivered, [], [asked('A', 1), asked('A', 1, true), asked('A', 1)])).toMatchObject({
      lines: [claimed('A', 2, 255), claimed('A', 1, 255, true)],
      refundMinor: 765,
    });
  });

  it('of everything, in whatever parts, is worth all goods and no penny more', () => {
    let before: ClaimedLine[] = [];
    let refunded = 0;
    for (const sku of ['A', 'B', 'A', 'A', 'B', 'A', 'A']) {
      const claim = claimReturn(delivered, before, [asked(sku, 1)]);
      if (claim.outcome !== 'claimed') throw new Error(claim.reason);
      before = [...before, ...claim.lines];
      refunded += claim.refundMinor;
    }
    expect(refunded).toBe(3 * 255 + 2 * 100 + 2 * 300);
    expect(claimReturn(delivered, before, [asked('A', 1)])).toEqual({
      outcome: 'refused',
      reason: 'exceeds_delivered',
      lines: [{ sku: 'A', requested: 1, returnable: 0 }],
    });
  });

  it.each<[string, AskedLine[], string, object[]]>([
    [
      'what was never ordered',
      [asked('X', 1), asked('A', 1)],
      'unknown_line',
      [{ sku: 'X', requested: 1, returnable: 0 }],
    ],
    ['a charge', [asked('POST', 1)], 'charge_line', [{ sku: 'POST', requested: 1, returnable: 0 }]],
    [
      'more than there is, also in several lines',
      [asked('A', 3), asked('B', 1), asked('A', 3, true)],
      'exceeds_delivered',
      [{ sku: 'A', requested: 6, returnable: 5 }],
    ],
  ])('is refused for %s, naming it', (_, lines, reason, refused) =>
    expect(claimReturn(delivered, [], lines)).toEqual({ outcome: 'refused', reason, lines: refused }),
  );
});
