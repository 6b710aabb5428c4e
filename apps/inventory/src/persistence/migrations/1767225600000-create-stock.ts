import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Stock levels, what orders hold of them, and which products have stock at all. */
export class CreateStock1767225600000 implements MigrationInterface {
  readonly name = 'CreateStock1767225600000';

  async up(queryRunner: QueryRunner): Promise<void> {
    // Room in each page lets an update stay in its page and touch no index.
    await queryRunner.query(`
      CREATE TABLE stock (
        sku text COLLATE "C" PRIMARY KEY,
        on_hand bigint NOT NULL CHECK (on_hand >= 0),
        reserved bigint NOT NULL CHECK (reserved >= 0),
        shipped bigint NOT NULL CHECK (shipped >= 0),
        received bigint NOT NULL CHECK (received BETWEEN 0 AND 9007199254740991),
        CONSTRAINT every_piece_is_somewhere CHECK (received = on_hand + reserved + shipped)
      ) WITH (fillfactor = 70)`);
    // The lines of an order are written once, read whole and never changed: two arrays in its row cost one row
    // and one index entry instead of one of each per line.
    await queryRunner.query(`
      CREATE TABLE reservations (
        order_id uuid PRIMARY KEY,
        state text NOT NULL CHECK (state IN ('reserved', 'released', 'shipped')),
        skus text[] NOT NULL,
        quantities bigint[] NOT NULL,
        release_reason text,
        created_at timestamptz NOT NULL DEFAULT now(),
        changed_at timestamptz NOT NULL DEFAULT now(),
        CHECK (cardinality(skus) = cardinality(quantities)),
        CHECK (cardinality(skus) > 0 OR state = 'released'),
        CHECK ((release_reason IS NOT NULL) = (state = 'released'))
      ) WITH (fillfactor = 90)`);
    await queryRunner.query(`
      CREATE TABLE product_kinds (
        sku text COLLATE "C" PRIMARY KEY,
        kind text NOT NULL CHECK (kind IN ('stocked', 'charge')),
        version integer NOT NULL
      )`);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('DROP TABLE product_kinds, reservations, stock');
  }
}
