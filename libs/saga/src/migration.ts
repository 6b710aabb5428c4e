/** What a migration needs of a connection; TypeORM's QueryRunner has it. */
export interface MigrationConnection {
  query(sql: string): Promise<unknown>;
}

/**
 * The tables of the sagas: `saga_instances`, one row each, and `saga_history`, appended to. A TypeORM migration by
 * shape; list it before the service's own.
 */
export class CreateSagaTables1763800000000 {
  readonly name = 'CreateSagaTables1763800000000';

  async up(connection: MigrationConnection): Promise<void> {
    // Ids sort bytewise ("C"): pages of a list are then the same whatever the database's locale. A row is written at
    // every step: room in the page keeps its versions together.
    await connection.query(`
      CREATE TABLE saga_instances (
        id text COLLATE "C" NOT NULL,
        saga text COLLATE "C" NOT NULL,
        version integer NOT NULL,
        revision integer NOT NULL,
        status text NOT NULL CHECK (status IN ('running', 'compensating', 'completed', 'compensated', 'parked')),
        step text,
        attempt integer NOT NULL,
        epoch integer NOT NULL,
        command_id text,
        due_at timestamptz,
        progress jsonb NOT NULL,
        data jsonb NOT NULL,
        correlation_id text,
        started_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        ended_at timestamptz,
        PRIMARY KEY (id, saga)
      ) WITH (fillfactor = 70)`);
    // Every instance that is not parked and has not ended has a timer: these two indexes hold exactly the open ones.
    await connection.query(
      `CREATE INDEX saga_instances_due ON saga_instances (due_at) WHERE due_at IS NOT NULL`,
    );
    await connection.query(
      `CREATE INDEX saga_instances_parked ON saga_instances (id, saga) WHERE status = 'parked'`,
    );
    await connection.query(
      `CREATE INDEX saga_instances_ended ON saga_instances (ended_at) WHERE ended_at IS NOT NULL`,
    );
    await connection.query(`
      CREATE TABLE saga_history (
        id text COLLATE "C" NOT NULL,
        saga text COLLATE "C" NOT NULL,
        sequence bigint GENERATED ALWAYS AS IDENTITY,
        at timestamptz NOT NULL,
        kind text NOT NULL,
        step text,
        detail jsonb,
        PRIMARY KEY (id, saga, sequence)
      )`);
  }

  async down(connection: MigrationConnection): Promise<void> {
    await connection.query(`DROP TABLE saga_history`);
    await connection.query(`DROP TABLE saga_instances`);
  }
}

/** Where a saga's trace is kept: written once, with the row. */
export class AddSagaTrace1764200000000 {
  readonly name = 'AddSagaTrace1764200000000';

  async up(connection: MigrationConnection): Promise<void> {
    await connection.query(`ALTER TABLE saga_instances ADD COLUMN traceparent text`);
  }

  async down(connection: MigrationConnection): Promise<void> {
    await connection.query(`ALTER TABLE saga_instances DROP COLUMN traceparent`);
  }
}

/** The migrations of this library, in order. */
export const sagaMigrations = [CreateSagaTables1763800000000, AddSagaTrace1764200000000] as const;
