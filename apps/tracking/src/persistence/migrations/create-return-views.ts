import type { MigrationInterface, QueryRunner } from 'typeorm';

export class CreateReturnViews1700000000002 implements MigrationInterface {
  readonly name = 'CreateReturnViews1700000000002';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      CREATE TABLE return_views (
        return_id uuid PRIMARY KEY,
        order_id uuid NOT NULL,
        -- Of the order's event that gave the status: the newer one wins.
        version integer NOT NULL,
        status text NOT NULL,
        lines jsonb NOT NULL,
        refund_minor bigint NOT NULL,
        currency text NOT NULL,
        requested_at timestamptz,
        ended_at timestamptz
      )`);
    await queryRunner.query('CREATE INDEX return_views_of_order ON return_views (order_id)');
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('DROP TABLE return_views');
  }
}
