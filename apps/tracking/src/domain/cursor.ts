/** Where a page of orders ended: the placing time and the id of its last order. */
export interface Cursor {
  readonly placedAt: string;
  readonly orderId: string;
}

/** The cursor as an opaque text for the caller. */
export function writeCursor({ placedAt, orderId }: Cursor): string {
  return Buffer.from(`${placedAt} ${orderId}`).toString('base64url');
}

/** Reads a cursor that {@link writeCursor} wrote; undefined if the text is none. */
export function readCursor(text: string): Cursor | undefined {
  const [placedAt, orderId, ...rest] = Buffer.from(text, 'base64url').toString('utf8').split(' ');
  if (placedAt === undefined || orderId === undefined || rest.length > 0) return undefined;
  if (Number.isNaN(Date.parse(placedAt)) || !/^[0-9a-f-]{36}$/i.test(orderId)) return undefined;
  return { placedAt, orderId };
}
