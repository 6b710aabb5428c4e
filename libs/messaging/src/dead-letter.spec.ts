import {
  attemptRecord,
  DEAD_LETTER_HEADROOM_BYTES,
  deadLetterHeader as h,
  deadLetterOf,
} from './dead-letter.ts';

const at = new Date('2026-01-02T03:04:05.678Z');
const source = {
  service: 'pad',
  consumer: 'pad',
  subject: 'cmd.pad.Launch.v1.3.ariane',
  stream: 'CMD_pad',
  sequence: 7,
  attempt: 6,
  headers: { 'ce-id': 'm-1', 'x-own': 'kept', 'Nats-Msg-Id': 'm-1' },
  body: Buffer.from('{"n":1}'),
};

describe('a dead letter', () => {
  it('has the headers and body of its message, and why it died', () => {
    const error = new Error('cold\nengine');
    error.stack = 'Error: cold\nengine\n    at pad.ts:1:1';
    const letter = deadLetterOf(source, error, [attemptRecord(5, new TypeError('no fuel'), at)], at);
    expect({ ...letter, body: Buffer.from(letter.body).toString() }).toMatchSnapshot();
  });

  it('has one id, however often it is made', () => {
    const make = () => deadLetterOf(source, new Error(String(Math.random())), [], at).id;
    expect(make()).toBe(make());
    expect(deadLetterOf({ ...source, sequence: 8 }, new Error('x'), [], at).id).not.toBe(make());
  });

  it('keeps within the room that every message leaves for it, whatever was thrown', () => {
    const error = new Error('ü'.repeat(10_000));
    error.stack = '🚀\n'.repeat(10_000);
    const history = Array.from({ length: 50 }, (_, n) => attemptRecord(n, new Error('é'.repeat(1_000)), at));
    const { headers } = deadLetterOf(source, error, history, at);
    const added = Object.entries(headers).filter(([name]) => name.startsWith('flotilla-'));
    const bytes = added.reduce((sum, [name, value]) => sum + Buffer.byteLength(`${name}: ${value}\r\n`), 0);
    expect(bytes).toBeLessThanOrEqual(DEAD_LETTER_HEADROOM_BYTES);
    expect(added.every(([, value]) => !/[\r\n]/.test(value))).toBe(true);
    expect(JSON.parse(headers[h.errorStack] ?? '')).toMatch(/^🚀\n/);
    // The latest attempts are the ones that are kept.
    const kept = JSON.parse(headers[h.history] ?? '') as { attempt: number }[];
    expect(kept.length).toBeGreaterThan(0);
    expect(kept.at(-1)?.attempt).toBe(49);
  });

  it.each([[undefined], ['text'], [{ code: 'X' }]])('is made of anything thrown: %p', (thrown) => {
    expect(deadLetterOf(source, thrown, [], at).headers[h.errorCode]).toBeDefined();
  });
});
