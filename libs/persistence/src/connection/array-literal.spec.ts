import { createRequire } from 'node:module';
import { arrayLiteral } from './array-literal.ts';

// The driver's own conversion, which it does not export.
const { prepareValue } = createRequire(import.meta.url)('pg/lib/utils') as {
  prepareValue: (value: unknown) => unknown;
};

/** What Postgres makes of the literal of a text array. */
function read(literal: string | undefined): (string | null)[] {
  const elements = literal?.slice(1, -1).match(/"(?:[^"\\]|\\[^])*"|[^,"]+/g) ?? [];
  return elements.map((element) => {
    if (element === 'NULL') return null;
    return element.startsWith('"') ? element.slice(1, -1).replace(/\\([^])/g, '$1') : element;
  });
}

const TEXTS = [
  '',
  'NULL',
  'plain',
  '{a,b}',
  ' spaces ',
  'a "quoted" word',
  String.raw`back\slash and \n`,
  'line\nfeed\ttab\u0001\u001f',
  '\u007f \u0080 \u2028 \u2029 \ufeff',
  'ümlaut, 漢字, 😀',
  JSON.stringify({ name: 'a "b" \\ \n 😀', lines: [{ sku: 'A-1', quantity: 2 }] }),
];

describe('arrayLiteral', () => {
  it.each(TEXTS)('writes text that Postgres reads as it was: %j', (text) => {
    expect(read(arrayLiteral([text]))).toEqual([text]);
  });

  it('writes what the driver writes, for text', () => {
    expect(arrayLiteral([...TEXTS, null])).toBe(prepareValue([...TEXTS, null]));
  });

  it('writes numbers, booleans and nothing', () => {
    expect(arrayLiteral([1, -2.5, 1e21, true, false, null, undefined])).toBe(
      '{1,-2.5,1e+21,true,false,NULL,NULL}',
    );
    expect(arrayLiteral([])).toBe('{}');
  });

  it('leaves to the driver what is none of these', () => {
    for (const element of [new Date(0), Buffer.from('a'), ['nested'], { a: 1 }]) {
      expect(arrayLiteral(['a', element])).toBeUndefined();
    }
  });
});
