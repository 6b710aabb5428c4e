import type { ClientBase } from 'pg';
import { ApplicationRoleError } from './persistence.errors.ts';

/**
 * What a role still lacks to read and write everything that the current role owns in this database, as statements.
 * Nothing on partitions, which are reached through their table; nothing that writes the history of the migrations.
 */
const MISSING_GRANTS = `
  WITH me AS (SELECT oid FROM pg_roles WHERE rolname = current_user),
  schemas AS (
    SELECT n.oid, n.nspname FROM pg_namespace n, me
     WHERE n.nspowner = me.oid OR n.nspname = 'public'
  )
  SELECT format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), $1::text) AS statement
   WHERE NOT has_database_privilege($1, current_database(), 'CONNECT')
  UNION ALL
  SELECT format('GRANT USAGE ON SCHEMA %I TO %I', nspname, $1)
    FROM schemas WHERE NOT has_schema_privilege($1, oid, 'USAGE')
  UNION ALL
  SELECT format('ALTER DEFAULT PRIVILEGES GRANT %s ON %s TO %I', wanted.privileges, wanted.objects, $1)
    FROM (VALUES ('r', 'TABLES', 'SELECT, INSERT, UPDATE, DELETE', 4), ('S', 'SEQUENCES', 'USAGE, SELECT, UPDATE', 3),
                 ('n', 'SCHEMAS', 'USAGE', 1)) AS wanted (kind, objects, privileges, number), me
   WHERE wanted.number > (
     SELECT count(*) FROM pg_default_acl d, aclexplode(d.defaclacl) a
      WHERE d.defaclrole = me.oid AND d.defaclnamespace = 0 AND d.defaclobjtype = wanted.kind::"char"
        AND a.grantee = $2::oid)
  UNION ALL
  SELECT format('GRANT %s %I.%I TO %I',
                CASE WHEN c.relkind = 'S' THEN 'USAGE, SELECT, UPDATE ON SEQUENCE'
                     WHEN c.relname = $3 THEN 'SELECT ON'
                     ELSE 'SELECT, INSERT, UPDATE, DELETE ON' END, s.nspname, c.relname, $1)
    FROM pg_class c JOIN schemas s ON s.oid = c.relnamespace, me
   WHERE c.relowner = me.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'S') AND NOT c.relispartition
     AND CASE
           WHEN c.relkind = 'S' THEN NOT has_sequence_privilege($1, c.oid, 'USAGE')
           WHEN c.relname = $3 THEN NOT has_table_privilege($1, c.oid, 'SELECT')
           ELSE NOT has_table_privilege($1, c.oid, 'SELECT') OR NOT has_table_privilege($1, c.oid, 'INSERT')
             OR NOT has_table_privilege($1, c.oid, 'UPDATE') OR NOT has_table_privilege($1, c.oid, 'DELETE')
         END
  UNION ALL
  SELECT format('REVOKE INSERT, UPDATE, DELETE ON %I.%I FROM %I', s.nspname, c.relname, $1)
    FROM pg_class c JOIN schemas s ON s.oid = c.relnamespace, me
   WHERE c.relowner = me.oid AND c.relname = $3 AND c.relkind = 'r'
     AND has_table_privilege($1, c.oid, 'INSERT, UPDATE, DELETE')
  UNION ALL
  SELECT format('GRANT EXECUTE ON ROUTINE %s TO %I', p.oid::regprocedure, $1)
    FROM pg_proc p JOIN schemas s ON s.oid = p.pronamespace, me
   WHERE p.proowner = me.oid AND NOT has_function_privilege($1, p.oid, 'EXECUTE')`;

/**
 * Lets `role` read and write every table that the current role owns, now and in times to come, and change no schema.
 * Grants only what is missing, all of it or nothing. Throws {@link ApplicationRoleError}.
 */
export async function grantApplicationRole(
  client: ClientBase,
  role: string,
  historyTable: string,
): Promise<void> {
  const { rows } = await client.query(
    `SELECT current_user AS me, current_database() AS database,
            (SELECT oid FROM pg_roles WHERE rolname = $1) AS role,
            (SELECT rolsuper FROM pg_roles WHERE rolname = $1) AS super`,
    [role],
  );
  const found = rows[0] as { me: string; database: string; role: number | null; super: boolean | null };
  if (found.me === role) return;
  if (found.role === null) {
    throw new ApplicationRoleError(
      role,
      found.database,
      'there is no such role; create it with LOGIN and no other right',
    );
  }
  if (found.super === true) {
    throw new ApplicationRoleError(
      role,
      found.database,
      'it is a superuser; a service needs a role without rights of its own',
    );
  }
  const missing = await client.query(MISSING_GRANTS, [role, found.role, historyTable]);
  const statements = (missing.rows as { statement: string }[]).map(({ statement }) => statement);
  if (statements.length > 0) await client.query(`BEGIN; ${statements.join('; ')}; COMMIT`);
}
