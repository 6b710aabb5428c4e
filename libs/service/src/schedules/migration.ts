/** What a migration needs of a connection; TypeORM's QueryRunner has it. */
interface MigrationConnection {
  query(sql: string): Promise<unknown>;
}

/** The table of the schedules: one row each, which is the claim, the clock and the record of its runs. */
export class CreateSchedules1763800000001 {
  readonly name = 'CreateSchedules1763800000001';

  async up(connection: MigrationConnection): Promise<void> {
    await connection.query(`
      CREATE TABLE schedules (
        name text COLLATE "C" PRIMARY KEY,
        cron text NOT NULL,
        time_zone text NOT NULL,
        -- The tick that is not done yet, and when it is run (again); null when none will come.
        due_at timestamptz,
        run_at timestamptz,
        attempts integer NOT NULL DEFAULT 0,
        -- Who runs it, and until when that is believed.
        lease_owner uuid,
        lease_until timestamptz,
        requested_at timestamptz,
        requested_by text,
        last_tick_at timestamptz,
        last_started_at timestamptz,
        last_duration_ms double precision,
        last_succeeded_at timestamptz,
        last_failed_at timestamptz,
        last_error text,
        runs bigint NOT NULL DEFAULT 0,
        failures bigint NOT NULL DEFAULT 0,
        missed bigint NOT NULL DEFAULT 0,
        CHECK ((lease_owner IS NULL) = (lease_until IS NULL))
      ) WITH (fillfactor = 50)`);
  }

  async down(connection: MigrationConnection): Promise<void> {
    await connection.query('DROP TABLE schedules');
  }
}

/** What schedules need in a service's database. */
export const scheduleMigrations = [CreateSchedules1763800000001];
