/** Thrown when a source does not give its rows in the order of their keys; then nothing can be said. */
export class UnsortedSourceError extends Error {
  constructor(source: string, key: string, after: string) {
    super(`${source} gave "${key}" after "${after}": its rows have to be sorted by their keys, bytewise`);
    this.name = 'UnsortedSourceError';
  }
}

/** Rows of anything, sorted by the key that they are about. */
export interface Source<R> {
  readonly rows: AsyncIterable<R> | Iterable<R>;
  readonly keyOf: (row: R) => string;
}

/**
 * Brings together what several sorted sources say of the same key, key by key: the rows of each, none for a source that
 * has none. Of all of it, only one key's rows and a page of each source are in memory.
 */
export async function* together<R extends Readonly<Record<string, unknown>>>(sources: {
  readonly [N in keyof R]: Source<R[N]>;
}): AsyncGenerator<readonly [key: string, rows: { readonly [N in keyof R]: R[N][] }]> {
  const readers = Object.entries(sources).map(
    ([name, source]) => new Reader(name, source as Source<unknown>),
  );
  await Promise.all(readers.map((reader) => reader.advance()));
  for (;;) {
    const key = readers.reduce<string | undefined>(
      (least, reader) =>
        reader.key !== undefined && (least === undefined || before(reader.key, least)) ? reader.key : least,
      undefined,
    );
    if (key === undefined) return;
    const rows: Record<string, unknown[]> = {};
    for (const reader of readers) rows[reader.name] = await reader.take(key);
    yield [key, rows as { readonly [N in keyof R]: R[N][] }];
  }
}

class Reader {
  readonly name: string;
  readonly #keyOf: (row: unknown) => string;
  readonly #rows: AsyncIterator<unknown> | Iterator<unknown>;
  #row: unknown;
  /** Of the next row; undefined at the end. */
  key: string | undefined;

  constructor(name: string, { rows, keyOf }: Source<unknown>) {
    this.name = name;
    this.#keyOf = keyOf;
    this.#rows = Symbol.asyncIterator in rows ? rows[Symbol.asyncIterator]() : rows[Symbol.iterator]();
  }

  async advance(): Promise<void> {
    const next = await this.#rows.next();
    if (next.done === true) {
      this.key = undefined;
      return;
    }
    const key = this.#keyOf(next.value);
    if (this.key !== undefined && before(key, this.key))
      throw new UnsortedSourceError(this.name, key, this.key);
    this.#row = next.value;
    this.key = key;
  }

  async take(key: string): Promise<unknown[]> {
    const taken: unknown[] = [];
    while (this.key === key) {
      taken.push(this.#row);
      await this.advance();
    }
    return taken;
  }
}

/** Whether a text comes first by its bytes, as Postgres sorts with COLLATE "C". */
function before(one: string, other: string): boolean {
  // UTF-16 sorts otherwise than UTF-8 only where surrogates are.
  if (!/[\ud800-\uffff]/.test(one + other)) return one < other;
  return Buffer.compare(Buffer.from(one), Buffer.from(other)) < 0;
}
