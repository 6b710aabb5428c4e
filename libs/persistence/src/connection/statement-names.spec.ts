import { StatementNames } from './statement-names.ts';

describe('StatementNames', () => {
  it('names a statement once it has come often enough, always the same', () => {
    const names = new StatementNames(10, 3);
    expect(['a', 'a', 'a', 'a', 'b'].map((text) => names.nameOf(text))).toEqual([
      undefined,
      undefined,
      's0',
      's0',
      undefined,
    ]);
  });

  it('gives out no more names than it may', () => {
    const names = new StatementNames(1, 1);
    expect(['a', 'b', 'a'].map((text) => names.nameOf(text))).toEqual(['s0', undefined, 's0']);
  });
});
