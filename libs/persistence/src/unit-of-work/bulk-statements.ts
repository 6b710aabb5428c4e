import type { PipelinedClient } from '../connection/pipelined-client.ts';
import { bulkParameters, type BulkStatement } from './bulk-statement.ts';

/** A row of a bulk statement's result: `n` says which of the given rows it belongs to, from 1. */
interface NumberedRow {
  readonly n: number;
}

/** Runs a bulk statement for some rows; the rows of the result are those of all. */
export async function runBulk<R>(
  client: PipelinedClient,
  statement: BulkStatement,
  rows: readonly (readonly unknown[])[],
): Promise<R[]> {
  return client.askNamed<R>(statement.name, statement.text, bulkParameters(statement, rows));
}

interface Asked {
  readonly row: readonly unknown[];
  readonly resolve: (rows: never[]) => void;
  readonly reject: (error: unknown) => void;
}

/** Gathers the bulk statements of overlapping units: what is asked in one turn goes out as one statement each. */
export class BulkStatements {
  readonly #client: PipelinedClient;
  #asked = new Map<BulkStatement, Asked[]>();

  constructor(client: PipelinedClient) {
    this.#client = client;
  }

  add<R>(statement: BulkStatement, row: readonly unknown[]): Promise<R[]> {
    const answer = new Promise<R[]>((resolve, reject) => {
      // Once all that runs in this turn has run, its promises included.
      if (this.#asked.size === 0) process.nextTick(() => this.flush());
      const asked = this.#asked.get(statement);
      if (asked === undefined) this.#asked.set(statement, [{ row, resolve, reject }]);
      else asked.push({ row, resolve, reject });
    });
    return this.#client.traced(statement.text, answer);
  }

  /** Sends what has been asked: a statement sent after this runs after it. */
  flush(): void {
    if (this.#asked.size === 0) return;
    const all = this.#asked;
    this.#asked = new Map();
    for (const [statement, asked] of all) void this.#run(statement, asked);
  }

  async #run(statement: BulkStatement, asked: readonly Asked[]): Promise<void> {
    try {
      const rows = await runBulk<NumberedRow>(
        this.#client,
        statement,
        asked.map(({ row }) => row),
      );
      if (asked.length === 1) {
        asked[0]?.resolve(rows as never[]);
        return;
      }
      const answers = asked.map((): NumberedRow[] => []);
      for (const row of rows) answers[row.n - 1]?.push(row);
      for (const [index, { resolve }] of asked.entries()) resolve(answers[index] as never[]);
    } catch (error) {
      for (const { reject } of asked) reject(error);
    }
  }
}
