import { COUNTED_TICKS, cronTicks } from './cron.ts';

const at = (text: string): number => Date.parse(text);
const iso = (ms: number | undefined): string | undefined =>
  ms === undefined ? undefined : new Date(ms).toISOString();
const following = (expression: string, timeZone: string, from: string, count: number) => {
  const { next } = cronTicks(expression, timeZone);
  const found: (string | undefined)[] = [];
  for (let tick = next(at(from)); found.length < count; tick = tick && next(tick)) found.push(iso(tick));
  return found;
};

describe('a cron expression', () => {
  it('has its next tick after a moment and its latest up to it', () => {
    const { next, latest } = cronTicks('0 3 * * *', 'UTC');
    expect(iso(next(at('2030-01-01T02:59:59.999Z')))).toBe('2030-01-01T03:00:00.000Z');
    expect(iso(next(at('2030-01-01T03:00:00Z')))).toBe('2030-01-02T03:00:00.000Z');
    expect(iso(latest(at('2030-01-01T02:59:59.999Z')))).toBe('2029-12-31T03:00:00.000Z');
    expect(iso(latest(at('2030-01-01T03:00:00Z')))).toBe('2030-01-01T03:00:00.000Z');
  });

  it('comes every day although the clocks change: once when its hour is skipped, once when it comes twice', () => {
    expect(following('30 2 * * *', 'Europe/Berlin', '2026-03-28T00:00:00Z', 3)).toEqual([
      '2026-03-28T01:30:00.000Z',
      '2026-03-29T01:00:00.000Z',
      '2026-03-30T00:30:00.000Z',
    ]);
    expect(following('30 2 * * *', 'Europe/Berlin', '2026-10-24T00:00:00Z', 3)).toEqual([
      '2026-10-24T00:30:00.000Z',
      '2026-10-25T00:30:00.000Z',
      '2026-10-26T01:30:00.000Z',
    ]);
    expect(following('0 * * * *', 'Europe/Berlin', '2026-10-24T23:30:00Z', 4)).toEqual([
      '2026-10-25T00:00:00.000Z',
      '2026-10-25T01:00:00.000Z',
      '2026-10-25T02:00:00.000Z',
      '2026-10-25T03:00:00.000Z',
    ]);
  });

  it('counts the ticks between two moments, up to a bound', () => {
    const { between } = cronTicks('*/10 * * * * *', 'UTC');
    expect(between(at('2030-01-01T00:00:00Z'), at('2030-01-01T00:01:00Z'))).toBe(5);
    expect(between(at('2030-01-01T00:00:00Z'), at('2040-01-01T00:00:00Z'))).toBe(COUNTED_TICKS);
  });

  it.each([
    ['nope', 'UTC', /expected five fields/],
    ['2030-01-01T00:00:00', 'UTC', /expected five fields/],
    ['99 * * * *', 'UTC', /minute: 99/],
    ['0 3 * * *', 'Mars/Base', /Mars\/Base/],
  ])('that is none is refused with the reason: %s in %s', (expression, timeZone, reason) => {
    expect(() => cronTicks(expression, timeZone)).toThrow(reason);
  });
});
