import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Where our books and the provider's differed, by order; a row stays when it is mended. */
export class CreateReconciliation implements MigrationInterface {
  readonly name = 'CreateReconciliation1763860000003';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      CREATE TABLE book_differences (
        order_id text PRIMARY KEY,
        kind text NOT NULL,
        ours jsonb,
        theirs jsonb,
        found_at timestamptz NOT NULL,
        -- The reconciliation that last saw it, and the one that no longer did.
        seen_at timestamptz NOT NULL,
        resolved_at timestamptz
      )`);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('DROP TABLE book_differences');
  }
}
