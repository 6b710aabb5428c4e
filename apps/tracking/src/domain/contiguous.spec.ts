import { contiguous } from './contiguous.ts';

const at = (...positions: number[]) => positions.map((position) => ({ position }));

describe('a timeline', () => {
  it.each([
    [[1, 2, 3], 0, [1, 2, 3]],
    [[3, 1, 2], 0, [1, 2, 3]],
    [[1, 2, 4], 0, [1, 2]],
    [[2, 3], 0, []],
    [[1, 2, 3], 2, [3]],
    [[1, 2, 4], 2, []],
    [[], 0, []],
  ])('of %j after %d shows %j', (entries, after, shown) => {
    expect(contiguous(at(...entries), after)).toEqual(at(...shown));
  });
});
