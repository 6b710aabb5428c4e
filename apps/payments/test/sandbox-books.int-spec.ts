import { migrate } from '@flotilla/persistence/migrate';
import { createTestDatabase, type TestDatabase } from '@flotilla/testing';
import { newId } from '@flotilla/kernel';
import { Pool } from 'pg';
import { paymentsMigrations } from '../src/persistence/migrations/index.ts';
import { SandboxBooks } from '../src/provider/sandbox/sandbox-books.ts';

const template = {
  name: 'payments',
  migrate: async (url: string): Promise<void> => {
    await migrate({ url, migrations: paymentsMigrations });
  },
};

let database: TestDatabase;
let pool: Pool;
let books: SandboxBooks;

beforeAll(async () => {
  database = await createTestDatabase({ template });
  pool = new Pool({ connectionString: database.url, max: 10 });
  books = new SandboxBooks(pool);
});

afterAll(async () => {
  await pool.end();
  await database.drop();
});

async function authorised(amountMinor: number): Promise<string> {
  const reference = `auth_${newId()}`;
  const answers = await books.decideAuthorisations([
    { key: newId(), answer: { outcome: 'authorised', reference }, amountMinor, currency: 'GBP' },
  ]);
  expect(answers).toEqual([{ outcome: 'authorised', reference }]);
  return reference;
}

describe('the books of the sandbox provider', () => {
  it('decide a key once, whatever is asked with it later', async () => {
    const key = newId();
    const first = {
      key,
      answer: { outcome: 'declined', reason: 'declined' },
      amountMinor: 5,
      currency: 'GBP',
    } as const;
    const other = {
      key,
      answer: { outcome: 'authorised', reference: 'x' },
      amountMinor: 5,
      currency: 'GBP',
    } as const;
    const declined = { outcome: 'declined', reason: 'declined' };
    expect(await books.decideAuthorisations([first])).toEqual([declined]);
    expect(await books.decideAuthorisations([other])).toEqual([declined]);
    expect(await books.read(key)).toEqual(declined);
    expect(await books.cancel(key)).toEqual(declined);
  });

  it('answer a batch in its order, with what is new and what is known', async () => {
    const known = newId();
    await books.cancel(known);
    const reference = `auth_${newId()}`;
    const answers = await books.decideAuthorisations([
      {
        key: newId(),
        answer: { outcome: 'declined', reason: 'unknown_token' },
        amountMinor: 1,
        currency: 'GBP',
      },
      { key: known, answer: { outcome: 'authorised', reference: 'late' }, amountMinor: 1, currency: 'GBP' },
      { key: newId(), answer: { outcome: 'authorised', reference }, amountMinor: 1, currency: 'GBP' },
    ]);
    expect(answers).toEqual([
      { outcome: 'declined', reason: 'unknown_token' },
      { outcome: 'cancelled' },
      { outcome: 'authorised', reference },
    ]);
  });

  it('do nothing for a request that arrives after its key was cancelled', async () => {
    const reference = await authorised(100);
    const key = newId();
    expect(await books.cancel(key)).toEqual({ outcome: 'cancelled' });
    expect(await books.decideSettlements([{ key, kind: 'capture', reference }])).toEqual([
      { outcome: 'cancelled' },
    ]);
    // The authorisation was not touched: under another key it can still be voided.
    expect(await books.decideSettlements([{ key: newId(), kind: 'void', reference }])).toEqual([
      { outcome: 'voided' },
    ]);
  });

  it('let one of many requests for one authorisation win, and say to the others why not', async () => {
    const reference = await authorised(100);
    const kinds = Array.from({ length: 20 }, (_, index) => (index % 2 === 0 ? 'capture' : 'void'));
    const answers = await Promise.all(
      kinds.map(async (kind) => {
        const [answer] = await books.decideSettlements([{ key: newId(), kind: kind, reference }]);
        return answer;
      }),
    );
    const won = answers.filter((answer) => answer?.outcome !== 'refused');
    expect(won).toHaveLength(1);
    expect(answers.filter((answer) => answer?.outcome === 'refused')).toEqual(
      Array.from({ length: 19 }, () => ({ outcome: 'refused', reason: `already_${won[0]?.outcome}` })),
    );
  });

  it('let a cancellation and its request race to one truth', async () => {
    for (let round = 0; round < 20; round += 1) {
      const reference = await authorised(100);
      const key = newId();
      const [cancelled, [captured]] = await Promise.all([
        books.cancel(key),
        books.decideSettlements([{ key, kind: 'capture', reference }]),
      ]);
      expect(cancelled).toEqual(captured);
      const { rows } = await pool.query<{ status: string }>(
        'SELECT status FROM sandbox_provider.authorisations WHERE reference = $1',
        [reference],
      );
      expect(rows[0]?.status).toBe(captured?.outcome === 'captured' ? 'captured' : 'authorised');
    }
  });

  it('refund no more than was captured', async () => {
    const reference = await authorised(100);
    const refund = (amountMinor: number) =>
      books.decideSettlements([{ key: newId(), kind: 'refund', reference, amountMinor, currency: 'GBP' }]);
    expect(await refund(1)).toEqual([{ outcome: 'refused', reason: 'already_authorised' }]);
    await books.decideSettlements([{ key: newId(), kind: 'capture', reference }]);
    expect(await refund(60)).toEqual([{ outcome: 'refunded' }]);
    expect(await refund(41)).toEqual([{ outcome: 'refused', reason: 'exceeds_captured' }]);
    expect(await refund(40)).toEqual([{ outcome: 'refunded' }]);
    const unknown = { key: newId(), kind: 'capture', reference: 'nobody' } as const;
    expect(await books.decideSettlements([unknown])).toEqual([
      { outcome: 'refused', reason: 'unknown_authorisation' },
    ]);
  });
});

describe('the ledger in the database', () => {
  const insert = (lines: string): Promise<unknown> =>
    pool.query(
      `INSERT INTO ledger_entries (transaction_id, line, kind, payment_id, account, direction, amount_minor, currency)
       SELECT $1::uuid, line, 'capture', $1::uuid, account, direction, amount_minor, currency
         FROM (VALUES ${lines}) AS entry (line, account, direction, amount_minor, currency)`,
      [newId()],
    );

  it('takes a posting that balances', async () => {
    await insert(`(1, 'provider_clearing', 'debit', 10, 'GBP'), (2, 'sales', 'credit', 10, 'GBP')`);
  });

  it.each([
    ['one side', `(1, 'sales', 'credit', 10, 'GBP')`],
    ['two amounts', `(1, 'provider_clearing', 'debit', 10, 'GBP'), (2, 'sales', 'credit', 9, 'GBP')`],
    ['two currencies', `(1, 'provider_clearing', 'debit', 10, 'GBP'), (2, 'sales', 'credit', 10, 'EUR')`],
  ])('refuses one with %s', async (_, lines) => {
    await expect(insert(lines)).rejects.toThrow('does not balance');
  });

  it('is append-only', async () => {
    await expect(pool.query('UPDATE ledger_entries SET amount_minor = 1')).rejects.toThrow('append-only');
    await expect(pool.query('DELETE FROM ledger_entries')).rejects.toThrow('append-only');
  });
});
