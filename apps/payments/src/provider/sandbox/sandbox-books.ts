import type { Pool, QueryResult } from 'pg';
import type { ProviderAnswer } from '../payment-provider.ts';
import type { StatementLine } from '../provider-statement.ts';

/** An authorisation as the sandbox judged it; what counts is which request with its key comes first. */
export interface JudgedAuthorisation {
  readonly key: string;
  readonly answer: Extract<ProviderAnswer, { outcome: 'authorised' | 'declined' }>;
  readonly amountMinor: number;
  readonly currency: string;
}

export interface Settlement {
  readonly key: string;
  readonly kind: 'capture' | 'void' | 'refund';
  readonly reference: string;
  /** Only of refunds. */
  readonly amountMinor?: number;
  readonly currency?: string;
}

interface OperationRow {
  readonly key: string;
  readonly outcome: ProviderAnswer['outcome'];
  readonly reason: string | null;
  readonly reference: string | null;
}

// The key is the arbiter: whoever inserts its row decides, and everybody else reads it.
const DECIDE_AUTHORISATIONS = `
  WITH decided AS (
    INSERT INTO sandbox_provider.operations (key, kind, outcome, reason, reference, amount_minor, currency)
    SELECT key, 'authorise', outcome, reason, reference, amount_minor, currency
      FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[])
           AS asked (key, outcome, reason, reference, amount_minor, currency)
     ORDER BY key
    ON CONFLICT (key) DO NOTHING
    RETURNING key, outcome, reason, reference, amount_minor, currency
  ), held AS (
    INSERT INTO sandbox_provider.authorisations (reference, amount_minor, currency, status)
    SELECT reference, amount_minor, currency, 'authorised' FROM decided WHERE outcome = 'authorised'
  )
  SELECT key, outcome, reason, reference FROM decided`;

// Locks the authorisations first, so that what is judged is what is changed; a batch has one request for each.
const DECIDE_SETTLEMENTS = `
  WITH asked AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[])
                  AS asked (key, kind, reference, amount_minor, currency)
  ), held AS (
    SELECT reference, amount_minor, currency, status, refunded_minor
      FROM sandbox_provider.authorisations
     WHERE reference IN (SELECT reference FROM asked)
     ORDER BY reference
       FOR UPDATE
  ), judged AS (
    SELECT asked.key, asked.kind, asked.reference,
           coalesce(asked.amount_minor, held.amount_minor) AS amount_minor,
           coalesce(asked.currency, held.currency) AS currency,
           CASE WHEN held.reference IS NULL THEN 'unknown_authorisation'
                WHEN held.status <> CASE asked.kind WHEN 'refund' THEN 'captured' ELSE 'authorised' END
                THEN 'already_' || held.status
                WHEN asked.currency <> held.currency THEN 'other_currency'
                WHEN held.refunded_minor + asked.amount_minor > held.amount_minor THEN 'exceeds_captured'
           END AS obstacle
      FROM asked LEFT JOIN held USING (reference)
  ), decided AS (
    INSERT INTO sandbox_provider.operations (key, kind, outcome, reason, reference, amount_minor, currency)
    SELECT key, kind,
           CASE WHEN obstacle IS NOT NULL THEN 'refused'
                ELSE CASE kind WHEN 'capture' THEN 'captured' WHEN 'void' THEN 'voided' ELSE 'refunded' END
           END,
           obstacle, reference, amount_minor, currency
      FROM judged
     ORDER BY key
    ON CONFLICT (key) DO NOTHING
    RETURNING key, outcome, reason, reference, amount_minor
  ), changed AS (
    UPDATE sandbox_provider.authorisations AS held
       SET status = CASE decided.outcome WHEN 'refunded' THEN held.status ELSE decided.outcome END,
           refunded_minor = held.refunded_minor
             + CASE decided.outcome WHEN 'refunded' THEN decided.amount_minor ELSE 0 END
      FROM decided
     WHERE decided.reference = held.reference AND decided.outcome <> 'refused'
  )
  SELECT key, outcome, reason, reference FROM decided`;

const CANCEL = `
  INSERT INTO sandbox_provider.operations (key, kind, outcome) VALUES ($1, 'cancel', 'cancelled')
  ON CONFLICT (key) DO NOTHING
  RETURNING key, outcome, reason, reference`;

const READ =
  'SELECT key, outcome, reason, reference FROM sandbox_provider.operations WHERE key = ANY ($1::text[])';

const STATEMENT = `
  SELECT key, reference, status, held.amount_minor::float8, held.currency, refunded_minor::float8
    FROM sandbox_provider.operations JOIN sandbox_provider.authorisations AS held USING (reference)
   WHERE kind = 'authorise' AND outcome = 'authorised'`;

interface StatementRow {
  readonly key: string;
  readonly reference: string;
  readonly status: StatementLine['status'];
  readonly amount_minor: number;
  readonly currency: string;
  readonly refunded_minor: number;
}

