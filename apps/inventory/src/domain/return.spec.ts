import type { ReturnedLine } from './lines.ts';
import { decideReturn, NotShippedYetError } from './return.ts';
import type { Reservation } from './reservation.ts';

const lines = [
  { sku: 'A', quantity: 5 },
  { sku: 'B', quantity: 1 },
];
const shipped: Reservation = { state: 'shipped', lines };
const piece = (sku: string, quantity: number, damaged = false): ReturnedLine => ({ sku, quantity, damaged });
const decide = (
  reservation: Reservation | undefined,
  asked: ReturnedLine[],
  back: [string, ReturnedLine[]][] = [],
) => decideReturn('o-1', reservation, new Map(back), 'r-1', asked);

describe('what comes back', () => {
  it('is taken back up to what left, damaged or not', () => {
    expect(decide(shipped, [piece('A', 5), piece('B', 1)])).toEqual({ decision: 'take-back' });
    expect(decide(shipped, [piece('A', 4), piece('A', 2, true), piece('X', 1)])).toEqual({
      decision: 'exceeds',
      excess: [
        { sku: 'A', requested: 6, shipped: 5 },
        { sku: 'X', requested: 1, shipped: 0 },
      ],
    });
  });

  it('counts what came back before', () => {
    expect(decide(shipped, [piece('A', 2)], [['r-0', [piece('A', 3)]]])).toEqual({ decision: 'take-back' });
    expect(decide(shipped, [piece('A', 3)], [['r-0', [piece('A', 3, true)]]])).toMatchObject({
      decision: 'exceeds',
    });
  });

  it('twice under one key is answered as before, whatever state the order is in', () => {
    const before: [string, ReturnedLine[]][] = [['r-1', [piece('A', 5)]]];
    expect(decide(shipped, [piece('A', 5)], before)).toMatchObject({ decision: 'already-back' });
  });

  it('of an order that never left is refused, of one that nobody knows tried again', () => {
    expect(decide({ state: 'released', lines }, [piece('A', 1)])).toEqual({ decision: 'not-shipped' });
    expect(() => decide(undefined, [piece('A', 1)])).toThrow(NotShippedYetError);
  });

  it('has left, also when that was not heard yet, and no more of it than was reserved', () => {
    const reserved: Reservation = { state: 'reserved', lines };
    expect(decide(reserved, [piece('A', 1)])).toEqual({ decision: 'take-back', leftUnheard: true });
    expect(decide(reserved, [piece('A', 6)])).toMatchObject({ decision: 'exceeds' });
  });
});
