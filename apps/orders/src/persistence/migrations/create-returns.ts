import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What comes back of completed orders. */
export class CreateReturns1700000000002 implements MigrationInterface {
  readonly name = 'CreateReturns1700000000002';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      CREATE TABLE order_returns (
        return_id uuid PRIMARY KEY,
        order_id uuid NOT NULL REFERENCES orders (order_id),
        status text NOT NULL CHECK (status IN ('requested', 'received', 'completed', 'expired', 'cancelled')),
        lines jsonb NOT NULL,
        refund_minor bigint NOT NULL CHECK (refund_minor >= 0),
        currency text NOT NULL,
        reason text,
        detail text,
        requested_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL
      )`);
    await queryRunner.query('CREATE INDEX order_returns_of_order ON order_returns (order_id, requested_at)');
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('DROP TABLE order_returns');
  }
}
