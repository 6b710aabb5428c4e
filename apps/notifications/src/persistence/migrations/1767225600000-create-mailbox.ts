import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Messages to customers, and where each order's messages go. */
export class CreateMailbox1767225600000 implements MigrationInterface {
  readonly name = 'CreateMailbox1767225600000';

  async up(queryRunner: QueryRunner): Promise<void> {
    // The unique pair is what "told once" rests on, beyond the messages' own ids.
    await queryRunner.query(`
      CREATE TABLE mailbox (
        notification_id uuid PRIMARY KEY,
        order_id uuid NOT NULL,
        fact text NOT NULL,
        customer_id text NOT NULL,
        recipient text NOT NULL,
        subject text NOT NULL,
        body text NOT NULL,
        status text NOT NULL CHECK (status IN ('queued', 'sent', 'failed')),
        attempts integer NOT NULL DEFAULT 0,
        next_attempt_at timestamptz NOT NULL,
        last_error text,
        created_at timestamptz NOT NULL,
        sent_at timestamptz,
        UNIQUE (order_id, fact),
        CHECK ((sent_at IS NOT NULL) = (status = 'sent'))
      )`);
    await queryRunner.query(`CREATE INDEX mailbox_due ON mailbox (next_attempt_at) WHERE status = 'queued'`);
    await queryRunner.query(`
      CREATE TABLE order_contacts (
        order_id uuid PRIMARY KEY,
        customer_id text NOT NULL,
        email text,
        reference text
      )`);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('DROP TABLE mailbox, order_contacts');
  }
}
