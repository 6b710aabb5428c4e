import { closeSync, existsSync, fstatSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

export interface RotatingLogOptions {
  /** A file that grew beyond this is put aside. Default 16 MiB. */
  readonly maxBytes?: number;
  /** Files put aside that are kept, as `<file>.1` (the latest) and so on. Default 3. */
  readonly keep?: number;
}

/** A log file of bounded size. */
export class RotatingLog {
  readonly #file: string;
  readonly #maxBytes: number;
  readonly #keep: number;
  #descriptor: number;
  #size: number;

  constructor(file: string, options: RotatingLogOptions = {}) {
    this.#file = file;
    this.#maxBytes = options.maxBytes ?? 16 * 1024 ** 2;
    this.#keep = options.keep ?? 3;
    mkdirSync(dirname(file), { recursive: true });
    [this.#descriptor, this.#size] = open(file);
  }

  /** Appends a piece of text that ends with a line break. */
  write(lines: string): void {
    const bytes = Buffer.from(lines);
    if (this.#size > 0 && this.#size + bytes.length > this.#maxBytes) this.#rotate();
    writeSync(this.#descriptor, bytes);
    this.#size += bytes.length;
  }

  close(): void {
    closeSync(this.#descriptor);
  }

  #rotate(): void {
    closeSync(this.#descriptor);
    for (let number = this.#keep - 1; number >= 1; number--) {
      if (existsSync(`${this.#file}.${number}`)) {
        renameSync(`${this.#file}.${number}`, `${this.#file}.${number + 1}`);
      }
    }
    renameSync(this.#file, `${this.#file}.1`);
    [this.#descriptor, this.#size] = open(this.#file);
  }
}

function open(file: string): [descriptor: number, size: number] {
  const descriptor = openSync(file, 'a', 0o600);
  return [descriptor, fstatSync(descriptor).size];
}
