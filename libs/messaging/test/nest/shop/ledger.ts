import { Injectable } from '@nestjs/common';

/** What the controllers have seen, in order. */
@Injectable()
export class Ledger {
  readonly lines: string[] = [];

  note(line: string): void {
    this.lines.push(line);
  }

  count(line: string): number {
    return this.lines.filter((each) => each === line).length;
  }
}
