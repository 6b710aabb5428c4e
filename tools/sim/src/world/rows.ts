/** A row as the simulated database has it committed. */
export type Row = Readonly<Record<string, unknown>>;

/** Reads the committed rows of a table of a service; only the columns that are named, if any are. */
export type ReadRows = (service: string, table: string, columns?: readonly string[]) => readonly Row[];

export function textOf(value: unknown): string {
  if (typeof value === 'string') return value;
  return typeof value === 'number' || typeof value === 'bigint' ? String(value) : '';
}

export function textOrNull(value: unknown): string | null {
  return value === null || value === undefined ? null : textOf(value);
}

/** A number of pieces or of minor units: safe integers, which a driver gives as text. */
export function numberOf(value: unknown): number {
  return value === null || value === undefined ? 0 : Number(value);
}

/** A column of type json or jsonb, whether it is read already or not. */
export function jsonOf<T>(value: unknown): T {
  return (typeof value === 'string' ? JSON.parse(value) : value) as T;
}

/** An array column. */
export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? (value as readonly unknown[]) : [];
}

/** Milliseconds since the epoch of a timestamp; undefined for NULL. */
export function timeOf(value: unknown): number | undefined {
  if (value === null || value === undefined) return undefined;
  return value instanceof Date ? value.getTime() : new Date(value as string).getTime();
}
