import { readCursor, writeCursor } from './cursor.ts';

describe('a cursor', () => {
  const cursor = { placedAt: '2026-01-02T03:04:05.678Z', orderId: '0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b' };

  it('survives being an opaque text', () => expect(readCursor(writeCursor(cursor))).toEqual(cursor));

  it.each(['', 'nonsense', Buffer.from('soon x').toString('base64url'), writeCursor(cursor).slice(4)])(
    'is refused when it is "%s"',
    (text) => expect(readCursor(text)).toBeUndefined(),
  );

  it.each([
    ['5', cursor.orderId],
    ['+275760-09-13T00:00:00.000Z', cursor.orderId],
    ['0000-01-01T00:00:00.000Z', cursor.orderId],
    ['2026-13-02T03:04:05.678Z', cursor.orderId],
    [cursor.placedAt, '-'.repeat(36)],
  ])('is refused when somebody made it of %s and %s, which no database takes', (placedAt, orderId) =>
    expect(readCursor(writeCursor({ placedAt, orderId }))).toBeUndefined(),
  );
});
