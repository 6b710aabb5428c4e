import { isUuid } from '@flotilla/kernel';

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
  // Exactly: what is nearly a time or an id fails in the database, as if that were broken.
  if (!moment.test(placedAt) || Number.isNaN(Date.parse(placedAt)) || !isUuid(orderId)) return undefined;
  return { placedAt, orderId };
}

const moment = /^(?:19[7-9]|[2-9]\d\d)\d-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z$/;
