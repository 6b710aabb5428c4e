import { CsvError as ParseError, parse } from 'csv-parse/sync';
import { CsvError } from './import.errors.ts';

/** The columns that a retail CSV must have, in any order; others are ignored. */
export const columns = [
  'InvoiceNo',
  'StockCode',
  'Description',
  'Quantity',
  'UnitPrice',
  'CustomerID',
  'Country',
] as const;

export type Column = (typeof columns)[number];

/** One row as text, trimmed. */
export interface CsvRow {
  /** Where in the file, from 1; the first line of a row that has several. */
  readonly line: number;
  /** Undefined when the row has another number of fields than the header. */
  readonly fields: Readonly<Record<Column, string>> | undefined;
}

/** Text of a file in UTF-8, with or without a byte order mark. Throws {@link CsvError} that names the line. */
export function decodeUtf8(bytes: Uint8Array): string {
  if (bytes.length === 0) throw new CsvError('The file is empty');
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    const line = firstUndecodableLine(bytes);
    throw new CsvError(
      'it is not UTF-8. Convert the file first, for example: iconv -f ISO-8859-1 -t UTF-8 old.csv > new.csv',
      line,
      { cause },
    );
  }
}

/** A line break byte is never part of a longer UTF-8 sequence, so lines can be looked at one by one. */
function firstUndecodableLine(bytes: Uint8Array): number {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let line = 1;
  for (let from = 0; from < bytes.length; line++) {
    const end = bytes.indexOf(0x0a, from);
    const to = end === -1 ? bytes.length : end;
    try {
      decoder.decode(bytes.subarray(from, to));
    } catch {
      return line;
    }
    from = to + 1;
  }
  return line;
}

/** Reads the rows of a retail CSV one after another. Throws {@link CsvError} on what makes the file unreadable. */
export function readRows(text: string, onRow: (row: CsvRow) => void): void {
  let places: Readonly<Record<Column, number>> | undefined;
  let width = 0;
  let lastLine = 0;
  const onRecord = (record: string[], lines: number): void => {
    const line = lines - record.join('').split('\n').length + 1;
    lastLine = lines;
    if (places === undefined) {
      places = placesOf(record);
      width = record.length;
      return;
    }
    const at = places;
    const field = (column: Column): string => (record[at[column]] ?? '').trim();
    onRow({
      line,
      fields:
        record.length === width
          ? (Object.fromEntries(columns.map((column) => [column, field(column)])) as Record<Column, string>)
          : undefined,
    });
  };
  try {
    parse(text, {
      bom: true,
      relax_column_count: true,
      skip_empty_lines: true,
      on_record: (record: string[], { lines }) => {
        onRecord(record, lines);
        return null; // read: not kept
      },
    });
  } catch (error) {
    if (!(error instanceof ParseError)) throw error;
    throw error.code === 'CSV_QUOTE_NOT_CLOSED'
      ? new CsvError('a quote is opened in this row or after it and never closed', lastLine + 1, {
          cause: error,
        })
      : new CsvError(`the quoting is broken: ${error.message}`, lastLine + 1, { cause: error });
  }
  if (places === undefined) throw new CsvError('The file is empty');
}

function placesOf(header: readonly string[]): Record<Column, number> {
  const names = header.map((name) => name.trim().toLowerCase());
  const missing = columns.filter((column) => !names.includes(column.toLowerCase()));
  if (missing.length > 0) {
    throw new CsvError(`the header has no column ${missing.join(', ')}; it has: ${header.join(', ')}`, 1);
  }
  return Object.fromEntries(columns.map((column) => [column, names.indexOf(column.toLowerCase())])) as Record<
    Column,
    number
  >;
}
