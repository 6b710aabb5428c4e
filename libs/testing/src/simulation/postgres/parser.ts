import type { Node } from 'libpg-query';
import { PostgresError } from './postgres-error.ts';

type Parser = typeof import('libpg-query');

export interface ParsedStatement {
  readonly node: Node;
  readonly text: string;
}

let loaded: Parser | undefined;
let loading: Promise<void> | undefined;

/** Postgres' own parser, loaded once in a process. */
export function loadParser(): Promise<void> {
  return (loading ??= (async () => {
    const parser = await import('libpg-query');
    await parser.loadModule();
    loaded = parser;
  })());
}

function parser(): Parser {
  if (loaded === undefined) throw new Error('Await loadParser() before');
  return loaded;
}

const MAX_TEXTS = 5_000;
const texts = new Map<string, readonly ParsedStatement[]>();

/** The statements of a text; each text is parsed once. */
export function parse(text: string): readonly ParsedStatement[] {
  const known = texts.get(text);
  if (known !== undefined) return known;
  let statements: readonly ParsedStatement[];
  try {
    const bytes = Buffer.from(text);
    statements = (parser().parseSync(text).stmts ?? []).map(
      ({ stmt, stmt_location: from = 0, stmt_len: length }) => ({
        node: stmt as Node,
        text: bytes
          .subarray(from, length === undefined || length === 0 ? undefined : from + length)
          .toString(),
      }),
    );
  } catch (error) {
    throw new PostgresError('42601', error instanceof Error ? error.message : String(error));
  }
  if (texts.size >= MAX_TEXTS) texts.clear();
  texts.set(text, statements);
  return statements;
}

/** The body of a PL/pgSQL function as its own parser sees it. */
export function parseFunction(source: string): unknown {
  try {
    return parser().parsePlPgSQLSync(source);
  } catch (error) {
    throw new PostgresError('42601', error instanceof Error ? error.message : String(error));
  }
}
