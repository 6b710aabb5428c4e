import pg, { type Client } from 'pg';
import { SimulatedPostgres } from '../src/simulation/postgres/index.ts';
import { createTestDatabase, type TestDatabase } from '../src/test-database.ts';
import { until } from '../src/until.ts';

/** What a statement answered, as far as it must be the same on both servers. */
type Answer =
  | { readonly command: string; readonly count: number | null; readonly rows: readonly unknown[] }
  | {
      readonly code: string;
      readonly constraint?: string;
      readonly table?: string;
      readonly column?: string;
    };

async function ask(client: Client, sql: string, parameters?: readonly unknown[]): Promise<Answer> {
  try {
    const result = await client.query(sql, parameters === undefined ? undefined : [...parameters]);
    const last = Array.isArray(result) ? ((result as unknown[]).at(-1) as pg.QueryResult) : result;
    return { command: last.command, count: last.rowCount, rows: last.rows as unknown[] };
  } catch (error) {
    const { code = 'none', constraint, table, column } = error as pg.DatabaseError;
    return {
      code,
      ...(constraint !== undefined && { constraint }),
      ...(table !== undefined && { table }),
      ...(column !== undefined && { column }),
    };
  }
}

interface Side {
  connect(): Promise<Client>;
  /** Whether a connection waits for another. */
  isBlocked(client: Client): Promise<boolean>;
}

class RealSide implements Side {
  readonly #database: TestDatabase;
  readonly #observer: Client;

  private constructor(database: TestDatabase, observer: Client) {
    this.#database = database;
    this.#observer = observer;
  }

  static async open(database: TestDatabase): Promise<RealSide> {
    const observer = new pg.Client({ connectionString: database.adminUrl });
    await observer.connect();
    return new RealSide(database, observer);
  }

  async connect(): Promise<Client> {
    const client = new pg.Client({ connectionString: this.#database.url });
    await client.connect();
    return client;
  }

  async isBlocked(client: Client): Promise<boolean> {
    const { processID } = client as unknown as { readonly processID: number };
    const { rows } = await this.#observer.query<{ blocked: boolean }>(
      'SELECT cardinality(pg_blocking_pids($1)) > 0 AS blocked',
      [processID],
    );
    return rows[0]?.blocked === true;
  }

  close(): Promise<void> {
    return this.#observer.end();
  }
}

class SimulatedSide implements Side {
  readonly server = new SimulatedPostgres({
    step: () => Promise.resolve(),
    now: () => new Date('2026-05-05T10:00:00Z'),
    random: () => 0.5,
  });

  constructor() {
    this.server.createDatabase('simulated');
  }

  async connect(): Promise<Client> {
    const client = new this.server.driver.Client({ connectionString: 'postgres://test@simulated/simulated' });
    await client.connect();
    return client;
  }

