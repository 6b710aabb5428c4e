import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The tables and functions of the chassis. See the README for why they are as they are. */
export class CreateInboxAndOutbox1700000000000 implements MigrationInterface {
  readonly name = 'CreateInboxAndOutbox1700000000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE inbox (
        consumer     text NOT NULL,
        message_id   text NOT NULL,
        payload_hash text,
        reply        json,
        received_at  timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (consumer, message_id)
      )`);
    await runner.query('CREATE INDEX inbox_received_at ON inbox (received_at)');
    await runner.query(`
      COMMENT ON TABLE inbox IS
        'Messages that were handled, so that a second delivery is recognised. Trimmed by age.'`);

    await runner.query('CREATE SEQUENCE outbox_position');
    await runner.query(`
      CREATE TABLE outbox (
        position     bigint NOT NULL DEFAULT nextval('outbox_position'),
        created_at   timestamptz NOT NULL DEFAULT now(),
        id           text NOT NULL,
        partition    smallint NOT NULL,
        key          text NOT NULL,
        subject      text NOT NULL,
        headers      json NOT NULL,
        body         text NOT NULL,
        relay        boolean NOT NULL DEFAULT false,
        published_at timestamptz,
        stream       text,
        sequence     bigint,
        refused_at   timestamptz,
        error        text,
        PRIMARY KEY (position, created_at)
      ) PARTITION BY RANGE (created_at)`);
    await runner.query(
      'CREATE INDEX outbox_unpublished ON outbox (partition, position) WHERE published_at IS NULL',
    );
    await runner.query(
      'CREATE INDEX outbox_to_relay ON outbox (partition, position) WHERE published_at IS NULL AND relay',
    );
    await runner.query('CREATE TABLE outbox_default PARTITION OF outbox DEFAULT');
    await runner.query(`
      COMMENT ON TABLE outbox IS
        'Messages to publish, and published ones until they are old. One partition per day (UTC).'`);
    await runner.query(
      `COMMENT ON COLUMN outbox.relay IS 'No process has the message in memory: relay it at once.'`,
    );
    await runner.query(
      `COMMENT ON COLUMN outbox.error IS 'Why the broker refused the message; tried again now and then.'`,
    );

    // Takes the locks in one order, then looks the messages up. Each statement of the function sees what was committed
    // before it: also what the one that held a lock until now has committed. Table scans are off, because the plan is
    // kept and may have been made when the table was nearly empty.
    await runner.query(`
      CREATE FUNCTION flotilla_enter(locks text[], consumers text[], message_ids text[])
      RETURNS TABLE (consumer text, message_id text, payload_hash text, reply json)
      LANGUAGE plpgsql VOLATILE
      SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
      AS $$
      #variable_conflict use_column
      BEGIN
        PERFORM pg_advisory_xact_lock(l.hash)
           FROM (SELECT DISTINCT hashtextextended(name, 0) AS hash FROM unnest(locks) AS name ORDER BY 1) AS l;
        IF cardinality(message_ids) > 0 THEN
          RETURN QUERY
            SELECT i.consumer, i.message_id, i.payload_hash, i.reply
              FROM unnest(consumers, message_ids) AS m (consumer, message_id)
              JOIN inbox i ON i.consumer = m.consumer AND i.message_id = m.message_id;
        END IF;
      END $$`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP FUNCTION flotilla_enter(text[], text[], text[])');
    await runner.query('DROP TABLE outbox');
    await runner.query('DROP SEQUENCE outbox_position');
    await runner.query('DROP TABLE inbox');
  }
}
