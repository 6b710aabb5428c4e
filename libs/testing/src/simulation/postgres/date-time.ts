import { PostgresError } from './postgres-error.ts';

/** Points in time are microseconds since 1970 (UTC), or plus or minus infinity. */
export type Micros = number;

/** An INTERVAL, in the three parts that Postgres keeps apart. */
export class Interval {
  readonly months: number;
  readonly days: number;
  readonly micros: number;

  constructor(months: number, days: number, micros: number) {
    this.months = months;
    this.days = days;
    this.micros = micros;
  }

  /** For comparing: a month has 30 days, a day 24 hours. */
  get estimate(): number {
    return (this.months * 30 + this.days) * DAY + this.micros;
  }

  toString(): string {
    const parts: string[] = [];
    const years = Math.trunc(this.months / 12);
    const months = this.months % 12;
    if (years !== 0) parts.push(`${years} year${years === 1 ? '' : 's'}`);
    if (months !== 0) parts.push(`${months} mon${months === 1 ? '' : 's'}`);
    if (this.days !== 0) parts.push(`${this.days} day${this.days === 1 ? '' : 's'}`);
    if (this.micros !== 0 || parts.length === 0) parts.push(clock(this.micros));
    return parts.join(' ');
  }
}

export const SECOND = 1_000_000;
export const DAY = 86_400 * SECOND;

export function parseTimestamp(text: string, type: string, now: () => Micros): Micros {
  const trimmed = text.trim();
  if (trimmed === 'infinity') return Infinity;
  if (trimmed === '-infinity') return -Infinity;
  if (trimmed === 'now') return now();
  const match =
    /^(\d{4,6})-(\d\d?)-(\d\d?)(?:[T ](\d\d?):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?)?\s*(Z|UTC|[+-]\d\d(?::?\d\d)?)?(\s+BC)?$/i.exec(
      trimmed,
    );
  if (match === null || match[9] !== undefined) {
    throw new PostgresError('22007', `invalid input syntax for type ${type}: "${text}"`);
  }
  const [, year, month, day, hour = '0', minute = '0', second = '0', fraction = '', zone = 'Z'] = match;
  const days = Date.UTC(Number(year), Number(month) - 1, Number(day));
  const back = new Date(days);
  if (back.getUTCMonth() !== Number(month) - 1 || Number(hour) > 24 || Number(minute) > 59) {
    throw new PostgresError('22008', `date/time field value out of range: "${text}"`);
  }
  const micros = Math.round(Number(`0.${fraction || '0'}`) * SECOND);
  const offset = /^[+-]/.test(zone) ? offsetOf(zone) : 0;
  return (
    days * 1000 + (Number(hour) * 3600 + Number(minute) * 60 + Number(second)) * SECOND + micros - offset
  );
}

function offsetOf(zone: string): Micros {
  const [, sign, hours, minutes] = /^([+-])(\d\d):?(\d\d)?$/.exec(zone) ?? [];
  const micros = (Number(hours) * 3600 + Number(minutes ?? 0) * 60) * SECOND;
  return sign === '-' ? -micros : micros;
}

export function formatTimestamp(value: Micros, zone: string): string {
  if (value === Infinity) return 'infinity';
  if (value === -Infinity) return '-infinity';
  const second = Math.floor(value / SECOND);
  const micros = value - second * SECOND;
  if (second !== lastSecond) {
    lastSecond = second;
    const [date = '', time = ''] = new Date(second * 1000).toISOString().split('T');
    lastText = `${date} ${time.slice(0, 8)}`;
  }
  const fraction = micros === 0 ? '' : `.${String(micros).padStart(6, '0').replace(/0+$/, '')}`;
  return `${lastText}${fraction}${zone}`;
}

/** The second that was formatted last: points in time come in clusters. */
let lastSecond = NaN;
let lastText = '';

export function formatDate(value: Micros): string {
  if (!Number.isFinite(value)) return formatTimestamp(value, '');
  return new Date(Math.floor(value / 1000)).toISOString().slice(0, 10);
}

