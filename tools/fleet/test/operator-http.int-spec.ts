import { connectNats, DeadLetters, provision, topologyOf } from '@flotilla/messaging';
import { startTestNats } from '@flotilla/testing';
import type { NatsConnection } from '@nats-io/nats-core';
import { OPERATOR_API_SUBJECT } from '../src/operate/operator-api.ts';
import { startOperator, type RunningOperator } from '../src/operate/operator.ts';
import { discoverServices, type Service } from '../src/services.ts';

const token = 'a-token-of-operators';

describe("operators' acts over HTTP", () => {
  let nats: Awaited<ReturnType<typeof startTestNats>>;
  let services: readonly Service[];
  let connection: NatsConnection;
  let operator: RunningOperator;

  beforeAll(async () => {
    nats = await startTestNats();
    services = await discoverServices();
    connection = await connectNats({ servers: nats.url, name: 'test' });
    await provision(connection, topologyOf(services.map(({ manifest }) => manifest)));
    operator = await startOperator(
      { servers: nats.url },
      { services, http: { host: '127.0.0.1', port: 0, token } },
    );
  });
  afterAll(async () => {
    await operator.stop();
    await connection.close();
    await nats.dispose();
  });

  const send = (
    body: string,
    { method = 'POST', path = '/v1/dead-letters', shows = `Bearer ${token}` } = {},
  ): Promise<Response> =>
    fetch(`${operator.url}${path}`, {
      method,
      headers: { authorization: shows, connection: 'close' },
      ...(method !== 'GET' && { body }),
    });
  const act = async (request: object): Promise<[number, Record<string, unknown>]> => {
    const answer = await send(JSON.stringify(request));
    return [answer.status, (await answer.json()) as Record<string, unknown>];
  };

  it('are carried out and recorded, as they are on NATS', async () => {
    connection.publish('dlq.inventory.inventory', '{"orderId":"o-1"}');
    const letters = new DeadLetters(connection);
    const [, { groups }] = await act({ act: 'groups', by: 'ann' });
    expect(groups).toMatchObject([{ count: 1 }]);
    const [letter] = await letters.list();
    const by = 'ann';
    expect(await act({ act: 'show', by, letter: letter!.sequence })).toMatchObject([
      200,
      { body: { orderId: 'o-1' } },
    ]);
    expect(await act({ act: 'drop', by, letter: letter!.sequence, reason: 'a test' })).toMatchObject([
      200,
      { sequence: letter!.sequence },
    ]);
    expect(await letters.count()).toBe(0);
    const answer = await connection.request(OPERATOR_API_SUBJECT, JSON.stringify({ act: 'history', by }));
    expect(answer.json()).toMatchObject([{ action: 'drop', by, reason: 'a test', via: 'api' }]);
  });

  it.each([
    ['', 401],
    ['Bearer a-token-of-somebody', 401],
    [`Basic ${token}`, 401],
  ])('are for nobody who shows "%s"', async (shows, status) => {
    const answer = await send(JSON.stringify({ act: 'groups', by: 'eve' }), { shows });
    expect(answer.status).toBe(status);
    expect(answer.headers.get('www-authenticate')).toBe('Bearer');
    expect(await answer.json()).toMatchObject({ code: 'UNAUTHORISED', status });
  });

  it.each([
    ['{', {}, 400, 'INVALID_OPERATOR_REQUEST'],
    ['{"act":"explode","by":"ann"}', {}, 400, 'INVALID_OPERATOR_REQUEST'],
    ['{"act":"replay","by":"ann","letter":999999}', {}, 404, 'DEAD_LETTER_NOT_FOUND'],
    ['', { method: 'GET' }, 405, 'METHOD_NOT_ALLOWED'],
    ['{}', { path: '/v1/other' }, 404, 'NOT_FOUND'],
    [`"${'x'.repeat(2 * 1024 ** 2)}"`, {}, 413, 'BODY_TOO_LARGE'],
  ])('say what is wrong with %.30s %j', async (body, how, status, code) => {
    const answer = await send(body, how);
    expect(answer.status).toBe(status);
    expect(answer.headers.get('content-type')).toBe('application/problem+json');
    expect(await answer.json()).toMatchObject({ code, status });
  });

  it('leave nothing open when the port is taken', async () => {
    const port = Number(new URL(operator.url!).port);
    await expect(
      startOperator({ servers: nats.url }, { services, http: { host: '127.0.0.1', port, token } }),
    ).rejects.toMatchObject({ code: 'EADDRINUSE' });
  });
});
