import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * The books of the sandbox provider: a stand-in for another company's, so nothing of ours refers to them, and
 * only src/provider/sandbox touches them.
 */
export class CreateSandboxProvider implements MigrationInterface {
  readonly name = 'CreateSandboxProvider1763860000002';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      CREATE SCHEMA sandbox_provider;

      -- Every request that was decided, by idempotency key; a row never changes.
      CREATE TABLE sandbox_provider.operations (
        key text PRIMARY KEY,
        kind text NOT NULL CHECK (kind IN ('authorise', 'capture', 'void', 'refund', 'cancel')),
        outcome text NOT NULL CHECK (
          outcome IN ('authorised', 'declined', 'captured', 'voided', 'refunded', 'refused', 'cancelled')),
        reason text,
        reference text,
        amount_minor bigint,
        currency text,
        decided_at timestamptz NOT NULL DEFAULT clock_timestamp()
      );

      CREATE TABLE sandbox_provider.authorisations (
        reference text PRIMARY KEY,
        amount_minor bigint NOT NULL,
        currency text NOT NULL,
        status text NOT NULL CHECK (status IN ('authorised', 'captured', 'voided')),
        refunded_minor bigint NOT NULL DEFAULT 0 CHECK (refunded_minor BETWEEN 0 AND amount_minor)
      ) WITH (fillfactor = 80);

      -- How often a request with the token tok_flaky came.
      CREATE TABLE sandbox_provider.flaky_requests (key text PRIMARY KEY, times integer NOT NULL);
    `);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('DROP SCHEMA sandbox_provider CASCADE');
  }
}
