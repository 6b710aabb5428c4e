import { runWithContext } from './context.ts';
import { createLogger, type LoggerOptions } from './logger.ts';
import { withSpan } from './tracing.ts';

function capture(options: Partial<LoggerOptions> = {}) {
  const lines: string[] = [];
  const logger = createLogger({
    service: 'orders',
    stream: { write: (line) => void lines.push(line) },
    ...options,
  });
  return { logger, lines, entries: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>) };
}

describe('createLogger', () => {
  it('writes JSON lines with the service, the level’s name and an ISO time', () => {
    const { logger, entries } = capture();
    logger.info({ sku: 'A' }, 'reserved');
    logger.debug('not written');
    expect(entries()).toEqual([
      {
        level: 'info',
        time: expect.stringMatching(/^\d{4}-.*Z$/) as string,
        service: 'orders',
        pid: process.pid,
        sku: 'A',
        msg: 'reserved',
      },
    ]);
  });

  it('adds trace and message context where there is one; what is logged wins', () => {
    const { logger, entries } = capture();
    const parent = { traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' };
    withSpan('process', { parent }, () =>
      runWithContext(
        { correlationId: 'c-1', messageId: 'm-1', type: 'orders.PlaceOrder.v1', orderId: 'o-1' },
        () => {
          logger.info('inside');
          logger.info({ orderId: 'o-2' }, 'about another');
        },
      ),
    );
    logger.info('outside');
    const [inside, another, outside] = entries();
    expect(inside).toMatchObject({
      trace_id: '4bf92f3577b34da6a3ce929d0e0e4736',
      span_id: '00f067aa0ba902b7',
      correlationId: 'c-1',
      messageId: 'm-1',
      messageType: 'orders.PlaceOrder.v1',
      orderId: 'o-1',
    });
    expect(another).toMatchObject({ orderId: 'o-2', correlationId: 'c-1' });
    expect(Object.keys(outside ?? {}).sort()).toEqual(['level', 'msg', 'pid', 'service', 'time']);
  });

  it('never writes secrets, at any depth, in errors, in child bindings or in URLs', () => {
    const { logger, lines, entries } = capture({ secrets: ['pin'] });
    const input = {
      headers: { Authorization: 'Bearer s3cret' },
      list: [{ payment: { token: 's3cret', amount: 5 } }],
      pin: 's3cret',
    };
    logger.info(input, 'request to https://user:s3cret@example.org/a?b=c');
    logger.child({ password: 's3cret' }).info('bound');
    logger.error(
      Object.assign(new Error('connect postgres://app:s3cret@db:5432/orders'), {
        config: { apiKey: 's3cret' },
      }),
    );
    expect(lines.join('')).not.toContain('s3cret');
    expect(entries()[0]).toMatchObject({
      headers: { Authorization: '[redacted]' },
      list: [{ payment: { token: '[redacted]', amount: 5 } }],
      pin: '[redacted]',
      msg: 'request to https://[redacted]@example.org/a?b=c',
    });
    expect(input.pin).toBe('s3cret');
  });

  it('writes what it cannot walk: cycles, dates, buffers, nulls', () => {
    const { logger, entries } = capture();
    const cycle: Record<string, unknown> = {
      name: 'a',
      token: null,
      at: new Date(0),
      bytes: Buffer.from('x'),
    };
    cycle['self'] = cycle;
    logger.info(cycle, 'cyclic');
    expect(entries()[0]).toMatchObject({
      name: 'a',
      at: '1970-01-01T00:00:00.000Z',
      token: null,
      msg: 'cyclic',
    });
  });

  it('writes the cause of an error', () => {
    const { logger, entries } = capture();
    logger.error(new Error('outer', { cause: new Error('inner') }));
    expect(entries()[0]?.['err']).toMatchObject({ type: 'Error', message: 'outer: inner' });
    logger.warn({ failure: new TypeError('elsewhere') }, 'under another name');
    expect(entries()[1]?.['failure']).toMatchObject({
      type: 'TypeError',
      stack: expect.stringContaining('elsewhere') as string,
    });
  });
});