const COUNT_FLAKY = `
  INSERT INTO sandbox_provider.flaky_requests AS seen (key, times) VALUES ($1, 1)
  ON CONFLICT (key) DO UPDATE SET times = seen.times + 1
  RETURNING times`;

/** The sandbox provider's own durable books, on its own connections: every answer is committed before it is given. */
export class SandboxBooks {
  readonly #pool: Pool;

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  /** Decides those keys that nobody decided before; answers for all, in order. */
  async decideAuthorisations(asked: readonly JudgedAuthorisation[]): Promise<ProviderAnswer[]> {
    const decided = await this.#query<OperationRow>('sandbox_authorise', DECIDE_AUTHORISATIONS, [
      asked.map(({ key }) => key),
      asked.map(({ answer }) => answer.outcome),
      asked.map(({ answer }) => (answer.outcome === 'declined' ? answer.reason : null)),
      asked.map(({ answer }) => (answer.outcome === 'authorised' ? answer.reference : null)),
      asked.map(({ amountMinor }) => amountMinor),
      asked.map(({ currency }) => currency),
    ]);
    return this.#answers(asked, decided.rows);
  }

  /** Like {@link decideAuthorisations}; the requests are for different authorisations. */
  async decideSettlements(asked: readonly Settlement[]): Promise<ProviderAnswer[]> {
    const decided = await this.#query<OperationRow>('sandbox_settle', DECIDE_SETTLEMENTS, [
      asked.map(({ key }) => key),
      asked.map(({ kind }) => kind),
      asked.map(({ reference }) => reference),
      asked.map(({ amountMinor }) => amountMinor ?? null),
      asked.map(({ currency }) => currency ?? null),
    ]);
    return this.#answers(asked, decided.rows);
  }

  async read(key: string): Promise<ProviderAnswer | undefined> {
    const { rows } = await this.#query<OperationRow>('sandbox_read', READ, [[key]]);
    return rows[0] && answerOf(rows[0]);
  }

  async cancel(key: string): Promise<ProviderAnswer> {
    const { rows } = await this.#query<OperationRow>('sandbox_cancel', CANCEL, [key]);
    const [answer] = await this.#answers([{ key }], rows);
    return answer as ProviderAnswer;
  }

  /** What was granted and what became of it, in the order of the keys. */
  async page(after: string | undefined, limit: number): Promise<StatementLine[]> {
    const { rows } = await this.#query<StatementRow>(
      'sandbox_page',
      `${STATEMENT} AND ($1::text IS NULL OR key > $1) ORDER BY key LIMIT $2`,
      [after ?? null, limit],
    );
    return rows.map(lineOf);
  }

  async lines(keys: readonly string[]): Promise<StatementLine[]> {
    const { rows } = await this.#query<StatementRow>(
      'sandbox_lines',
      `${STATEMENT} AND key = ANY ($1::text[])`,
      [keys],
    );
    return rows.map(lineOf);
  }

  /** Counts a request that may fail, and says the how manieth with its key it is. */
  async countFlaky(key: string): Promise<number> {
    const { rows } = await this.#query<{ times: number }>('sandbox_flaky', COUNT_FLAKY, [key]);
    return rows[0]?.times ?? 1;
  }

  async #answers(
    asked: readonly { key: string }[],
    decided: readonly OperationRow[],
  ): Promise<ProviderAnswer[]> {
    const byKey = new Map(decided.map((row) => [row.key, row]));
    const before = asked.map(({ key }) => key).filter((key) => !byKey.has(key));
    if (before.length > 0) {
      const { rows } = await this.#query<OperationRow>('sandbox_read', READ, [before]);
      for (const row of rows) byKey.set(row.key, row);
    }
    return asked.map(({ key }) => {
      const row = byKey.get(key);
      if (row === undefined) throw new Error(`The sandbox provider lost the operation "${key}"`);
      return answerOf(row);
    });
  }

  // Named, so that each connection parses and plans a statement once.
  #query<Row extends object>(name: string, text: string, values: unknown[]): Promise<QueryResult<Row>> {
    return this.#pool.query<Row>({ name, text, values });
  }
}

function lineOf(row: StatementRow): StatementLine {
  const { key, reference, status, amount_minor: amountMinor, currency, refunded_minor: refundedMinor } = row;
  return { key, reference, status, amount: { amountMinor, currency }, refundedMinor };
}

function answerOf({ outcome, reason, reference }: OperationRow): ProviderAnswer {
  switch (outcome) {
    case 'authorised':
      return { outcome, reference: reference ?? '' };
    case 'declined':
      return {
        outcome,
        reason: (reason ?? 'declined') as Extract<ProviderAnswer, { outcome: 'declined' }>['reason'],
      };
    case 'refused':
      return { outcome, reason: reason ?? 'refused' };
    case 'captured':
    case 'voided':
    case 'refunded':
    case 'cancelled':
      return { outcome };
  }
}
