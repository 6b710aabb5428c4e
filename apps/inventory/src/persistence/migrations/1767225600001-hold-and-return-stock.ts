import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Reservations that are held for a time, and goods that come back. */
export class HoldAndReturnStock1767225600001 implements MigrationInterface {
  readonly name = 'HoldAndReturnStock1767225600001';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      ALTER TABLE stock
        ADD COLUMN restocked bigint NOT NULL DEFAULT 0 CHECK (restocked >= 0),
        DROP CONSTRAINT every_piece_is_somewhere,
        ADD CONSTRAINT every_piece_is_somewhere CHECK (received + restocked = on_hand + reserved + shipped),
        ADD CONSTRAINT no_more_comes_back_than_left CHECK (restocked <= shipped)`);
    // When the reservation ends, which never changes, and when that is looked at next; null: it is firm.
    await queryRunner.query(`
      ALTER TABLE reservations ADD COLUMN held_until timestamptz, ADD COLUMN look_at timestamptz`);
    await queryRunner.query(`
      CREATE INDEX reservations_to_look_at ON reservations (look_at)
        WHERE state = 'reserved' AND look_at IS NOT NULL`);
    await queryRunner.query(`
      CREATE TABLE return_receipts (
        order_id uuid NOT NULL REFERENCES reservations (order_id),
        return_key text NOT NULL,
        skus text[] NOT NULL,
        quantities bigint[] NOT NULL,
        damaged boolean[] NOT NULL,
        received_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (order_id, return_key),
        CHECK (cardinality(skus) > 0 AND cardinality(skus) = cardinality(quantities)
          AND cardinality(skus) = cardinality(damaged))
      )`);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('DROP TABLE return_receipts');
    await queryRunner.query('ALTER TABLE reservations DROP COLUMN look_at, DROP COLUMN held_until');
    await queryRunner.query(`
      ALTER TABLE stock
        DROP CONSTRAINT no_more_comes_back_than_left,
        DROP CONSTRAINT every_piece_is_somewhere,
        DROP COLUMN restocked,
        ADD CONSTRAINT every_piece_is_somewhere CHECK (received = on_hand + reserved + shipped)`);
  }
}
