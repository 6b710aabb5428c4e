import type { MigrationInterface, QueryRunner } from 'typeorm';

export class CreateOrders1700000000001 implements MigrationInterface {
  readonly name = 'CreateOrders1700000000001';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      CREATE TABLE orders (
        order_id uuid PRIMARY KEY,
        customer_id text NOT NULL,
        email text,
        reference text,
        status text NOT NULL CHECK (status IN
          ('pending', 'awaiting_review', 'confirmed', 'shipped', 'completed', 'rejected', 'cancelled')),
        version integer NOT NULL CHECK (version > 0),
        total_minor bigint NOT NULL CHECK (total_minor >= 0),
        currency text NOT NULL,
        lines jsonb NOT NULL,
        ship_to jsonb NOT NULL,
        rejection_reason text,
        detail text,
        placed_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        CHECK ((status = 'rejected') = (rejection_reason IS NOT NULL))
      )`);
    // What waits for somebody: small, whatever the number of orders that have ended.
    await queryRunner.query(`
      CREATE INDEX orders_open ON orders (placed_at) WHERE status NOT IN ('completed', 'rejected', 'cancelled')`);
    await queryRunner.query(`
      CREATE TABLE products (
        sku text PRIMARY KEY,
        name text NOT NULL,
        kind text NOT NULL,
        price_minor bigint NOT NULL,
        currency text NOT NULL,
        version integer NOT NULL
      )`);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('DROP TABLE products');
    await queryRunner.query('DROP TABLE orders');
  }
}
