import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Payments, their refunds, and the ledger. */
export class CreatePayments implements MigrationInterface {
  readonly name = 'CreatePayments1763860000001';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      CREATE TABLE payments (
        id uuid PRIMARY KEY,
        order_id uuid NOT NULL UNIQUE,
        customer_id text,
        status text NOT NULL
          CHECK (status IN ('pending', 'authorised', 'declined', 'captured', 'refunded', 'voided', 'forestalled')),
        amount_minor bigint CHECK (amount_minor >= 0),
        currency text CHECK (currency ~ '^[A-Z]{3}$'),
        reference text,
        decline_reason text,
        in_flight text CHECK (in_flight IN ('capture', 'void')),
        in_flight_key text,
        refunded_minor bigint NOT NULL DEFAULT 0,
        refunding_minor bigint NOT NULL DEFAULT 0,
        version integer NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        CHECK ((amount_minor IS NULL) = (currency IS NULL)),
        CHECK (amount_minor IS NOT NULL OR status = 'forestalled'),
        CHECK ((reference IS NOT NULL) = (status IN ('authorised', 'captured', 'refunded', 'voided'))),
        CHECK ((decline_reason IS NOT NULL) = (status = 'declined')),
        CHECK ((in_flight IS NULL) = (in_flight_key IS NULL)),
        CHECK (in_flight IS NULL OR status = 'authorised'),
        CHECK (refunded_minor >= 0 AND refunding_minor >= 0),
        CHECK (refunded_minor + refunding_minor = 0
          OR (status IN ('captured', 'refunded') AND refunded_minor + refunding_minor <= amount_minor))
      ) WITH (fillfactor = 80);

      CREATE TABLE refunds (
        payment_id uuid NOT NULL REFERENCES payments (id),
        refund_key text NOT NULL,
        amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
        currency text NOT NULL,
        reason text NOT NULL,
        status text NOT NULL CHECK (status IN ('pending', 'refunded', 'refused')),
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (payment_id, refund_key)
      );

      CREATE TABLE ledger_entries (
        transaction_id uuid NOT NULL,
        line smallint NOT NULL,
        kind text NOT NULL CHECK (kind IN ('authorise', 'capture', 'void', 'refund')),
        payment_id uuid NOT NULL,
        account text NOT NULL CHECK (
          account IN ('customer_authorised', 'authorisation_hold', 'provider_clearing', 'sales', 'refunds')),
        direction text NOT NULL CHECK (direction IN ('debit', 'credit')),
        amount_minor bigint NOT NULL CHECK (amount_minor > 0),
        currency text NOT NULL,
        posted_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (transaction_id, line)
      );
      CREATE INDEX ledger_entries_of_payment ON ledger_entries (payment_id);

      -- A posting is inserted by one statement and never changed, so one look per statement keeps the books.
      CREATE FUNCTION ledger_refuse_unbalanced() RETURNS trigger LANGUAGE plpgsql AS $$
      DECLARE
        unbalanced record;
      BEGIN
        SELECT transaction_id, currency,
               coalesce(sum(amount_minor) FILTER (WHERE direction = 'debit'), 0) AS debits,
               coalesce(sum(amount_minor) FILTER (WHERE direction = 'credit'), 0) AS credits
          INTO unbalanced
          FROM added
         GROUP BY transaction_id, currency
        HAVING sum(CASE direction WHEN 'debit' THEN amount_minor ELSE -amount_minor END) <> 0
         LIMIT 1;
        IF FOUND THEN
          RAISE EXCEPTION 'ledger transaction % does not balance: debits %, credits % (%)',
            unbalanced.transaction_id, unbalanced.debits, unbalanced.credits, unbalanced.currency
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_entries_balance';
        END IF;
        RETURN NULL;
      END $$;
      CREATE TRIGGER ledger_entries_balance AFTER INSERT ON ledger_entries
        REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_unbalanced();

      CREATE FUNCTION ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        RAISE EXCEPTION 'the ledger is append-only: correct it with another posting'
          USING ERRCODE = 'restrict_violation';
      END $$;
      CREATE TRIGGER ledger_entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entries
        FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();
    `);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      DROP TABLE ledger_entries, refunds, payments;
      DROP FUNCTION ledger_refuse_unbalanced, ledger_refuse_change;
    `);
  }
}
