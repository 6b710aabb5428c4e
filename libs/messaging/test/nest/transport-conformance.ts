import { until } from '@flotilla/testing';
import type { INestMicroservice } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { NatsRecordBuilder, type ClientProxy, type MicroserviceOptions } from '@nestjs/microservices';
import { headers } from '@nats-io/transport-node';
import { firstValueFrom, lastValueFrom, toArray } from 'rxjs';
import { Ledger } from './shop/ledger.ts';
import { ShopModule } from './shop/shop.module.ts';

export interface TransportUnderTest {
  readonly server: () => MicroserviceOptions;
  readonly client: () => ClientProxy;
}

/**
 * What Nest's programming model promises to the shop, which was written for `Transport.NATS` and knows no other. Runs
 * on that and on ours.
 */
export function transportConformance(name: string, transport: () => TransportUnderTest): void {
  describe(`a Nest application on ${name}`, () => {
    let app: INestMicroservice;
    let client: ClientProxy;
    let ledger: Ledger;
    const send = (pattern: unknown, data: unknown): Promise<unknown> =>
      lastValueFrom(client.send<unknown>(pattern, data));
    const all = (pattern: unknown, data: unknown): Promise<unknown[]> =>
      firstValueFrom(client.send<unknown>(pattern, data).pipe(toArray()));
    const failure = (pattern: unknown, data: unknown): Promise<unknown> =>
      send(pattern, data).then(
        (answer) => Promise.reject(new Error(`answered ${JSON.stringify(answer)}`)),
        (error: unknown) => error,
      );
    const noted = (line: string, times = 1): Promise<unknown> =>
      until(() => ledger.count(line) >= times, { describe: `${times} x "${line}"` });

    beforeAll(async () => {
      const { server, client: connect } = transport();
      app = await NestFactory.createMicroservice<MicroserviceOptions>(ShopModule, {
        ...server(),
        ...{ logger: false },
      });
      await app.listen();
      ledger = app.get(Ledger);
      client = connect();
      await client.connect();
    });
    afterAll(async () => {
      await client.close();
      await app.close();
    });

    it('answers with what a handler returns: a value, a promise, an observable', async () => {
      expect(await send({ cmd: 'sum' }, [1, 2, 3])).toBe(6);
      expect(await send('order.find', { id: 'o-1' })).toEqual({ id: 'o-1', quantity: 2 });
      expect(await send('order.find', { id: 'unknown' })).toBeNull();
      expect(await all('order.history', {})).toEqual(['placed', 'paid', 'shipped']);
      expect(await all('order.late', {})).toEqual(['late']);
      expect(await all('order.forget', {})).toEqual([]);
      expect(await all('order.none', {})).toEqual([]);
      expect(await all({ cmd: 'sum' }, [])).toEqual([0]);
    });

    it('has handlers of several patterns, with wildcards, and of this transport only', async () => {
      expect([await send('order.ping', {}), await send('order.pong', {})]).toEqual([
        'order.ping',
        'order.pong',
      ]);
      expect(await send('audit.2030.entries', {})).toBe('audit.2030.entries');
      expect(String(await failure('order.elsewhere', {}))).toMatch(/order\.elsewhere/);
    });

    it('tells callers of failures as the exception filters say, and no secret', async () => {
      expect(await failure('order.refuse', 'closed')).toEqual({ status: 'error', message: 'closed' });
      expect(await failure('order.refuse', { code: 'CLOSED', until: 9 })).toEqual({
        code: 'CLOSED',
        until: 9,
      });
      expect(await failure('order.break', {})).toEqual({ status: 'error', message: 'Internal server error' });
      expect(await failure('order.credit', 7)).toEqual({
        status: 'no-credit',
        message: 'out of credit',
        amount: 7,
      });
    });

    it('gives the values before a failure', async () => {
      const seen: unknown[] = [];
      const error = await new Promise((resolve) =>
        client
          .send<unknown>('order.halfway', {})
          .subscribe({ next: (value) => seen.push(value), error: resolve }),
      );
      expect([seen, error]).toEqual([['first'], { status: 'error', message: 'then it broke' }]);
    });

    it('runs guards, pipes and interceptors', async () => {
      expect(await send('order.members', { member: true })).toBe('welcome');
      expect(await failure('order.members', {})).toEqual({ status: 'error', message: 'Forbidden resource' });
      expect(await send('order.place', { id: 'o-1', quantity: 3 })).toBe('3 for o-1');
      expect(await failure('order.place', { id: 'o-1', quantity: -3 })).toMatchObject({ code: 'INVALID' });
      expect(await send('order.parse', '41')).toBe(42);
      expect(await send('order.trim', '  quiet ')).toBe('QUIET');
      expect(ledger.count('completed trimmed')).toBe(1);
    });

    it('makes what is request-scoped for each message', async () => {
      const first = Number(await send('visitor.number', {}));
      expect(await send('visitor.number', {})).toBe(first + 1);
      client.emit('visitor.came', 'Ann');
      await noted('visitor Ann');
    });

    it('gives handlers the subject and the headers', async () => {
      const version = headers();
      version.set('x-version', '3');
      const record = new NatsRecordBuilder({ a: 1 }).setHeaders(version).build();
      expect(await send('order.context', record)).toEqual({
        subject: 'order.context',
        version: '3',
        nats: true,
      });
    });

    it('gives an event to every handler of its pattern, and of patterns with wildcards', async () => {
      await lastValueFrom(client.emit('order.created', { id: 'o-7', quantity: 1 }));
      client.emit({ by: 'card', event: 'paid' }, 'o-7');
      client.emit('stock.moved', 'lamp');
      client.emit('stock.counted.twice', 'lamp');
      await Promise.all([
        noted('created o-7'),
        noted('also created o-7'),
        noted('paid o-7'),
        noted('moved lamp'),
        noted('anything stock.moved'),
        noted('anything stock.counted.twice'),
      ]);
    });

    it('takes an event that a filter swallows for handled', async () => {
      client.emit('order.guarded', { member: false });
      client.emit('order.guarded', { member: true });
      await noted('guarded');
      expect(ledger.count('guarded')).toBe(1);
    });

    it('refuses what is no message, before anything is sent', async () => {
      await expect(lastValueFrom(client.send('order.find', undefined))).rejects.toThrow(/pattern|payload/i);
    });
  });
}