  async isBlocked(): Promise<boolean> {
    // It works in promises only: what has not answered when they have all run is waiting.
    await new Promise(setImmediate);
    return true;
  }
}

let database: TestDatabase;
let real: RealSide;
let simulated: SimulatedSide;
let clients: [Client, Client];

beforeEach(async () => {
  database = await createTestDatabase({ prefix: 'differential' });
  real = await RealSide.open(database);
  simulated = new SimulatedSide();
  clients = [await real.connect(), await simulated.connect()];
});

afterEach(async () => {
  for (const client of clients) await client.end();
  await real.close();
  await database.drop();
});

/** Runs it on both, and returns what both answered. */
async function same(sql: string, parameters?: readonly unknown[]): Promise<Answer> {
  const [expected, actual] = await Promise.all(clients.map((client) => ask(client, sql, parameters)));
  expect({ sql, parameters, ...actual }).toEqual({ sql, parameters, ...expected });
  return expected as Answer;
}

const SCHEMA = `
  CREATE TABLE things (
    id integer PRIMARY KEY,
    name text NOT NULL UNIQUE,
    amount bigint NOT NULL DEFAULT 0 CHECK (amount >= 0),
    price numeric,
    data jsonb NOT NULL DEFAULT '{}',
    tags text[],
    at timestamptz,
    version integer NOT NULL DEFAULT 1,
    CHECK (version > 0 AND amount < 1000000),
    CONSTRAINT named CHECK (name <> 'forbidden')
  );
  CREATE TABLE parts (
    thing_id integer NOT NULL REFERENCES things (id),
    part text NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY,
    note text COLLATE "C",
    PRIMARY KEY (thing_id, part)
  );
  INSERT INTO things (id, name, amount, price, data, tags, at) VALUES
    (1, 'one', 10, 1.50, '{"b": 1, "aa": {"c": [1, 2.5, "x"]}}', '{a,"b c",NULL}', '2026-01-02T03:04:05.678Z'),
    (2, 'two', 20, 2, '[1, 2]', '{}', NULL),
    (3, 'three', 30, NULL, '"text"', NULL, '2026-03-01 00:00:00+02');
  INSERT INTO parts (thing_id, part, note) VALUES (1, 'p', 'x'), (1, 'q', NULL), (2, 'p', 'y');`;

describe('expressions', () => {
  it.each([
    `SELECT 1 + 2 * 3 AS a, 7 / 2 AS b, -7 / 2 AS c, 7 % 3 AS d, 7.0 / 2 AS e, 1 / 3.0 AS f, 10 / 4::float8 AS g`,
    `SELECT 100000::bigint * 100000 AS a, 2147483648 AS b, 9223372036854775808 AS c, 1.10 + 2.205 AS d, 2.5 * 2 AS e`,
    `SELECT 2147483647 + 1`,
    `SELECT 9223372036854775807 + 1`,
    `SELECT 1 / 0`,
    `SELECT 1.0 / 0`,
    `SELECT 'a' || 'b' AS a, 'a' || 1 AS b, NULL || 'x' AS c, array[1] || 2 AS d, '{"a": 1}'::jsonb || '{"b": 2}' AS e`,
    `SELECT NULL AND false AS a, NULL OR true AS b, NOT NULL AS c, 1 = NULL AS d, NULL IS NULL AS e`,
    `SELECT 1 IN (1, 2) AS a, 3 IN (1, NULL) AS b, 3 NOT IN (1, 2) AS c, 3 NOT IN (1, NULL) AS d`,
    `SELECT 2 BETWEEN 1 AND 3 AS a, 'b' NOT BETWEEN 'c' AND 'd' AS b, 1 IS DISTINCT FROM NULL AS c, NULL IS NOT DISTINCT FROM NULL AS d`,
    `SELECT CASE WHEN 1 > 2 THEN 'a' ELSE 'b' END AS a, CASE 3 WHEN 3 THEN 1 WHEN 4 THEN 2 END AS b, CASE WHEN false THEN 1 END AS c`,
    `SELECT coalesce(NULL, 2, 3) AS a, greatest(1, 5, NULL) AS b, least('b', 'a') AS c, nullif(1, 1) AS d`,
    `SELECT (1, 2) < (1, 3) AS a, (2, 1) < (1, 3) AS b, (1, 'a') = (1, 'a') AS c`,
    `SELECT '{"a": {"b": [10, "x"]}}'::jsonb -> 'a' -> 'b' ->> 1 AS a, '{"a": null}'::jsonb ->> 'a' AS b, '[1,2]'::jsonb -> -1 AS c`,
    `SELECT '{"a": {"b": [10, "x"]}}'::jsonb #>> '{a,b,0}' AS a, '{"a": 1, "b": 2}'::jsonb @> '{"a": 1}' AS b, '{"a": 1}'::jsonb ? 'a' AS c`,
    `SELECT '{"bb": 1, "a": 2, "bb": 3, "c":   [1,2 , {}]}'::jsonb::text AS a, '{"bb": 1,  "a": 2}'::json::text AS b, '1e3'::jsonb::text AS c`,
    `SELECT jsonb_build_object('a', 1, 'b', 'x', 'c', NULL) AS a, json_build_object('a', array[1,2])::text AS b, to_jsonb('x'::text) AS c`,
    `SELECT '12'::int AS a, '1.50'::numeric AS b, 1.5::int AS c, 2.5::float8::int AS d, 2.5::numeric::int AS e, true::text AS f, 't'::bool AS g`,
    `SELECT 'x'::int`,
    `SELECT '99999999999'::int`,
    `SELECT '{1,2,NULL}'::int[] AS a, '{"a,b",c}'::text[] AS b, array['x', NULL]::text[] AS c, (array[5,6])[2] AS d, cardinality('{1,2}'::int[]) AS e`,
    `SELECT 5 = ANY ('{1,5}') AS a, 5 <> ALL ('{1,2}') AS b, NULL = ANY ('{1}'::int[]) AS c, 1 = ANY ('{}'::int[]) AS d, 2 = ANY (array[1, NULL]) AS e`,
    `SELECT 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid AS a, 'abc' ~ '^a.c$' AS b, 'abc' LIKE 'a%' AS c, 'abc' LIKE '_c' AS d`,
    `SELECT 'nonsense'::uuid`,
    `SELECT to_timestamp(1763800000123::float8 / 1000) AS a, (extract(epoch FROM '2026-01-02T03:04:05.678Z'::timestamptz) * 1000)::float8 AS b`,
    `SELECT '2026-01-31'::timestamptz + interval '1 month' AS a, '2026-01-02'::timestamptz - interval '1 day 2 hours' AS b, '2026-01-02'::date + 1 AS c`,
    `SELECT extract(epoch FROM '2026-01-02'::timestamptz - '2026-01-01 00:00:01'::timestamptz) AS a, make_interval(days => 2, secs => 1.5)::text AS b`,
    `SELECT to_char('2026-01-02T03:04:05Z'::timestamptz AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') AS a, 'infinity'::timestamptz > '2026-01-01' AS b`,
    `SELECT date_trunc('hour', '2026-01-02T03:44:05Z'::timestamptz) AS a, '2026-02-30'::date`,
    `SELECT round(2.567, 2) AS a, round(2.5) AS b, floor(-2.5) AS c, ceil(2.1) AS d, abs(-3) AS e, trunc(2.7) AS f`,
    `SELECT length('abc') AS a, upper('abc') AS b, left('abcdef', 3) AS c, substring('abcdef', 2, 3) AS d, replace('aXbX', 'X', 'y') AS e`,
    `SELECT md5('a') AS a, split_part('a,b,c', ',', 2) AS b, concat('a', NULL, 1) AS c, starts_with('abc', 'ab') AS d`,
    `SELECT 0.1::float8 + 0.2::float8 AS a, 1e20::float8::text AS b, 1e-7::float8::text AS c, 123456789012345::float8::text AS d, 'NaN'::float8::text AS e`,
    `SELECT x.* FROM (VALUES (1, 'a'), (2, 'b')) AS x (n, t) ORDER BY n DESC`,
    `SELECT no_such_column`,
    `SELECT no_such_function(1)`,
    `SELECT * FROM no_such_table`,
    `SELECT 1 +`,
    `SELECT 'a' + 1`,
    `SELECT 1 = 'x'::text`,
  ])('%s', async (sql) => {
    await same(sql);
  });

  it.each([
    [`SELECT $1::int + 1 AS a, $2 || 'x' AS b`, [41, 'y']],
    [
      `SELECT $1::text[] AS a, $2::jsonb AS b, $3::timestamptz AS c`,
      [['a', 'b"c', null], '{"x": 1}', new Date(1e12)],
    ],
    [`SELECT $1::float8 / 1000 AS a, $2::bigint AS b, $3::boolean AS c`, [1234, '9007199254740993', true]],
    [`SELECT n, t FROM unnest($1::int[], $2::text[]) WITH ORDINALITY AS x (n, t, o)`, [[1, 2], ['a']]],
    [`SELECT $1`, ['x']],
    [`SELECT $1::int`, ['x']],
    [`SELECT * FROM generate_series(1, $1) AS g (n)`, [3]],
    [
      `SELECT a, b FROM jsonb_to_recordset($1) AS x (a int, b jsonb)`,
      ['[{"a": 1, "b": [1]}, {"b": null}, {"a": 3, "b": {"c": 1}}]'],
    ],
    [`SELECT $1 IS NULL AS a, $2 = ANY ($3) AS b`, [null, 'a', ['a', 'b']]],
  ])('%s', async (sql, parameters) => {
    await same(sql, parameters);
  });
});

describe('queries', () => {
  beforeEach(async () => {
    await same(SCHEMA);
  });

  it.each([
    `SELECT * FROM things ORDER BY id`,
    `SELECT t.id, p.part FROM things t JOIN parts p ON p.thing_id = t.id ORDER BY 1, 2`,
    `SELECT t.id, p.part FROM things t LEFT JOIN parts p ON p.thing_id = t.id AND p.part = 'p' ORDER BY t.id`,
    `SELECT p.part, t.name FROM parts p RIGHT JOIN things t ON t.id = p.thing_id ORDER BY t.id, p.part NULLS FIRST`,
    `SELECT id, (SELECT count(*) FROM parts WHERE thing_id = things.id) AS parts FROM things ORDER BY id`,
    `SELECT id FROM things WHERE EXISTS (SELECT FROM parts WHERE thing_id = id) ORDER BY id DESC`,
    `SELECT id FROM things WHERE id NOT IN (SELECT thing_id FROM parts)`,
    `SELECT ARRAY(SELECT name FROM things ORDER BY id) AS names`,
    `SELECT thing_id, count(*), min(part), string_agg(part, ',' ORDER BY part DESC) FROM parts GROUP BY thing_id HAVING count(*) > 1`,
    `SELECT count(*), sum(amount), avg(amount), max(at), sum(id), avg(price), bool_or(id > 2), count(price) FROM things`,
    `SELECT count(*), sum(amount), max(id) FROM things WHERE id > 100`,
    `SELECT count(*) FILTER (WHERE amount > 10) AS a, array_agg(id ORDER BY id DESC) AS b, count(DISTINCT version) AS c FROM things`,
    `SELECT json_agg(json_build_object('id', id, 'n', name) ORDER BY id) AS a, coalesce(sum(price), 0) AS b FROM things`,
    `SELECT DISTINCT version, amount > 10 AS more FROM things ORDER BY more`,
    `SELECT DISTINCT ON (thing_id) thing_id, part FROM parts ORDER BY thing_id, part DESC`,
    `SELECT id FROM things ORDER BY price NULLS FIRST, id LIMIT 2 OFFSET 1`,
    `SELECT id FROM things ORDER BY price DESC, id LIMIT 2`,
    `SELECT id, name FROM things ORDER BY amount * -1 LIMIT 1`,
    `WITH a AS (SELECT id FROM things WHERE id < 3), b AS (SELECT id + 1 AS id FROM a) SELECT * FROM a JOIN b USING (id)`,
    `SELECT id FROM things WHERE id = 1 UNION ALL SELECT 5 UNION SELECT 5 ORDER BY 1`,
    `SELECT t.id, x.n FROM things t CROSS JOIN LATERAL (SELECT part AS n FROM parts WHERE thing_id = t.id ORDER BY part DESC LIMIT 1) x ORDER BY 1`,
    `SELECT id, u.tag, u.o FROM things, unnest(tags) WITH ORDINALITY AS u (tag, o) ORDER BY id, u.o`,
    `SELECT x.* FROM (SELECT) AS always LEFT JOIN things x ON x.id = 99`,
    `SELECT data ->> 'b' AS b, data -> 'aa' AS aa FROM things WHERE data @> '{"b": 1}'`,
    `SELECT id FROM things WHERE name > 'one' ORDER BY name`,
    `SELECT name AS n, count(*) FROM things GROUP BY n ORDER BY n`,
    `SELECT ctid = ctid AS same FROM things WHERE id = 1`,
    `SELECT id, part FROM things, parts ORDER BY 1, 2`,
    `SELECT thing_id FROM things`,
    `SELECT things.nothing FROM things`,
    `SELECT part, count(*) FROM parts GROUP BY part ORDER BY count(*) DESC, part`,
    `SELECT t.* FROM things t WHERE (t.id, t.name) = (1, 'one')`,
    `SELECT sum(amount) FROM things GROUP BY version ORDER BY version`,
    `SELECT id FROM things WHERE id = ANY (ARRAY(SELECT thing_id FROM parts)) ORDER BY id`,
    `SELECT a.id FROM things a JOIN things b ON a.id = b.id - 1 JOIN parts p ON p.thing_id = a.id ORDER BY a.id, p.part`,
  ])('%s', async (sql) => {
    await same(sql);
  });
});

describe('changes', () => {
  beforeEach(async () => {
    await same(SCHEMA);
  });

  const states = ['SELECT * FROM things ORDER BY id', 'SELECT * FROM parts ORDER BY thing_id, part'];

  it.each([
    [`INSERT INTO things (id, name) VALUES (4, 'four'), (5, 'five') RETURNING id, version, data`],
    [`INSERT INTO things (id, name) VALUES (1, 'again')`],
    [`INSERT INTO things (id, name) VALUES (4, 'one')`],
    [`INSERT INTO things (id, name, amount) VALUES (4, 'four', -1)`],
    [`INSERT INTO things (id, name, version) VALUES (4, 'four', 0)`],
    [`INSERT INTO things (id, name) VALUES (4, 'forbidden')`],
    [`INSERT INTO things (id, name) VALUES (4, NULL)`],
    [`INSERT INTO things (id) VALUES (4)`],
    [`INSERT INTO things (id, nothing) VALUES (4, 1)`],
    [`INSERT INTO things (id, name) VALUES (4)`],
    [`INSERT INTO things (id, name, amount) VALUES (4, 'x', 'y')`],
    [`INSERT INTO parts (thing_id, part) VALUES (9, 'p')`],
    [`INSERT INTO parts (thing_id, part, number) VALUES (1, 'r', 9)`],
    [`INSERT INTO parts (thing_id, part) VALUES (1, 'r'), (3, 'r') RETURNING number`],
    [`INSERT INTO things (id, name) VALUES (1, 'x') ON CONFLICT DO NOTHING RETURNING id`],
    [`INSERT INTO things (id, name) VALUES (1, 'x'), (4, 'y') ON CONFLICT (id) DO NOTHING RETURNING id`],
    [`INSERT INTO things (id, name) VALUES (4, 'one') ON CONFLICT (id) DO NOTHING`],
    [
      `INSERT INTO things AS t (id, name, amount) VALUES (1, 'uno', 5), (6, 'six', 6)
       ON CONFLICT (id) DO UPDATE SET name = excluded.name, amount = t.amount + excluded.amount WHERE t.amount < 100
       RETURNING id, amount, t.version`,
    ],
    [
      `INSERT INTO things (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET version = things.version + 1 WHERE false RETURNING id`,
    ],
    [
      `INSERT INTO things (id, name) VALUES (1, 'x'), (1, 'y') ON CONFLICT (id) DO UPDATE SET name = excluded.name`,
    ],
    [`INSERT INTO things (id, name) VALUES (1, 'x') ON CONFLICT (amount) DO NOTHING`],
    [`INSERT INTO things (id, name, amount) SELECT id + 10, name || '!', amount FROM things RETURNING id`],
    [
      `INSERT INTO things (id, name) SELECT n, t FROM unnest(array[7, 8], array['s', 'e']) AS x (n, t) ORDER BY n DESC RETURNING id`,
    ],
    [
      `INSERT INTO things (id, name, amount, data, at) SELECT n, 'n' || n, '7', '{"x": 1}', '2026-01-01' FROM generate_series(7, 8) AS n RETURNING *`,
    ],
    [`UPDATE things SET amount = amount + 1, version = version + 1 WHERE id < 3 RETURNING id, amount`],
    [`UPDATE things SET amount = -5 WHERE id = 1`],
    [`UPDATE things SET name = 'two' WHERE id = 1`],
    [`UPDATE things SET id = 7 WHERE id = 1`],
    [`UPDATE things SET id = 7 WHERE id = 3 RETURNING id`],
    [`UPDATE things SET name = NULL WHERE id = 3`],
    [`UPDATE things SET data = data || '{"z": 1}', tags = '{q}' WHERE id = 1 RETURNING data, tags`],
    [
      `UPDATE things t SET amount = x.n FROM (VALUES (1, 100), (2, 200)) AS x (id, n) WHERE x.id = t.id RETURNING t.id, x.n, t.amount`,
    ],
    [`UPDATE things SET (amount, version) = (1, 2) WHERE id = 2 RETURNING *`],
    [`UPDATE things SET amount = DEFAULT WHERE id = 2 RETURNING amount`],
    [
      `UPDATE parts SET note = 'z' WHERE thing_id IN (SELECT id FROM things WHERE name = 'one' FOR UPDATE SKIP LOCKED) RETURNING part, note`,
    ],
    [`UPDATE parts SET thing_id = 99 WHERE part = 'q'`],
    [`UPDATE parts SET number = 1`],
    [`DELETE FROM things WHERE id = 3 RETURNING name`],
    [`DELETE FROM things WHERE id = 1`],
    [
      `DELETE FROM parts USING things WHERE things.id = parts.thing_id AND things.name = 'one' RETURNING parts.part`,
    ],
    [
      `WITH gone AS (DELETE FROM parts RETURNING thing_id, part) SELECT count(*), (SELECT count(*) FROM parts) AS left FROM gone`,
    ],
    [
      `WITH made AS (INSERT INTO things (id, name) VALUES (4, 'four') ON CONFLICT (id) DO NOTHING RETURNING id),
            also AS (UPDATE things SET amount = amount + 1 FROM made WHERE things.id = made.id - 1 RETURNING things.id)
       SELECT (SELECT count(*)::int FROM made) AS made, (SELECT amount FROM things WHERE id = 3) AS before, also.id FROM also`,
    ],
    [
      `WITH moved AS (DELETE FROM parts WHERE part = 'p' RETURNING *) INSERT INTO things (id, name) SELECT thing_id + 20, part || thing_id FROM moved RETURNING id`,
    ],
    [`TRUNCATE parts`],
  ])('%s', async (sql) => {
    await same(sql);
    for (const state of states) await same(state);
  });

  it('keeps what a transaction keeps', async () => {
    for (const sql of [
      'BEGIN',
      `UPDATE things SET amount = 1 WHERE id = 1`,
      'SAVEPOINT a',
      `INSERT INTO things (id, name) VALUES (1, 'x')`,
      'SELECT 1',
      'ROLLBACK TO SAVEPOINT a',
      `INSERT INTO things (id, name) VALUES (4, 'four')`,
      'SAVEPOINT b',
      'DELETE FROM parts',
      'ROLLBACK TO b',
      'RELEASE SAVEPOINT b',
      'ROLLBACK TO SAVEPOINT b',
      'SELECT 1',
      'COMMIT',
      'SELECT * FROM things ORDER BY id',
      'BEGIN; SAVEPOINT m0',
      `UPDATE things SET version = 5 WHERE id = 2`,
      `RELEASE SAVEPOINT m0; SAVEPOINT m1`,
      'COMMIT',
      ...states,
      'BEGIN READ ONLY',
      `UPDATE things SET version = 6 WHERE id = 2`,
      'ROLLBACK',
      'SAVEPOINT outside',
      `SELECT 1; SELECT 1 / 0`,
      `INSERT INTO things (id, name) VALUES (8, 'eight'); SELECT 1 / 0`,
      ...states,
    ]) {
      await same(sql);
    }
  });

  it('partitions rows, moves them, and refuses what fits nowhere', async () => {
    for (const sql of [
      `CREATE TABLE log (position bigint NOT NULL, at timestamptz NOT NULL, text text, PRIMARY KEY (position, at)) PARTITION BY RANGE (at)`,
      `INSERT INTO log VALUES (1, '2026-01-01', 'a')`,
      `CREATE TABLE log_default PARTITION OF log DEFAULT`,
      `INSERT INTO log VALUES (1, '2026-01-01', 'a'), (2, '2026-01-02', 'b') RETURNING position`,
      `CREATE TABLE log_1 (LIKE log INCLUDING DEFAULTS INCLUDING CONSTRAINTS)`,
      `ALTER TABLE log ATTACH PARTITION log_1 FOR VALUES FROM ('2026-01-01') TO ('2026-01-02')`,
      `WITH moved AS (DELETE FROM log_default WHERE at >= '2026-01-01' AND at < '2026-01-02' RETURNING *) INSERT INTO log_1 SELECT * FROM moved`,
      `ALTER TABLE log ATTACH PARTITION log_1 FOR VALUES FROM ('2026-01-01') TO ('2026-01-02')`,
      `SELECT * FROM log_1`,
      `SELECT * FROM log ORDER BY position`,
      `INSERT INTO log VALUES (1, '2026-01-01', 'again')`,
      `UPDATE log SET text = 'c' WHERE position = 1 AND at BETWEEN '2025-12-31' AND '2026-01-01 12:00' RETURNING text`,
      `UPDATE log SET at = '2026-01-01 05:00' WHERE position = 2 RETURNING position`,
      `SELECT count(*) FROM log_default`,
      `SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'log'::regclass ORDER BY c.relname`,
      `DROP TABLE log_1`,
      `SELECT count(*) FROM log`,
    ]) {
      await same(sql);
    }
  });

  it('changes tables', async () => {
    for (const sql of [
      `ALTER TABLE things ADD COLUMN extra integer NOT NULL DEFAULT 7 CHECK (extra > 0)`,
      `SELECT id, extra FROM things ORDER BY id`,
      `INSERT INTO things (id, name, extra) VALUES (4, 'x', 0)`,
      `ALTER TABLE things DROP CONSTRAINT named, ADD CONSTRAINT other CHECK (amount < 100)`,
      `ALTER TABLE things ADD CONSTRAINT impossible CHECK (amount < 20)`,
      `INSERT INTO things (id, name, amount) VALUES (4, 'x', 500)`,
      `INSERT INTO things (id, name) VALUES (4, 'forbidden')`,
      `ALTER TABLE things DROP CONSTRAINT nothing`,
      `ALTER TABLE things DROP COLUMN tags`,
      `SELECT * FROM things ORDER BY id`,
      `CREATE UNIQUE INDEX things_version ON things (version)`,
      `CREATE UNIQUE INDEX things_amount ON things (amount)`,
      `INSERT INTO things (id, name, amount) VALUES (6, 'y', 10)`,
      'BEGIN',
      `DROP TABLE parts`,
      `SELECT * FROM parts`,
      'ROLLBACK',
      `SELECT count(*) FROM parts`,
      `DROP TABLE things`,
      `CREATE TABLE things (id int)`,
      `CREATE TABLE IF NOT EXISTS things (id int)`,
      `CREATE SCHEMA other`,
      `CREATE TABLE other.things (id int)`,
      `INSERT INTO other.things VALUES (1)`,
      `SELECT * FROM other.things`,
      `DROP SCHEMA other`,
      `DROP SCHEMA other CASCADE`,
      `SELECT to_regclass('other.things') IS NULL AS gone, to_regclass('things') IS NULL AS here`,
    ]) {
      await same(sql);
    }
  });

  it('runs functions and triggers', async () => {
    for (const sql of [
      `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
       DECLARE bad record;
       BEGIN
         SELECT id, amount INTO bad FROM added WHERE amount = 13 LIMIT 1;
         IF FOUND THEN
           RAISE EXCEPTION 'thing % has %', bad.id, bad.amount USING ERRCODE = 'check_violation', CONSTRAINT = 'no_bad_luck';
         END IF;
         RETURN NULL;
       END $$`,
      `CREATE TRIGGER things_luck AFTER INSERT ON things REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION refuse()`,
      `INSERT INTO things (id, name, amount) VALUES (4, 'x', 12), (5, 'y', 13)`,
      `INSERT INTO things (id, name, amount) VALUES (4, 'x', 12)`,
      `CREATE FUNCTION pick(wanted text[], least bigint) RETURNS TABLE (name text, amount bigint) LANGUAGE plpgsql AS $$
       #variable_conflict use_column
       BEGIN
         IF cardinality(wanted) > 0 THEN
           RETURN QUERY SELECT t.name, t.amount FROM unnest(wanted) AS w (name) JOIN things t ON t.name = w.name WHERE t.amount >= least;
         END IF;
       END $$`,
      `SELECT name, amount FROM pick('{one,two,x}', 11) ORDER BY name`,
      `SELECT FROM pick('{}', 0)`,
      `CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'restrict_violation'; END $$`,
      `CREATE TRIGGER parts_fixed BEFORE UPDATE OR DELETE OR TRUNCATE ON parts FOR EACH STATEMENT EXECUTE FUNCTION never()`,
      `UPDATE parts SET note = '' WHERE false`,
      `DELETE FROM parts`,
      `TRUNCATE parts`,
      `INSERT INTO parts (thing_id, part) VALUES (2, 'new')`,
      ...states,
    ]) {
      await same(sql);
    }
  });
});

/** A step of a script for several connections: who, and what. */
type ScriptStep = readonly [who: string, sql: string];

/**
 * Plays a script, and writes down what each statement answered, which had to wait, and what they answered then. What a
 * connection that waits was to do next is left out.
 *
 * With `oneWaits` also what another could have to wait for: of two that one commit lets go, a server lets either be
 * first, and what comes of it may differ.
 */
async function play(
  side: Side,
  script: readonly ScriptStep[],
  { oneWaits = false }: { readonly oneWaits?: boolean } = {},
): Promise<string[]> {
  const open = new Map<string, Client>();
  const waiting = new Map<string, { readonly sql: string; answer: Answer | undefined }>();
  const log: string[] = [];
  const settle = async (): Promise<void> => {
    for (let before = -1; before !== waiting.size;) {
      before = waiting.size;
      for (const [who, state] of [...waiting]) {
        await until(async () => state.answer !== undefined || side.isBlocked(open.get(who) as Client), {
          describe: `${who} has answered or waits`,
        });
        if (state.answer === undefined) continue;
        waiting.delete(who);
        log.push(`${who}: ${state.sql} -> ${JSON.stringify(state.answer)}`);
      }
    }
  };
  try {
    for (const [who, sql] of script) {
      if (waiting.has(who)) {
        log.push(`${who} waits, and does not ${sql}`);
        continue;
      }
      if (oneWaits && waiting.size > 0 && !NEVER_WAITS.test(sql)) {
        log.push(`${who} might wait too, and does not ${sql}`);
        continue;
      }
      let client = open.get(who);
      if (client === undefined) open.set(who, (client = await side.connect()));
      const state: { sql: string; answer: Answer | undefined } = { sql, answer: undefined };
      void ask(client, sql).then((answer) => (state.answer = answer));
      // Its own answer comes first in the log, whoever it lets go on.
      const others = [...waiting];
      waiting.clear();
      waiting.set(who, state);
      for (const [other, known] of others) waiting.set(other, known);
      await settle();
      if (waiting.has(who)) log.push(`${who}: ${sql} waits`);
    }
    expect([...waiting.keys()]).toEqual([]);
    return log;
  } finally {
    for (const client of open.values()) await client.end();
  }
}

const NEVER_WAITS = /^(BEGIN|COMMIT|ROLLBACK|SELECT(?!.* FOR (UPDATE|NO KEY UPDATE)$))/;

const UPDATE = (id: number, by: number): string =>
  `UPDATE things SET amount = amount + ${by} WHERE id = ${id} RETURNING amount`;

const SCRIPTS: Readonly<Record<string, readonly ScriptStep[]>> = {
  'an update waits, and computes on what was committed': [
    ['a', 'BEGIN'],
    ['a', UPDATE(1, 5)],
    ['b', UPDATE(1, 7)],
    ['a', 'COMMIT'],
    ['b', 'SELECT amount FROM things WHERE id = 1'],
  ],
  'an update goes on from what there was when the other rolls back': [
    ['a', 'BEGIN'],
    ['a', UPDATE(1, 5)],
    ['b', UPDATE(1, 7)],
    ['a', 'ROLLBACK'],
  ],
  'a condition that no longer holds lets the row go': [
    ['a', 'BEGIN'],
    ['a', 'UPDATE things SET version = version + 1 WHERE id = 1'],
    ['b', 'UPDATE things SET amount = 1 WHERE id = 1 AND version = 1 RETURNING id'],
    ['a', 'COMMIT'],
  ],
  'a row that is deleted meanwhile is not updated': [
    ['a', 'BEGIN'],
    ['a', 'DELETE FROM things WHERE id = 3'],
    ['b', UPDATE(3, 1)],
    ['a', 'COMMIT'],
  ],
  'FOR UPDATE waits and answers the new version; a plain read does not wait': [
    ['a', 'BEGIN'],
    ['a', UPDATE(2, 1)],
    ['b', 'SELECT amount FROM things WHERE id = 2'],
    ['b', 'SELECT amount FROM things WHERE id = 2 FOR UPDATE'],
    ['a', 'COMMIT'],
  ],
  'SKIP LOCKED and NOWAIT do not wait': [
    ['a', 'BEGIN'],
    ['a', 'SELECT id FROM things WHERE id = 1 FOR UPDATE'],
    ['b', 'SELECT id FROM things ORDER BY id LIMIT 2 FOR UPDATE SKIP LOCKED'],
    ['b', 'SELECT id FROM things WHERE id = 1 FOR UPDATE NOWAIT'],
    ['b', 'SELECT id FROM things WHERE id = 1 FOR KEY SHARE SKIP LOCKED'],
    ['a', 'COMMIT'],
    ['b', 'SELECT id FROM things WHERE id = 1 FOR UPDATE NOWAIT'],
  ],
  'shared locks go together': [
    ['a', 'BEGIN'],
    ['a', 'SELECT id FROM things WHERE id = 1 FOR SHARE'],
    ['b', 'BEGIN'],
    ['b', 'SELECT id FROM things WHERE id = 1 FOR SHARE'],
    ['c', UPDATE(1, 1)],
    ['a', 'COMMIT'],
    ['b', 'COMMIT'],
  ],
  'an insert of a key that is being inserted waits and fails': [
    ['a', 'BEGIN'],
    ['a', `INSERT INTO things (id, name) VALUES (9, 'nine')`],
    ['b', `INSERT INTO things (id, name) VALUES (9, 'neuf')`],
    ['a', 'COMMIT'],
  ],
  'an insert of a key that was given up goes on': [
    ['a', 'BEGIN'],
    ['a', `INSERT INTO things (id, name) VALUES (9, 'nine')`],
    ['b', `INSERT INTO things (id, name) VALUES (9, 'neuf') RETURNING name`],
    ['a', 'ROLLBACK'],
  ],
  'ON CONFLICT DO NOTHING waits for the one who decides': [
    ['a', 'BEGIN'],
    ['a', `INSERT INTO things (id, name) VALUES (9, 'nine')`],
    ['b', `INSERT INTO things (id, name) VALUES (9, 'neuf') ON CONFLICT DO NOTHING RETURNING id`],
    ['a', 'COMMIT'],
    ['b', 'SELECT name FROM things WHERE id = 9'],
  ],
  'what a statement waited for is not in its snapshot': [
    ['a', 'BEGIN'],
    ['a', `INSERT INTO things (id, name) VALUES (9, 'nine')`],
    [
      'b',
      `WITH made AS (INSERT INTO things (id, name) VALUES (9, 'neuf') ON CONFLICT DO NOTHING RETURNING id)
       SELECT (SELECT count(*) FROM made) AS made, seen.name FROM (SELECT) AS always LEFT JOIN things seen ON seen.id = 9`,
    ],
    ['a', 'COMMIT'],
  ],
  'ON CONFLICT DO UPDATE changes what another has just committed': [
    ['a', 'BEGIN'],
    ['a', `INSERT INTO things (id, name, amount) VALUES (9, 'nine', 1)`],
    [
      'b',
      `INSERT INTO things AS t (id, name, amount) VALUES (9, 'neuf', 2)
       ON CONFLICT (id) DO UPDATE SET amount = t.amount + excluded.amount RETURNING name, amount`,
    ],
    ['a', 'COMMIT'],
  ],
  'ON CONFLICT DO UPDATE waits for an update, and tests its condition on the new version': [
    ['a', 'BEGIN'],
    ['a', 'UPDATE things SET version = 2 WHERE id = 1'],
    [
      'b',
      `INSERT INTO things AS t (id, name, version) VALUES (1, 'x', 2)
       ON CONFLICT (id) DO UPDATE SET version = excluded.version WHERE t.version < excluded.version RETURNING id`,
    ],
    ['a', 'COMMIT'],
  ],
  'a reference locks what it points to': [
    ['a', 'BEGIN'],
    ['a', `INSERT INTO parts (thing_id, part) VALUES (3, 'x')`],
    ['b', 'UPDATE things SET amount = 0 WHERE id = 3 RETURNING id'],
    ['c', 'DELETE FROM things WHERE id = 3'],
    ['a', 'COMMIT'],
  ],
  'a reference waits for the deletion of what it points to': [
    ['a', 'BEGIN'],
    ['a', 'DELETE FROM things WHERE id = 3'],
    ['b', `INSERT INTO parts (thing_id, part) VALUES (3, 'x')`],
    ['a', 'COMMIT'],
  ],
  'advisory locks of transactions and of sessions': [
    ['a', 'BEGIN'],
    ['a', 'SELECT pg_advisory_xact_lock(1)'],
    ['b', 'SELECT pg_try_advisory_xact_lock(1) AS got'],
    ['b', 'SELECT pg_advisory_lock(1)'],
    ['a', 'COMMIT'],
    ['a', 'SELECT pg_try_advisory_lock(1) AS got'],
    ['b', 'SELECT pg_advisory_unlock(1) AS had'],
    ['b', 'SELECT pg_advisory_unlock(1) AS had'],
    ['a', 'SELECT pg_try_advisory_lock(1, 2) AS got'],
    ['b', 'SELECT pg_try_advisory_lock(1, 2) AS got'],
  ],
  'several locks of one statement are taken one after another': [
    ['a', 'BEGIN'],
    ['a', 'SELECT pg_advisory_xact_lock(2)'],
    ['b', 'BEGIN'],
    ['b', 'SELECT pg_advisory_xact_lock(n) FROM generate_series(1, 3) AS n'],
    ['c', 'SELECT pg_try_advisory_lock(1) AS one, pg_try_advisory_lock(3) AS three'],
    ['a', 'COMMIT'],
    ['c', 'SELECT pg_advisory_unlock(3) AS had'],
    ['b', 'COMMIT'],
  ],
  'a rollback to a savepoint lets go of what was locked after it': [
    ['a', 'BEGIN'],
    ['a', 'SAVEPOINT s'],
    ['a', UPDATE(1, 5)],
    ['b', UPDATE(1, 7)],
    ['a', 'ROLLBACK TO s'],
    ['a', 'COMMIT'],
  ],
  'a failed transaction holds no locks': [
    ['a', 'BEGIN'],
    ['a', UPDATE(1, 5)],
    ['a', 'SELECT 1 / 0'],
    ['b', UPDATE(1, 7)],
    ['a', 'COMMIT'],
  ],
  'a failed transaction keeps what was locked before its last savepoint': [
    ['a', 'BEGIN'],
    ['a', UPDATE(1, 5)],
    ['a', 'SAVEPOINT s'],
    ['a', UPDATE(2, 5)],
    ['a', 'SELECT 1 / 0'],
    ['b', UPDATE(2, 7)],
    ['b', UPDATE(1, 7)],
    ['a', 'ROLLBACK TO s'],
    ['a', UPDATE(3, 1)],
    ['a', 'COMMIT'],
  ],
  'a change of a table waits for those who use it': [
    ['a', 'BEGIN'],
    ['a', 'SELECT count(*) FROM parts'],
    ['b', 'ALTER TABLE parts ADD COLUMN more text'],
    ['a', 'COMMIT'],
    ['a', 'SELECT more FROM parts LIMIT 1'],
  ],
  'LOCK TABLE': [
    ['a', 'BEGIN'],
    ['a', 'LOCK TABLE parts IN SHARE ROW EXCLUSIVE MODE'],
    ['b', 'SELECT count(*) FROM parts'],
    ['b', `UPDATE parts SET note = 'z' WHERE part = 'q' RETURNING note`],
    ['a', 'COMMIT'],
  ],
  'claims of two workers are disjoint': [
    ['a', 'BEGIN'],
    [
      'a',
      'UPDATE things SET version = 9 WHERE id IN (SELECT id FROM things WHERE version = 1 ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id',
    ],
    [
      'b',
      'UPDATE things SET version = 9 WHERE id IN (SELECT id FROM things WHERE version = 1 ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id',
    ],
    ['a', 'COMMIT'],
    ['a', 'SELECT id, version FROM things ORDER BY id'],
  ],
  'an update of two rows waits in the middle': [
    ['a', 'BEGIN'],
    ['a', UPDATE(2, 1)],
    ['b', 'BEGIN'],
    ['b', 'UPDATE things SET amount = amount * 2 WHERE id IN (1, 2)'],
    ['c', 'SELECT id FROM things WHERE id IN (1, 2, 3) ORDER BY id FOR UPDATE SKIP LOCKED'],
    ['a', 'COMMIT'],
    ['b', 'COMMIT'],
    ['c', 'SELECT id, amount FROM things ORDER BY id'],
  ],
};

describe('transactions at the same time', () => {
  beforeEach(async () => {
    await same(SCHEMA);
  });

  it.each(Object.entries(SCRIPTS))('%s', async (_, script) => {
    const expected = await play(real, script);
    expect(await play(simulated, script)).toEqual(expected);
    for (const state of [
      'SELECT * FROM things ORDER BY id',
      'SELECT thing_id, part FROM parts ORDER BY 1, 2',
    ])
      await same(state);
  });

  it('finds a deadlock, and lets the other go on', async () => {
    const script: readonly ScriptStep[] = [
      ['a', 'BEGIN'],
      ['a', UPDATE(1, 1)],
      ['b', 'BEGIN'],
      ['b', UPDATE(2, 1)],
      ['a', UPDATE(2, 1)],
    ];
    for (const side of [real, simulated]) {
      const [a, b] = [await side.connect(), await side.connect()];
      const by: Record<string, Client> = { a, b };
      for (const [who, sql] of script.slice(0, -1)) await ask(by[who] as Client, sql);
      const first = ask(a, UPDATE(2, 1));
      await until(() => side.isBlocked(a));
      const answers = await Promise.all([
        first.finally(() => ask(a, 'ROLLBACK')),
        ask(b, UPDATE(1, 1)).finally(() => ask(b, 'ROLLBACK')),
      ]);
      expect(answers.filter((answer) => 'code' in answer && answer.code === '40P01')).toHaveLength(1);
      expect(answers.filter((answer) => 'rows' in answer)).toHaveLength(1);
      await a.end();
      await b.end();
    }
  });

  /** A small generator of numbers, the same for the same seed. */
  function numbers(seed: number): (below: number) => number {
    let state = seed * 2_654_435_761 + 1;
    return (below) => {
      state = (Math.imul(state ^ (state >>> 15), 2_246_822_519) + 0x9e37_79b9) | 0;
      return (state >>> 0) % below;
    };
  }

  /** Connections that each touch rows in one order, so that nobody can be in a deadlock. */
  function randomScript(seed: number): ScriptStep[] {
    const pick = numbers(seed);
    const state = new Map(['a', 'b', 'c'].map((who) => [who, { open: false, from: 1 }]));
    const script: ScriptStep[] = [];
    for (let step = 0; step < 30; step += 1) {
      const who = ['a', 'b', 'c'][pick(3)] as string;
      const own = state.get(who) as { open: boolean; from: number };
      if (!own.open) {
        script.push([who, 'BEGIN']);
        Object.assign(own, { open: true, from: 1 });
        continue;
      }
      if (own.from > 6 || pick(4) === 0) {
        script.push([who, pick(4) === 0 ? 'ROLLBACK' : 'COMMIT']);
        own.open = false;
        continue;
      }
      const id = own.from + pick(7 - own.from);
      own.from = id + 1;
      const value = pick(50);
      const choices = [
        UPDATE(id, value),
        `UPDATE things SET version = version + 1, amount = ${value} WHERE id = ${id} AND version < 3 RETURNING version`,
        `DELETE FROM things WHERE id = ${id} AND NOT EXISTS (SELECT FROM parts WHERE thing_id = things.id) RETURNING name`,
        `INSERT INTO things (id, name, amount) VALUES (${id}, 'n${id}', ${value}) ON CONFLICT (id) DO NOTHING RETURNING id`,
        `INSERT INTO things AS t (id, name, amount) VALUES (${id}, 'n${id}', ${value}) ON CONFLICT (id) DO UPDATE SET amount = t.amount + 1, version = t.version + 1 WHERE t.version < 5 RETURNING amount, version`,
        `SELECT amount FROM things WHERE id = ${id} FOR UPDATE`,
        `SELECT id FROM things WHERE id >= ${id} ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED`,
        `SELECT amount FROM things WHERE id = ${id} FOR NO KEY UPDATE`,
        `SELECT id, amount, version FROM things ORDER BY id`,
      ];
      script.push([who, choices[pick(choices.length)] as string]);
    }
    // As often as one can wait for another.
    for (let round = 0; round < state.size; round += 1)
      for (const who of state.keys()) script.push([who, 'COMMIT']);
    return script;
  }

  it.each(Array.from({ length: 40 }, (_, index) => index + 1))('random scripts: seed %i', async (seed) => {
    const script = randomScript(seed);
    const expected = await play(real, script, { oneWaits: true });
    expect(await play(simulated, script, { oneWaits: true })).toEqual(expected);
    await same('SELECT * FROM things ORDER BY id');
  });
});

it('tells listeners what was committed, and only that', async () => {
  for (const side of [real, simulated]) {
    const [listener, speaker] = [await side.connect(), await side.connect()];
    const heard: string[] = [];
    listener.on('notification', ({ channel, payload }) => heard.push(`${channel} ${payload ?? ''}`));
    await listener.query('LISTEN news');
    await speaker.query('BEGIN');
    await speaker.query(`SELECT pg_notify('news', 'undone')`);
    await speaker.query('ROLLBACK');
    await speaker.query('BEGIN');
    await speaker.query(`SELECT pg_notify('news', 'one')`);
    await speaker.query(`NOTIFY news, 'two'`);
    await speaker.query(`NOTIFY news, 'two'`);
    await speaker.query(`NOTIFY other, 'three'`);
    expect(heard).toEqual([]);
    await speaker.query('COMMIT');
    await until(() => heard.length === 2);
    expect(heard).toEqual(['news one', 'news two']);
    await listener.end();
    await speaker.end();
  }
});
