/** What a migration needs of a connection; TypeORM's QueryRunner has it. */
interface MigrationConnection {
  query(sql: string): Promise<unknown>;
}

/** What operators had repaired in a service: who, when, what, and what became of it. Only added to. */
export class CreateRepairs1764300000000 {
  readonly name = 'CreateRepairs1764300000000';

  async up(connection: MigrationConnection): Promise<void> {
    await connection.query(`
      CREATE TABLE repairs (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        at timestamptz NOT NULL DEFAULT now(),
        operator text NOT NULL,
        action text NOT NULL,
        -- The aggregate, and what of it: a message, a saga, a view.
        about text NOT NULL,
        target text NOT NULL,
        outcome text NOT NULL CHECK (outcome IN ('repaired', 'nothing to do', 'refused')),
        detail text
      )`);
  }

  async down(connection: MigrationConnection): Promise<void> {
    await connection.query('DROP TABLE repairs');
  }
}

export const repairMigrations = [CreateRepairs1764300000000] as const;