const UNITS: Readonly<Record<string, readonly [months: number, days: number, micros: number]>> = {
  microsecond: [0, 0, 1],
  millisecond: [0, 0, 1000],
  ms: [0, 0, 1000],
  second: [0, 0, SECOND],
  sec: [0, 0, SECOND],
  s: [0, 0, SECOND],
  minute: [0, 0, 60 * SECOND],
  min: [0, 0, 60 * SECOND],
  hour: [0, 0, 3600 * SECOND],
  h: [0, 0, 3600 * SECOND],
  day: [0, 1, 0],
  d: [0, 1, 0],
  week: [0, 7, 0],
  month: [1, 0, 0],
  mon: [1, 0, 0],
  year: [12, 0, 0],
  y: [12, 0, 0],
};

export function parseInterval(text: string): Interval {
  let [months, days, micros] = [0, 0, 0];
  const rest = text.replace(/([+-]?)(\d+):(\d\d)(?::(\d\d(?:\.\d+)?))?/, (_, sign, h, m, s) => {
    const value = Math.round((Number(h) * 3600 + Number(m) * 60 + Number(s ?? 0)) * SECOND);
    micros += sign === '-' ? -value : value;
    return '';
  });
  const left = rest.replace(/([+-]?\d+(?:\.\d+)?)\s*([a-z]+)/gi, (all, amount, unit: string) => {
    const known = UNITS[unit.toLowerCase().replace(/(?<=..)s$/, '')];
    if (known === undefined) return all;
    months += known[0] * Number(amount);
    const wholeDays = Math.trunc(known[1] * Number(amount));
    days += wholeDays;
    micros += Math.round(known[2] * Number(amount) + (known[1] * Number(amount) - wholeDays) * DAY);
    return '';
  });
  if (left.trim() !== '' || text.trim() === '')
    throw new PostgresError('22007', `invalid input syntax for type interval: "${text}"`);
  return new Interval(months, days, micros);
}

export function addInterval(at: Micros, { months, days, micros }: Interval, sign: 1 | -1): Micros {
  if (!Number.isFinite(at)) return at;
  let base = at;
  if (months !== 0) {
    const date = new Date(Math.floor(at / 1000));
    const day = date.getUTCDate();
    const target = new Date(date);
    target.setUTCDate(1);
    target.setUTCMonth(target.getUTCMonth() + sign * months);
    const last = new Date(Date.UTC(target.getUTCFullYear(), target.getUTCMonth() + 1, 0)).getUTCDate();
    target.setUTCDate(Math.min(day, last));
    base += (target.getTime() - date.getTime()) * 1000;
  }
  return base + sign * (days * DAY + micros);
}

function clock(micros: number): string {
  const value = Math.abs(micros);
  const seconds = Math.floor(value / SECOND);
  const fraction = value % SECOND;
  const two = (n: number): string => String(n).padStart(2, '0');
  const text = `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  const tail = fraction === 0 ? '' : `.${String(fraction).padStart(6, '0').replace(/0+$/, '')}`;
  return `${micros < 0 ? '-' : ''}${text}${tail}`;
}

/** The patterns of to_char that statements use. */
export function formatPattern(at: Micros, pattern: string): string {
  const date = new Date(Math.floor(at / 1000));
  const two = (n: number): string => String(n).padStart(2, '0');
  const micros = at - Math.floor(at / SECOND) * SECOND;
  const fields: Readonly<Record<string, string>> = {
    YYYY: String(date.getUTCFullYear()).padStart(4, '0'),
    MM: two(date.getUTCMonth() + 1),
    DD: two(date.getUTCDate()),
    HH24: two(date.getUTCHours()),
    MI: two(date.getUTCMinutes()),
    SS: two(date.getUTCSeconds()),
    MS: String(Math.floor(micros / 1000)).padStart(3, '0'),
    US: String(micros).padStart(6, '0'),
  };
  return pattern.replace(/"([^"]*)"|YYYY|MM|DD|HH24|MI|SS|MS|US/g, (field, quoted: string | undefined) =>
    quoted === undefined ? (fields[field] ?? field) : quoted,
  );
}
