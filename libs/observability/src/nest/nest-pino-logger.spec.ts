import { createLogger } from '../logger.ts';
import { NestPinoLogger } from './nest-pino-logger.ts';

function capture() {
  const entries: Record<string, unknown>[] = [];
  const stream = { write: (line: string) => void entries.push(JSON.parse(line) as Record<string, unknown>) };
  return { logger: new NestPinoLogger(createLogger({ service: 'orders', level: 'trace', stream })), entries };
}

describe('NestPinoLogger', () => {
  it('takes Nest’s arguments apart: message, stack, context, details', () => {
    const { logger, entries } = capture();
    logger.log('started', 'Orders');
    logger.error('failed', 'Error: failed\n    at place (orders.ts:1:1)', 'Orders');
    logger.error(new Error('boom'), 'Orders');
    logger.warn('slow', { tookMs: 900 }, 'Orders');
    logger.log({ orders: 3, msg: 'counted' }, 'Orders');
    logger.verbose('detail');
    logger.debug(42);
    logger.fatal('gone');
    expect(entries).toMatchObject([
      { level: 'info', msg: 'started', context: 'Orders' },
      {
        level: 'error',
        msg: 'failed',
        context: 'Orders',
        stack: expect.stringContaining('at place') as string,
      },
      { level: 'error', msg: 'boom', context: 'Orders', err: { type: 'Error', message: 'boom' } },
      { level: 'warn', msg: 'slow', context: 'Orders', details: [{ tookMs: 900 }] },
      { level: 'info', orders: 3, msg: 'counted', context: 'Orders' },
      { level: 'trace', msg: 'detail' },
      { level: 'debug', msg: '42' },
      { level: 'fatal', msg: 'gone' },
    ]);
  });

  it('writes Nest’s own wiring at debug', () => {
    const { logger, entries } = capture();
    logger.log('AppModule dependencies initialized', 'InstanceLoader');
    expect(entries[0]).toMatchObject({ level: 'debug', context: 'InstanceLoader' });
  });
});
