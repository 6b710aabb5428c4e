import { ManualClock } from '@flotilla/testing';
import { noMetrics } from './metrics-recorder.ts';
import { createMetrics } from './metrics.ts';

const plain = (more: Partial<Parameters<typeof createMetrics>[0]> = {}) =>
  createMetrics({ service: 'orders', process: false, ...more });

/** Looks up the one sample of a page that has a name and, among others, these labels. */
function samples(page: string): (name: string, labels: Record<string, string>) => number | undefined {
  const all = [...page.matchAll(/^(\w+)\{(.*)\} (\S+)$/gm)].map(([, name, text = '', value]) => ({
    name,
    labels: Object.fromEntries<string | undefined>(
      [...text.matchAll(/(\w+)="([^"]*)"/g)].map(([, key = '', label]) => [key, label]),
    ),
    value: Number(value),
  }));
  return (name, labels) => {
    const found = all.filter(
      (sample) =>
        sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value),
    );
    expect(found.length).toBeLessThan(2);
    return found[0]?.value;
  };
}

describe('createMetrics', () => {
  it('shows what was recorded, by type and outcome, with the service on every series', async () => {
    const metrics = plain();
    metrics.handled('orders.PlaceOrder.v1', 'PlaceOrder', 'ok', 20);
    metrics.handled('orders.PlaceOrder.v1', 'PlaceOrder', 'refused', 3);
    metrics.httpServed('POST', '/v1/orders', 202, 12);
    metrics.reconnected();
    metrics.pending('inventory', 7);
    metrics.deadLettered('inventory', 'HANDLER_TIMEOUT');
    metrics.groupEnded({ size: 32, durationMs: 8, outcome: 'committed' });
    metrics.outboxOldestUnpublished(1_500);
    const page = samples(await metrics.scrape());
    const handler = { type: 'orders.PlaceOrder.v1', handler: 'PlaceOrder', service: 'orders' };
    expect(page('flotilla_handler_duration_seconds_count', { ...handler, outcome: 'ok' })).toBe(1);
    expect(page('flotilla_handler_duration_seconds_sum', { ...handler, outcome: 'refused' })).toBe(0.003);
    const http = { http_request_method: 'POST', http_route: '/v1/orders', http_response_status_code: '202' };
    expect(page('http_server_request_duration_seconds_count', http)).toBe(1);
    expect(page('flotilla_broker_events_total', { event: 'reconnected' })).toBe(1);
    expect(page('flotilla_consumer_pending', { consumer: 'inventory' })).toBe(7);
    expect(page('flotilla_dead_letters_total', { consumer: 'inventory', code: 'HANDLER_TIMEOUT' })).toBe(1);
    expect(page('flotilla_group_size_bucket', { le: '32' })).toBe(1);
    expect(page('flotilla_group_size_bucket', { le: '16' })).toBe(0);
    expect(page('flotilla_outbox_oldest_unpublished_age_seconds', {})).toBe(1.5);
  });

  it('cuts the key off subjects: a series per order would fill the memory of Prometheus', async () => {
    const metrics = plain();
    metrics.publishRefused('cmd.inventory.ReserveStock.v1.07.order-1');
    metrics.publishRefused('cmd.inventory.ReserveStock.v1.08.order-2');
    expect(await metrics.scrape()).toContain(
      'flotilla_broker_publish_refused_total{subject="cmd.inventory.ReserveStock.v1",service="orders"} 2',
    );
  });

  it('counts what policies do about failures', async () => {
    const metrics = plain();
    metrics.policyRetryDenied('psp', 'budget');
    metrics.policyFellBack('psp');
    const page = await metrics.scrape();
    expect(page).toContain(
      'flotilla_policy_retries_denied_total{policy="psp",reason="budget",service="orders"} 1',
    );
    expect(page).toContain('flotilla_policy_fallbacks_total{policy="psp",service="orders"} 1');
  });

  it('reads states at the scrape, and forgets those that are gone', async () => {
    const metrics = plain();
    let counts = [{ saga: 'fulfilment', state: 'running', count: 3 }];
    metrics.observeSagas(async () => counts);
    metrics.observePolicies(() => [{ name: 'psp', breaker: 'open', running: 1, queued: 4, retriesLeft: 3 }]);
    metrics.observeBroker(() => ({ connected: true, jetstream: false }));
    metrics.observeOutbox(() => ({ unpublished: 12, oldestUnpublishedAgeMs: 250 }));
    const first = await metrics.scrape();
    expect(first).toContain('flotilla_saga_instances{saga="fulfilment",state="running",service="orders"} 3');
    expect(first).toContain('flotilla_breaker_state{policy="psp",state="open",service="orders"} 1');
    expect(first).toContain('flotilla_breaker_state{policy="psp",state="closed",service="orders"} 0');
    expect(first).toContain('flotilla_bulkhead_calls{policy="psp",state="queued",service="orders"} 4');
    expect(first).toContain('flotilla_policy_retries_left{policy="psp",service="orders"} 3');
    expect(first).toContain('flotilla_broker_up{part="jetstream",service="orders"} 0');
    expect(first).toContain('flotilla_outbox_unpublished{service="orders"} 12');
    expect(first).toContain('flotilla_outbox_oldest_unpublished_age_seconds{service="orders"} 0.25');
    counts = [{ saga: 'fulfilment', state: 'completed', count: 3 }];
    expect(await metrics.scrape()).not.toContain('saga="fulfilment",state="running"');
  });

  it('goes on without a source that fails or hangs, and says so', async () => {
    const problems: string[] = [];
    const clock = new ManualClock();
    const metrics = plain({ clock, onProblem: (message) => problems.push(message) });
    let working = true;
    metrics.observeOutbox(() => {
      if (working) return { unpublished: 1, oldestUnpublishedAgeMs: 0 };
      throw new Error('database is away');
    });
    metrics.observeSagas(() => (working ? [] : new Promise(() => undefined)));
    await metrics.scrape();
    working = false;
    const scraping = metrics.scrape();
    await clock.advance(2_000);
    const page = await scraping;
    expect(page).not.toContain('flotilla_outbox_unpublished{');
    expect(page).toContain('flotilla_scrape_errors_total{source="outbox",service="orders"} 1');
    expect(problems).toEqual([
      'The metrics of outbox could not be read: database is away',
      'The metrics of sagas could not be read: no answer within 2000 ms',
    ]);
    expect(clock.pending).toBe(0);
  });

  it('adds the process’ own metrics, and keeps instances apart', async () => {
    const [one, two] = [createMetrics({ service: 'a' }), plain()];
    expect(await one.scrape()).toContain('process_cpu_user_seconds_total{service="a"}');
    expect(await two.scrape()).not.toContain('process_cpu');
  });
});

it('noMetrics has every method of the real recorder', () => {
  const metrics = plain();
  for (const name of Object.keys(noMetrics))
    expect(typeof metrics[name as keyof typeof noMetrics]).toBe('function');
  expect(noMetrics.handled('t', 'h', 'ok', 1)).toBeUndefined();
});
