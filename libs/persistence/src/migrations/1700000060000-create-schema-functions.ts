import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * The few changes of the schema that a running service needs, as functions that run with the rights of the role that
 * migrates: the service's own role changes no schema (docs/adr/0038-roles-in-postgres.md). Each does one thing, checks
 * what it is asked for, and resolves no name outside `pg_catalog` by a search path that the caller could have set.
 */
export class CreateSchemaFunctions1700000060000 implements MigrationInterface {
  readonly name = 'CreateSchemaFunctions1700000060000';

  async up(runner: QueryRunner): Promise<void> {
    // Moves what the default partition has caught of that day, if anything. One transaction per day: writers wait
    // behind a change of the partitions.
    await runner.query(`
      CREATE FUNCTION flotilla_add_outbox_day(day date) RETURNS boolean
      LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
      AS $$
      DECLARE
        today date := (now() AT TIME ZONE 'UTC')::date;
        partition text := 'outbox_' || to_char(day, 'YYYY_MM_DD');
        from_at timestamptz := day::timestamp AT TIME ZONE 'UTC';
        to_at timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
      BEGIN
        IF day NOT BETWEEN today - 1 AND today + 62 THEN
          RAISE EXCEPTION 'the outbox gets no partition for %: only for days from yesterday to two months ahead', day;
        END IF;
        IF to_regclass('public.' || partition) IS NOT NULL THEN RETURN false; END IF;
        EXECUTE format(
          'CREATE TABLE public.%I (LIKE public.outbox INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', partition);
        LOCK TABLE public.outbox_default IN ACCESS EXCLUSIVE MODE;
        EXECUTE format(
          'WITH moved AS (
             DELETE FROM public.outbox_default WHERE created_at >= %L AND created_at < %L RETURNING *
           ) INSERT INTO public.%I SELECT * FROM moved', from_at, to_at, partition);
        EXECUTE format(
          'ALTER TABLE public.outbox ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)', partition, from_at, to_at);
        RETURN true;
      END $$`);
    // Nothing is written to a day that is over, so nothing unpublished can come between the look and the drop.
    await runner.query(`
      CREATE FUNCTION flotilla_drop_outbox_day(day date) RETURNS boolean
      LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
      AS $$
      DECLARE
        partition text := 'outbox_' || to_char(day, 'YYYY_MM_DD');
        unpublished boolean;
      BEGIN
        IF day >= (now() AT TIME ZONE 'UTC')::date THEN
          RAISE EXCEPTION 'the outbox keeps its partition for %: the day is not over', day;
        END IF;
        EXECUTE format('SELECT EXISTS (SELECT FROM public.%I WHERE published_at IS NULL)', partition) INTO unpublished;
        IF unpublished THEN RETURN false; END IF;
        EXECUTE format('DROP TABLE public.%I', partition);
        RETURN true;
      END $$`);

    // Where a view is built beside the live one, and where the one before goes in the moment of the swap.
    await runner.query('CREATE SCHEMA IF NOT EXISTS rebuild');
    await runner.query('CREATE SCHEMA IF NOT EXISTS rebuild_retired');
    // A copy has neither triggers nor foreign keys, and its rows are whoever's who fills it: what depends on those
    // is no view.
    await runner.query(`
      CREATE FUNCTION flotilla_assert_view_table(view_table text) RETURNS void
      LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
      AS $$
      DECLARE
        live regclass := to_regclass(format('public.%I', view_table));
      BEGIN
        IF live IS NULL THEN
          RAISE EXCEPTION 'there is no table public.%', view_table;
        END IF;
        IF EXISTS (SELECT FROM pg_class WHERE oid = live AND (relkind <> 'r' OR relispartition OR relhassubclass)) THEN
          RAISE EXCEPTION '% is no ordinary table and cannot be rebuilt', live;
        END IF;
        IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = live) THEN
          RAISE EXCEPTION '% has triggers or foreign keys and cannot be rebuilt: a view has neither', live;
        END IF;
        IF NOT has_table_privilege(session_user, live, 'INSERT') OR NOT has_table_privilege(session_user, live, 'DELETE') THEN
          RAISE EXCEPTION '% may not change the rows of % and so cannot rebuild it', session_user, live
            USING ERRCODE = 'insufficient_privilege';
        END IF;
      END $$`);
    await runner.query(`
      CREATE FUNCTION flotilla_create_shadow(view_table text) RETURNS void
      LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
      AS $$
      DECLARE
        live regclass := to_regclass(format('public.%I', view_table));
        step text;
      BEGIN
        PERFORM public.flotilla_assert_view_table(view_table);
        EXECUTE format('DROP TABLE IF EXISTS rebuild.%I', view_table);
        EXECUTE format('CREATE TABLE rebuild.%I (LIKE public.%I INCLUDING ALL EXCLUDING INDEXES)', view_table, view_table);
        FOR step IN
          SELECT format('ALTER TABLE rebuild.%I ADD CONSTRAINT %I %s', view_table, conname, pg_get_constraintdef(oid))
            FROM pg_constraint WHERE conrelid = live AND contype IN ('p', 'u', 'x')
          UNION ALL
          SELECT replace(pg_get_indexdef(i.indexrelid),
                         format(' ON public.%I ', view_table), format(' ON rebuild.%I ', view_table))
            FROM pg_index i
           WHERE i.indrelid = live AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid)
          UNION ALL
          SELECT format('GRANT %s ON rebuild.%I TO %s', a.privilege_type, view_table,
                        CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
            FROM pg_class t, aclexplode(t.relacl) a WHERE t.oid = live AND a.grantee <> t.relowner
        LOOP
          EXECUTE step;
        END LOOP;
      END $$`);
    // So that the planner knows the new tables from their first moment.
    await runner.query(`
      CREATE FUNCTION flotilla_analyze_shadow(view_table text) RETURNS void
      LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
      AS $$
      BEGIN
        EXECUTE format('ANALYZE rebuild.%I', view_table);
      END $$`);
    await runner.query(`
      CREATE FUNCTION flotilla_swap_shadow(view_table text) RETURNS void
      LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
      AS $$
      BEGIN
        PERFORM public.flotilla_assert_view_table(view_table);
        EXECUTE format('DROP TABLE IF EXISTS rebuild_retired.%I', view_table);
        EXECUTE format('ALTER TABLE public.%I SET SCHEMA rebuild_retired', view_table);
        EXECUTE format('ALTER TABLE rebuild.%I SET SCHEMA public', view_table);
      END $$`);
    await runner.query(`
      CREATE FUNCTION flotilla_drop_shadow(view_table text) RETURNS void
      LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
      AS $$
      BEGIN
        EXECUTE format('DROP TABLE IF EXISTS rebuild.%I', view_table);
      END $$`);
    await runner.query(`
      CREATE FUNCTION flotilla_drop_retired(view_table text) RETURNS void
      LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
      AS $$
      BEGIN
        EXECUTE format('DROP TABLE IF EXISTS rebuild_retired.%I', view_table);
      END $$`);
    for (const each of DEFINER_FUNCTIONS)
      await runner.query(`REVOKE EXECUTE ON FUNCTION ${each} FROM PUBLIC`);
  }

  async down(runner: QueryRunner): Promise<void> {
    for (const each of DEFINER_FUNCTIONS) await runner.query(`DROP FUNCTION ${each}`);
    await runner.query('DROP FUNCTION flotilla_assert_view_table(text)');
    await runner.query('DROP SCHEMA rebuild, rebuild_retired CASCADE');
  }
}

/** Those that run with the rights of their owner: for the service's role alone, which is granted them. */
const DEFINER_FUNCTIONS = [
  'flotilla_add_outbox_day(date)',
  'flotilla_drop_outbox_day(date)',
  'flotilla_create_shadow(text)',
  'flotilla_analyze_shadow(text)',
  'flotilla_swap_shadow(text)',
  'flotilla_drop_shadow(text)',
  'flotilla_drop_retired(text)',
] as const;
