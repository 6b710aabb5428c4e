import { errorMessage } from '@flotilla/kernel';
import { until, UntilTimedOutError } from '@flotilla/testing';
import pg from 'pg';
import type { RecordedAct } from './record.ts';

type Run = Extract<RecordedAct, { kind: 'run' }>;
type Answer = Extract<RecordedAct, { kind: 'answer' }>;

/** What the real server said to a statement. */
type Said =
  | { readonly tag: string; readonly rows: readonly (readonly (string | null)[])[] }
  | { readonly code: string; readonly message: string };

interface Replayed {
  readonly client: pg.Client;
  /** The statement under way, and what comes of it; undefined: it is not for the real server. */
  running: { readonly run: Run; readonly said: Promise<Said> | undefined } | undefined;
}

/**
 * `now()` and `clock_timestamp()` are what they were in the recording. They are found before Postgres' own, also by the
 * defaults of columns, because `pg_catalog` comes last in the path of these connections.
 */
const SCHEMA_OF_TIME = `
  CREATE SCHEMA sim;
  CREATE FUNCTION sim.at(setting text) RETURNS timestamptz LANGUAGE sql STABLE AS
    $$ SELECT 'epoch'::timestamptz + current_setting(setting)::bigint * interval '1 microsecond' $$;
  CREATE FUNCTION sim.now() RETURNS timestamptz LANGUAGE sql STABLE AS $$ SELECT sim.at('sim.now') $$;
  CREATE FUNCTION sim.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    $$ SELECT sim.at('sim.clock') $$;`;
const OPTIONS = '-c search_path=public,sim,pg_catalog -c timezone=UTC -c sim.now=0 -c sim.clock=0';

/** Simulated time is not the server's: what ends by it is ended by hand. */
const IN_TIME = /^\s*SET\s+(?:LOCAL\s+)?\w*timeout/i;
const ENDED_BY_TIME: ReadonlySet<string> = new Set(['57014', '55P03']);
/** Says something of the server itself. */
const OF_THE_SERVER = /\bversion\(\)|\bpg_backend_pid\(\)/;
/** An aborted transaction takes nothing else. */
const AFTER_AN_ERROR = /^\s*ROLLBACK/i;
const WITHIN_MS = 10_000;

/** Makes a database ready for {@link replay}; before its first act. */
export async function prepare(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(SCHEMA_OF_TIME);
  } finally {
    await client.end();
  }
}

/** How a replay went. */
export interface Replay {
  readonly statements: number;
  /** Statements that waited for another connection on both sides. */
  readonly waits: number;
  /** What the real server did otherwise, a sentence each. */
  readonly differences: readonly string[];
}

/** Does on a real server, connection by connection and in the same order, what was done to a simulated database. */
export async function replay(url: string, acts: readonly RecordedAct[]): Promise<Replay> {
  const replaying = new Replaying(url);
  try {
    await replaying.open();
    for (const act of acts) await replaying.do(act);
    return replaying.result;
  } finally {
    await replaying.close();
  }
}

class Replaying {
  readonly #url: string;
  readonly #observer: pg.Client;
  readonly #connections = new Map<number, Replayed>();
  readonly #differences: string[] = [];
  #statements = 0;
  #waits = 0;

  constructor(url: string) {
    this.#url = url;
    this.#observer = new pg.Client({ connectionString: url });
  }

