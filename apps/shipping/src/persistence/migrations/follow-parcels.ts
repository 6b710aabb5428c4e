import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Parcels that the carrier has trouble with, and those that customers send back. */
export class FollowParcels implements MigrationInterface {
  readonly name = 'FollowParcels1763860000002';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      ALTER TABLE shipments
        DROP CONSTRAINT shipments_status_check,
        DROP CONSTRAINT shipments_check1,
        DROP CONSTRAINT shipments_check2,
        -- Whether the carrier is asked about each step, and how often it was about the present one.
        ADD COLUMN checked boolean NOT NULL DEFAULT false,
        ADD COLUMN attempts integer NOT NULL DEFAULT 0,
        ADD COLUMN trouble text,
        ADD CONSTRAINT shipments_status_check CHECK (status IN ('created', 'dispatched', 'delivered', 'cancelled',
          'forestalled', 'failed', 'returning', 'returned', 'lost')),
        ADD CONSTRAINT shipments_due_check
          CHECK ((due_at IS NOT NULL) = (status IN ('created', 'dispatched', 'returning'))),
        ADD CONSTRAINT shipments_dispatched_check CHECK ((dispatched_at IS NOT NULL)
          = (status IN ('dispatched', 'delivered', 'returning', 'returned', 'lost'))),
        ADD CONSTRAINT shipments_trouble_check
          CHECK (trouble IS NOT NULL OR status NOT IN ('failed', 'returning', 'returned', 'lost'));
      -- What the carrier has to be asked about: nearly nothing.
      CREATE INDEX shipments_checked_due ON shipments (due_at) WHERE checked AND due_at IS NOT NULL;

      CREATE TABLE return_parcels (
        return_id uuid PRIMARY KEY,
        id uuid NOT NULL,
        order_id uuid NOT NULL,
        status text NOT NULL CHECK (status IN ('created', 'received', 'cancelled', 'forestalled')),
        tracking_number text,
        ship_from jsonb,
        lines jsonb,
        -- When it is going to be here; null also while that is not known.
        due_at timestamptz,
        received_at timestamptz,
        cancel_reason text,
        origin jsonb,
        created_at timestamptz NOT NULL DEFAULT now(),
        CHECK (status = 'forestalled'
          OR (tracking_number IS NOT NULL AND ship_from IS NOT NULL AND lines IS NOT NULL)),
        CHECK (due_at IS NULL OR status = 'created'),
        CHECK ((received_at IS NOT NULL) = (status = 'received')),
        CHECK ((cancel_reason IS NOT NULL) = (status IN ('cancelled', 'forestalled')))
      );
      CREATE INDEX return_parcels_due ON return_parcels (due_at) WHERE due_at IS NOT NULL;
    `);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      DROP TABLE return_parcels;
      DROP INDEX shipments_checked_due;
      ALTER TABLE shipments
        DROP CONSTRAINT shipments_status_check,
        DROP CONSTRAINT shipments_due_check,
        DROP CONSTRAINT shipments_dispatched_check,
        DROP CONSTRAINT shipments_trouble_check,
        DROP COLUMN checked,
        DROP COLUMN attempts,
        DROP COLUMN trouble,
        ADD CONSTRAINT shipments_status_check
          CHECK (status IN ('created', 'dispatched', 'delivered', 'cancelled', 'forestalled')),
        ADD CONSTRAINT shipments_check1 CHECK ((due_at IS NOT NULL) = (status IN ('created', 'dispatched'))),
        ADD CONSTRAINT shipments_check2
          CHECK ((dispatched_at IS NOT NULL) = (status IN ('dispatched', 'delivered')));
    `);
  }
}
