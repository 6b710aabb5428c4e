import { EventEmitter } from 'node:events';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { LoadShedding } from './load-shedding.ts';

const requestTo = (url: string) => ({ routeOptions: { url } }) as FastifyRequest;
const replyOn = (raw: EventEmitter) => ({ raw }) as unknown as FastifyReply;
const open = (shedding: LoadShedding, url = '/v1/orders') => {
  const raw = new EventEmitter();
  return { problem: shedding.admit(requestTo(url), replyOn(raw)), end: () => raw.emit('close') };
};

it('refuses what is more than it may answer at a time, until one has ended', () => {
  const shedding = new LoadShedding({ httpMaxInFlight: 2, httpMaxLagMs: 500 }, { lagMs: 0 });
  const [first, second] = [open(shedding), open(shedding)];
  expect([first.problem, second.problem]).toEqual([undefined, undefined]);
  const third = open(shedding);
  expect(third.problem).toMatchObject({
    status: 503,
    code: 'overloaded',
    options: { headers: { 'retry-after': '1' } },
  });
  third.end();
  expect(shedding.inFlight).toBe(2);
  first.end();
  first.end();
  expect(shedding.inFlight).toBe(1);
  expect(open(shedding).problem).toBeUndefined();
});

it('does not count event streams, which have their own bound', () => {
  const shedding = new LoadShedding({ httpMaxInFlight: 1, httpMaxLagMs: 500 }, { lagMs: 0 });
  for (let n = 0; n < 3; n++) expect(open(shedding, '/v1/orders/:id/events').problem).toBeUndefined();
  expect(shedding.inFlight).toBe(0);
  expect(open(shedding).problem).toBeUndefined();
});

it('refuses everything while the event loop lags, and takes on when it has caught up', () => {
  const lag = { lagMs: 501 };
  const shedding = new LoadShedding({ httpMaxInFlight: 10, httpMaxLagMs: 500 }, lag);
  expect(open(shedding).problem).toMatchObject({ status: 503 });
  expect(open(shedding, '/v1/orders/:id/events').problem).toMatchObject({ status: 503 });
  lag.lagMs = 500;
  expect(open(shedding).problem).toBeUndefined();
});
