/** One message of a protocol as it is on the wire. */
export interface Frame {
  /** What it is, in the protocol's own words: `Q`, `C`, `HPUB`. */
  readonly kind: string;
  readonly bytes: Buffer;
}

/** Cuts the bytes of one direction of one connection into frames. */
export interface Framer {
  /** The frames that are complete with this chunk; the rest is kept for the next. */
  push(chunk: Buffer): readonly Frame[];
}

/** Makes the framers of one connection. */
export interface Protocol {
  readonly name: string;
  /** From the client to the server. */
  readonly up: () => Framer;
  /** From the server to the client. */
  readonly down: () => Framer;
}

/** Keeps what is not complete yet; `next` says how long the first frame of the bytes is, undefined while it is open. */
export class LengthFramer implements Framer {
  readonly #next: (bytes: Buffer) => { readonly kind: string; readonly length: number } | undefined;
  #rest: Buffer = Buffer.alloc(0);

  constructor(next: (bytes: Buffer) => { readonly kind: string; readonly length: number } | undefined) {
    this.#next = next;
  }

  push(chunk: Buffer): readonly Frame[] {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const frames: Frame[] = [];
    for (;;) {
      const head = this.#next(bytes);
      if (head === undefined || head.length > bytes.length) break;
      frames.push({ kind: head.kind, bytes: bytes.subarray(0, head.length) });
      bytes = bytes.subarray(head.length);
    }
    this.#rest = bytes;
    return frames;
  }
}
