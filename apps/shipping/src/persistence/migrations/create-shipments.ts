import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Shipments, one for each order. */
export class CreateShipments implements MigrationInterface {
  readonly name = 'CreateShipments1763860000001';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      CREATE TABLE shipments (
        id uuid PRIMARY KEY,
        order_id uuid NOT NULL UNIQUE,
        status text NOT NULL CHECK (status IN ('created', 'dispatched', 'delivered', 'cancelled', 'forestalled')),
        tracking_number text,
        ship_to jsonb,
        lines jsonb,
        -- When the carrier is going to take the next step.
        due_at timestamptz,
        dispatched_at timestamptz,
        delivered_at timestamptz,
        cancel_reason text,
        -- Correlation and trace of the command that created it, for the events that come later.
        origin jsonb,
        created_at timestamptz NOT NULL DEFAULT now(),
        CHECK (status = 'forestalled'
          OR (tracking_number IS NOT NULL AND ship_to IS NOT NULL AND lines IS NOT NULL)),
        CHECK ((due_at IS NOT NULL) = (status IN ('created', 'dispatched'))),
        CHECK ((dispatched_at IS NOT NULL) = (status IN ('dispatched', 'delivered'))),
        CHECK ((delivered_at IS NOT NULL) = (status = 'delivered')),
        CHECK ((cancel_reason IS NOT NULL) = (status IN ('cancelled', 'forestalled')))
      );
      -- What the carrier still has to do: small, however many shipments there were.
      CREATE INDEX shipments_due ON shipments (status, due_at) WHERE due_at IS NOT NULL;
    `);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('DROP TABLE shipments');
  }
}
