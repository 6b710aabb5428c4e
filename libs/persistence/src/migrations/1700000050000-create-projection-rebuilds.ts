import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * With which version of each projection its view was built, and where its rebuild stands. Every service's database has
 * them, so that whoever migrates need not know which services have projections.
 */
export class CreateProjectionRebuilds1700000050000 implements MigrationInterface {
  readonly name = 'CreateProjectionRebuilds1700000050000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE projection_versions (
        projection text PRIMARY KEY,
        version integer NOT NULL,
        built_at timestamptz NOT NULL DEFAULT now()
      )`);
    await runner.query(`
      CREATE TABLE projection_rebuilds (
        projection text PRIMARY KEY,
        id uuid NOT NULL,
        version integer NOT NULL,
        status text NOT NULL,
        options jsonb NOT NULL,
        cursors jsonb NOT NULL DEFAULT '{}',
        events bigint NOT NULL DEFAULT 0,
        skipped jsonb NOT NULL DEFAULT '[]',
        report jsonb,
        problem text,
        worker uuid,
        lease_until timestamptz,
        started_at timestamptz NOT NULL DEFAULT now(),
        ended_at timestamptz
      )`);
    await runner.query(
      `COMMENT ON TABLE projection_rebuilds IS 'The latest rebuild of each projection; its shadow is in schema "rebuild".'`,
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE projection_rebuilds, projection_versions');
  }
}
