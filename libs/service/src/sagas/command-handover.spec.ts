import { encodeEnvelope, type ReplyOutcome } from '@flotilla/contracts-protocol';
import {
  decodeMessage,
  NoRespondersError,
  RequestTimeoutError,
  type IncomingMessage,
} from '@flotilla/messaging';
import { runWithContext, currentContext } from '@flotilla/observability';
import type { OutgoingMessage } from '@flotilla/persistence';
import { ManualClock, until } from '@flotilla/testing';
import { CommandHandover } from './command-handover.ts';

const REPLY_TO = 'reply.shop.3.order=3Ao1';
const stored = { stream: 'CMD_stock', sequence: 7, duplicate: false };

function command(id = 'c1', type = 'stock.Reserve.v1'): OutgoingMessage {
  return {
    id,
    subject: `cmd.${type}.3.o1`,
    key: 'o1',
    headers: encodeEnvelope({
      id,
      type,
      source: 'shop',
      time: '2026-01-01T00:00:00.000Z',
      subject: 'o1',
      correlationId: 'corr',
      replyTo: REPLY_TO,
    }),
    body: '{"orderId":"o1"}',
    handover: true,
  };
}

function answerTo(request: OutgoingMessage, outcome: ReplyOutcome, body: unknown): IncomingMessage {
  const headers = encodeEnvelope({
    id: `answer to ${request.id}`,
    type: 'stock.Reserve.v1',
    source: 'stock',
    time: '2026-01-01T00:00:00.000Z',
    subject: 'o1',
    correlationId: 'corr',
    causationId: request.id,
    outcome,
  });
  return decodeMessage('_INBOX_shop.1', headers, Buffer.from(JSON.stringify(body)));
}

/** A handover over a broker that answers as the test says, to a saga that keeps what it is told. */
function handover(answer: (request: OutgoingMessage) => Promise<IncomingMessage>) {
  const clock = new ManualClock();
  const requests: OutgoingMessage[] = [];
  const published: OutgoingMessage[] = [];
  const taken: IncomingMessage[] = [];
  const made = new CommandHandover(
    {
      request: (message) => {
        requests.push(message);
        return answer(message);
      },
      publish: (message) => {
        published.push(message);
        return Promise.resolve(stored);
      },
    },
    clock,
  );
  const take = (reply: IncomingMessage): Promise<void> => {
    taken.push(reply);
    return Promise.resolve();
  };
  made.start(take);
  return { handover: made, clock, requests, published, taken, take };
}

const ok = (request: OutgoingMessage): Promise<IncomingMessage> =>
  Promise.resolve(answerTo(request, 'ok', { held: true }));

