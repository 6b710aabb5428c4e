import type { MigrationInterface, QueryRunner } from 'typeorm';

export class CreateOrderViews1700000000001 implements MigrationInterface {
  readonly name = 'CreateOrderViews1700000000001';

  async up(queryRunner: QueryRunner): Promise<void> {
    // The details are null until OrderPlaced has come: events of one order may overtake each other.
    await queryRunner.query(`
      CREATE TABLE order_views (
        order_id uuid PRIMARY KEY,
        customer_id text NOT NULL,
        status text NOT NULL,
        version integer NOT NULL,
        rejection_reason text,
        reference text,
        lines jsonb,
        total_minor bigint,
        currency text,
        ship_to jsonb,
        tracking_number text,
        placed_at timestamptz,
        updated_at timestamptz NOT NULL
      )`);
    await queryRunner.query('CREATE INDEX order_views_recent ON order_views (placed_at DESC, order_id DESC)');
    await queryRunner.query(
      'CREATE INDEX order_views_of_customer ON order_views (customer_id, placed_at DESC, order_id DESC)',
    );
    await queryRunner.query(
      'CREATE INDEX order_views_in_status ON order_views (status, placed_at DESC, order_id DESC)',
    );
    await queryRunner.query(`
      CREATE TABLE timeline_entries (
        order_id uuid NOT NULL,
        position integer NOT NULL,
        at timestamptz NOT NULL,
        event text NOT NULL,
        status text NOT NULL,
        detail text,
        PRIMARY KEY (order_id, position)
      )`);
    // By kind and key, so that a payment event which comes twice or late adds nothing twice.
    await queryRunner.query(`
      CREATE TABLE payment_entries (
        order_id uuid NOT NULL,
        entry text NOT NULL,
        kind text NOT NULL CHECK (kind IN ('authorised', 'captured', 'refunded')),
        amount_minor bigint NOT NULL,
        currency text NOT NULL,
        PRIMARY KEY (order_id, entry)
      )`);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('DROP TABLE payment_entries, timeline_entries, order_views');
  }
}
