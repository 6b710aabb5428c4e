import { readChange, withChanges } from './set-path.ts';

const body = { orderId: 'o-1', lines: [{ sku: 'a', quantity: 1 }], shipTo: { name: 'Ann' } };
const changed = (...texts: string[]): unknown => withChanges(body, texts.map(readChange));

describe('a change of a body', () => {
  it('is a path and a value, JSON or text, and leaves the original alone', () => {
    expect(changed('lines[0].quantity=2', 'shipTo.name=Bob B.', 'note="7"', 'shipTo.floor=null')).toEqual({
      orderId: 'o-1',
      lines: [{ sku: 'a', quantity: 2 }],
      shipTo: { name: 'Bob B.', floor: null },
      note: '7',
    });
    expect(body.lines[0]?.quantity).toBe(1);
  });

  it('may have an = in its value', () => {
    expect(changed('shipTo.name=a=b')).toMatchObject({ shipTo: { name: 'a=b' } });
  });

  it.each(['lines', '=1', 'a..b=1', 'a[x]=1', '__proto__.polluted=1'])('is refused as %j', (text) => {
    expect(() => readChange(text)).toThrow('is no change: write path=value');
  });

  it.each([
    ['lines.sku=1', 'There is no lines.sku in the body: lines has no sku'],
    ['address.city=x', 'There is no address.city in the body: address has no city'],
    ['shipTo[0]=x', 'There is no shipTo[0] in the body: shipTo has no [0]'],
  ])('that leads nowhere is refused: %j', (text, message) => {
    expect(() => changed(text)).toThrow(message);
  });
});