describe('a command that is handed over', () => {
  it('is a request with a deadline to its receiver, and its answer the saga’s', async () => {
    const { handover: it, requests, published, taken, clock } = handover(ok);
    await expect(it.publish(command())).resolves.toEqual({ handedOver: true });
    expect(published).toEqual([]);
    expect(requests[0]).toMatchObject({
      id: 'c1',
      subject: 'rpc.stock.Reserve.v1',
      body: '{"orderId":"o1"}',
      headers: { 'ce-id': 'c1', 'ce-deadline': new Date(clock.now() + 2_000).toISOString() },
    });
    expect(taken[0]).toMatchObject({ subject: REPLY_TO, envelope: { causationId: 'c1', outcome: 'ok' } });
    expect(taken[0]?.json()).toEqual({ held: true });
  });

  it('may be refused: that is an answer', async () => {
    const {
      handover: it,
      published,
      taken,
    } = handover((request) =>
      Promise.resolve(answerTo(request, 'refused', { code: 'OutOfStock', message: 'none', retry: 'never' })),
    );
    await it.publish(command());
    expect(taken[0]?.envelope.outcome).toBe('refused');
    expect(published).toEqual([]);
  });

  it.each<[string, (request: OutgoingMessage) => Promise<IncomingMessage>, restMs: number]>([
    ['nobody answers requests', () => Promise.reject(new NoRespondersError('rpc.stock')), 10_000],
    ['the answer takes too long', () => Promise.reject(new RequestTimeoutError('rpc.stock', 2_000)), 10_000],
    [
      'it fails',
      (request) =>
        Promise.resolve(answerTo(request, 'failed', { code: 'DATABASE_UNAVAILABLE', message: 'away' })),
      250,
    ],
  ])('goes into its stream when %s, and others of its type for a while', async (_, answer, restMs) => {
    const { handover: it, requests, published, taken, clock } = handover(answer);
    await expect(it.publish(command('c1'))).resolves.toBe(stored);
    await expect(it.publish(command('c2'))).resolves.toBe(stored);
    expect(published.map(({ id }) => id)).toEqual(['c1', 'c2']);
    expect(published[0]?.headers).not.toHaveProperty('ce-deadline');
    expect(requests).toHaveLength(1);
    expect(taken).toEqual([]);
    await it.publish(command('other', 'stock.Ship.v1'));
    expect(requests).toHaveLength(2);
    await clock.advance(restMs);
    await it.publish(command('c3'));
    expect(requests.map(({ id }) => id)).toEqual(['c1', 'other', 'c3']);
  });

  it('goes into its stream too when its answer cannot be committed: it is answered again from there', async () => {
    const { handover: it, published } = handover(ok);
    it.start(() => Promise.reject(new Error('the database is away')));
    await expect(it.publish(command())).resolves.toBe(stored);
    expect(published).toHaveLength(1);
  });

  describe('while as many as a receiver handles are asked for', () => {
    function full() {
      const held: (() => void)[] = [];
      const parts = handover(
        (request) => new Promise((resolve) => held.push(() => resolve(answerTo(request, 'ok', null)))),
      );
      const first = Array.from({ length: 64 }, (_, at) => parts.handover.publish(command(`a${at}`)));
      return { ...parts, held, first };
    }

    it('waits for its turn', async () => {
      const { handover: it, requests, published, held, first } = full();
      const next = it.publish(command('next'));
      expect(requests).toHaveLength(64);
      held[0]?.();
      await first[0];
      await until(() => requests.length === 65);
      for (const release of held) release();
      expect(await Promise.all([...first, next])).toEqual(Array(65).fill({ handedOver: true }));
      expect(published).toEqual([]);
    });

    it('goes into its stream when its turn comes too late, or the receiver is in trouble', async () => {
      const { handover: it, clock, requests, published, held, first } = full();
      const next = it.publish(command('next'));
      await clock.advance(501);
      for (const release of held) release();
      await expect(next).resolves.toBe(stored);
      expect(published.map(({ id }) => id)).toEqual(['next']);
      await Promise.all(first);
      const later = it.publish(command('later'));
      await until(() => requests.length === 65);
      held.at(-1)?.();
      await expect(later).resolves.toEqual({ handedOver: true });
    });

    it('goes into its stream when too many wait', async () => {
      const { handover: it, held, first, published } = full();
      const waiting = Array.from({ length: 128 }, (_, at) => it.publish(command(`b${at}`)));
      await expect(it.publish(command('one more'))).resolves.toBe(stored);
      expect(published.map(({ id }) => id)).toEqual(['one more']);
      const all = Promise.all([...first, ...waiting]);
      for (let done = 0; done < 192; done += 1) {
        await until(() => held.length > done);
        held[done]?.();
      }
      expect(await all).toEqual(Array(192).fill({ handedOver: true }));
    });
  });

  it('belongs to no request that happens to have woken the outbox', async () => {
    const { handover: it } = handover(ok);
    const seen: unknown[] = [];
    it.start(async () => void seen.push(currentContext()));
    await runWithContext({ correlationId: 'another', deadline: 1 }, () => it.publish(command()));
    expect(seen).toEqual([undefined]);
  });
});

it('everything else, and everything before the start and after the stop, is stored', async () => {
  const { handover: it, requests, published, take } = handover(ok);
  const { handover: _, ...event } = command('e1');
  await expect(it.publish(event)).resolves.toBe(stored);
  it.stop();
  await expect(it.publish(command('c1'))).resolves.toBe(stored);
  it.start(take);
  await expect(it.publish(command('c2'))).resolves.toEqual({ handedOver: true });
  expect(published.map(({ id }) => id)).toEqual(['e1', 'c1']);
  expect(requests.map(({ id }) => id)).toEqual(['c2']);
});