  get result(): Replay {
    return { statements: this.#statements, waits: this.#waits, differences: this.#differences };
  }

  async open(): Promise<void> {
    await this.#observer.connect();
  }

  async close(): Promise<void> {
    for (const connection of [...this.#connections.keys()]) await this.#end(connection);
    await this.#observer.end();
  }

  async do(act: RecordedAct): Promise<void> {
    if (act.kind === 'open') return this.#connect(act.connection);
    if (act.kind === 'close') return this.#end(act.connection);
    const replayed = this.#connections.get(act.connection);
    if (replayed === undefined) throw new Error(`Connection ${act.connection} acts before it is open`);
    switch (act.kind) {
      case 'begin':
        await this.#control(replayed, act.readOnly ? 'BEGIN READ ONLY' : 'BEGIN');
        return;
      case 'commit':
        await this.#control(replayed, 'COMMIT');
        return;
      case 'rollback':
        await this.#control(replayed, 'ROLLBACK');
        return;
      case 'run':
        this.#run(replayed, act);
        return;
      case 'wait':
        await this.#blocked(replayed);
        return;
      case 'answer':
        await this.#compare(replayed, act);
        return;
      case 'fail':
        await this.#compareFailure(replayed, act.code);
    }
  }

  async #connect(connection: number): Promise<void> {
    const client = new pg.Client({
      connectionString: this.#url,
      options: OPTIONS,
      types: { getTypeParser: () => (text: string) => text },
    });
    // Its end is the recording's.
    client.on('error', () => undefined);
    await client.connect();
    this.#connections.set(connection, { client, running: undefined });
  }

  /** Ends it as a process that dies does: whatever it does is rolled back, and its locks are free. */
  async #end(connection: number): Promise<void> {
    const replayed = this.#connections.get(connection);
    if (replayed === undefined) return;
    this.#connections.delete(connection);
    const pid = pidOf(replayed.client);
    await this.#observer.query('SELECT pg_terminate_backend($1)', [pid]);
    await until(
      async () => {
        const { rowCount } = await this.#observer.query('SELECT 1 FROM pg_stat_activity WHERE pid = $1', [
          pid,
        ]);
        return rowCount === 0;
      },
      { timeoutMs: WITHIN_MS },
    );
    await replayed.running?.said;
    await replayed.client.end().catch(() => undefined);
  }

  async #control({ client }: Replayed, text: string): Promise<void> {
    await client.query(text);
  }

  #run(replayed: Replayed, run: Run): void {
    this.#statements++;
    const { client } = replayed;
    const { text, parameters, now, clock } = run;
    if (IN_TIME.test(text)) {
      replayed.running = { run, said: undefined };
      return;
    }
    if (!AFTER_AN_ERROR.test(text)) {
      client
        .query(`SELECT set_config('sim.now', $1, false), set_config('sim.clock', $2, false)`, [
          String(now),
          String(clock),
        ])
        .catch((error: unknown) => this.#differ(run, `the time cannot be set: ${errorMessage(error)}`));
    }
    const values = parameters.length > 0 ? { values: [...parameters] } : {};
    const said = client.query<(string | null)[]>({ text, rowMode: 'array', ...values }).then(
      ({ command, rowCount, rows }): Said => ({ tag: tagOf(command, rowCount), rows }),
      (error: unknown): Said => ({
        code: (error as { readonly code?: string }).code ?? 'none',
        message: errorMessage(error),
      }),
    );
    replayed.running = { run, said };
  }

  async #blocked({ client, running }: Replayed): Promise<void> {
    if (running?.said === undefined) return;
    this.#waits++;
    const pid = pidOf(client);
    try {
      await until(
        async () => {
          const { rows } = await this.#observer.query<{ blocked: boolean }>(
            'SELECT cardinality(pg_blocking_pids($1)) > 0 AS blocked',
            [pid],
          );
          return rows[0]?.blocked === true;
        },
        { timeoutMs: 2_000 },
      );
    } catch (error) {
      if (!(error instanceof UntilTimedOutError)) throw error;
      this.#differ(running.run, 'it waits for another connection, and does not on the real server');
    }
  }

  async #compare(replayed: Replayed, { command, rows }: Answer): Promise<void> {
    const { running } = replayed;
    replayed.running = undefined;
    if (running?.said === undefined) return;
    const { run } = running;
    const said = await this.#within(running.said, run);
    if (said === undefined || OF_THE_SERVER.test(run.text)) return;
    if ('code' in said) {
      this.#differ(run, `${command}, and on the real server ${said.code} ${said.message}`);
      return;
    }
    const [, word = '', one, other] = /^([A-Za-z]+)(?: (\d+))?(?: (\d+))?/.exec(command) ?? [];
    const count = other ?? one;
    const tag = tagOf(word, count === undefined ? null : Number(count));
    if (said.tag !== tag) this.#differ(run, `${tag}, and on the real server ${said.tag}`);
    const [simulated, real] = [rows, said.rows].map((each) => {
      const texts = each.map((row) => JSON.stringify(row));
      return (/\bORDER BY\b/i.test(run.text) ? texts : texts.sort()).join('\n');
    });
    if (simulated !== real) this.#differ(run, `rows\n${simulated}\nand on the real server\n${real}`);
  }

  async #compareFailure(replayed: Replayed, code: string): Promise<void> {
    const { running, client } = replayed;
    replayed.running = undefined;
    if (running?.said === undefined) return;
    if (ENDED_BY_TIME.has(code)) await this.#observer.query('SELECT pg_cancel_backend($1)', [pidOf(client)]);
    const said = await this.#within(running.said, running.run);
    if (said === undefined) return;
    const actual = 'code' in said ? said.code : said.tag;
    if (actual !== code && !(ENDED_BY_TIME.has(code) && ENDED_BY_TIME.has(actual)))
      this.#differ(running.run, `${code}, and on the real server ${actual}`);
  }

  async #within(said: Promise<Said>, run: Run): Promise<Said | undefined> {
    const patience = new AbortController();
    const late = new Promise<undefined>((resolve) => {
      const timer = setTimeout(() => resolve(undefined), WITHIN_MS);
      patience.signal.addEventListener('abort', () => clearTimeout(timer));
    });
    try {
      const answer = await Promise.race([said, late]);
      if (answer === undefined) throw new Error(`The real server does not answer: ${run.text}`);
      return answer;
    } finally {
      patience.abort();
    }
  }

  #differ({ database, text, parameters }: Run, how: string): void {
    this.#differences.push(`${database}: ${text.trim()} ${JSON.stringify(parameters)}: ${how}`);
  }
}

function tagOf(command: string, count: number | null): string {
  return count === null ? command : `${command} ${count}`;
}

function pidOf(client: pg.Client): number {
  return (client as unknown as { readonly processID: number }).processID;
}
