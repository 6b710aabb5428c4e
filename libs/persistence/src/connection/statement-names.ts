/**
 * Gives statements that come again and again a name, so that Postgres parses them once per connection. What is seen
 * seldom (lists of varying length, for example) stays unnamed: each name costs the server memory for as long as the
 * connection lives.
 */
export class StatementNames {
  readonly #seen = new Map<string, number>();
  readonly #names = new Map<string, string>();
  readonly #limit: number;
  readonly #after: number;

  /** At most `limit` names; a text is named when it is seen for the `after`th time. */
  constructor(limit: number, after: number) {
    this.#limit = limit;
    this.#after = after;
  }

  /** The name to send the statement under; undefined: send it unnamed. */
  nameOf(text: string): string | undefined {
    const name = this.#names.get(text);
    if (name !== undefined || this.#names.size >= this.#limit) return name;
    const times = (this.#seen.get(text) ?? 0) + 1;
    if (times < this.#after) {
      // Forget the counts rather than keep every text there ever was.
      if (this.#seen.size >= 1_000) this.#seen.clear();
      this.#seen.set(text, times);
      return undefined;
    }
    this.#seen.delete(text);
    const fresh = `s${this.#names.size}`;
    this.#names.set(text, fresh);
    return fresh;
  }
}
