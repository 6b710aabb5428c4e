import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import { errorMessage, systemClock, type Clock } from '@flotilla/kernel';
import type { MetricsRecorder } from './metrics-recorder.ts';

export interface MetricsOptions {
  /** The `service` label of every series. */
  readonly service: string;
  /** Whether to add the process' own metrics (CPU, memory, event loop, garbage collection). Default true. */
  readonly process?: boolean;
  /** How long one scrape waits for a source, in milliseconds; a later answer is not used. Default 2000. */
  readonly sourceTimeoutMs?: number;
  /** Told when a source fails; the scrape goes on without it. */
  readonly onProblem?: (message: string) => void;
  readonly clock?: Clock;
}

export interface SagaCount {
  readonly saga: string;
  readonly state: string;
  readonly count: number;
}

export interface PolicyReading {
  readonly name: string;
  readonly breaker?: 'closed' | 'open' | 'half-open';
  readonly running?: number;
  readonly queued?: number;
  readonly retriesLeft?: number;
}

export interface OutboxReading {
  readonly unpublished: number;
  readonly oldestUnpublishedAgeMs: number;
}

/** A setting that changes without a restart. */
export interface SettingState {
  readonly name: string;
  /** Of the value that the bucket has; 0 while the environment's counts. */
  readonly revision: number;
  /** The bucket's value is not valid, and the one before it stays. */
  readonly refused: boolean;
}

/** Work that is done at certain times, once for all replicas; moments in milliseconds since the epoch. */
export interface ScheduleReading {
  readonly name: string;
  readonly dueAt?: number;
  readonly lastSucceededAt?: number;
  /** The latest run that ended has failed. */
  readonly failing: boolean;
  /** Times that nobody was there for, so far. */
  readonly missed: number;
}

/** Called at each scrape; a promise is awaited within the source time-out. */
export type MetricsSource<T> = () => T | Promise<T>;

/** The chassis' metrics of one process, in Prometheus form. */
export interface Metrics extends MetricsRecorder {
  /** For metrics of the service's own; they appear on the same page. */
  readonly registry: Registry;
  /** The content type of {@link Metrics.scrape}. */
  readonly contentType: string;
  /** The page that Prometheus reads. A source that fails leaves out its series and counts as a scrape error. */
  scrape(): Promise<string>;
  /** Each of these reads at scrape time what is not an event but a state. */
  observeSagas(source: MetricsSource<readonly SagaCount[]>): void;
  observeOutbox(source: MetricsSource<OutboxReading>): void;
  observePolicies(source: MetricsSource<readonly PolicyReading[]>): void;
  /** For how long the timer of a saga that is due first has been due; 0 when none is. */
  observeSagaTimers(source: MetricsSource<{ readonly overdueMs: number }>): void;
  observeSettings(source: MetricsSource<readonly SettingState[]>): void;
  observeSchedules(source: MetricsSource<readonly ScheduleReading[]>): void;
  observeBroker(source: MetricsSource<{ readonly connected: boolean; readonly jetstream: boolean }>): void;
}

const latencySeconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const sagaSeconds = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3_600, 86_400];
const stuckReasons = ['window-full', 'paused-at-server', 'no-delivery'] as const;
const breakerStates = ['closed', 'open', 'half-open'] as const;

/** Makes the metrics of this process, each call with a registry of its own. */
export function createMetrics(options: MetricsOptions): Metrics {
  const registry = new Registry();
  registry.setDefaultLabels({ service: options.service });
  const registers = [registry];
  if (options.process ?? true) {
    // The default of 10 ms wakes an idle process a hundred times a second.
    collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 100 });
  }

  const histogram = <L extends string>(
    name: string,
    help: string,
    labelNames: readonly L[],
    buckets = latencySeconds,
  ) => new Histogram<L>({ name, help, labelNames: [...labelNames], buckets, registers });
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Counter<L>({ name, help, labelNames: [...labelNames], registers });
  const gauge = <L extends string>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Gauge<L>({ name, help, labelNames: [...labelNames], registers });

  const handlers = histogram('flotilla_handler_duration_seconds', 'Handling of a message, by outcome.', [
    'type',
    'handler',
    'outcome',
  ]);
  const requests = histogram('flotilla_request_duration_seconds', 'Requests to other services.', [
    'type',
    'outcome',
  ]);
  const http = histogram('http_server_request_duration_seconds', 'HTTP requests served.', [
    'http_request_method',
    'http_route',
    'http_response_status_code',
  ]);

  const brokerEvents = counter('flotilla_broker_events_total', 'Connection events of the broker client.', [
    'event',
  ]);
  const publishRefused = counter(
    'flotilla_broker_publish_refused_total',
    'Publications the server refused.',
    ['subject'],
  );
  const slowConsumers = counter(
    'flotilla_broker_slow_consumer_total',
    'Subscriptions that could not keep up.',
    ['subject'],
  );
  const overloaded = counter('flotilla_requests_overloaded_total', 'Requests answered OVERLOADED.', [
    'subject',
  ]);
  const redelivered = counter('flotilla_consumer_redelivered_total', 'Deliveries that were not the first.', [
    'consumer',
  ]);
  const retried = counter('flotilla_consumer_retried_total', 'Failed handlings that will be repeated.', [
    'consumer',
    'code',
  ]);
  const deadLettered = counter('flotilla_dead_letters_total', 'Messages moved to the dead letters.', [
    'consumer',
    'code',
  ]);
  const deadLetterFailed = counter(
    'flotilla_dead_letter_failures_total',
    'Dead letters that could not be published.',
    ['consumer'],
  );
  const healed = counter('flotilla_consumer_healed_total', 'Consume loops that were opened again.', [
    'consumer',
    'reason',
  ]);
  const stalled = counter('flotilla_consumer_stalled_total', 'Handlers that ran longer than allowed.', [
    'consumer',
  ]);
  const pending = gauge('flotilla_consumer_pending', 'Messages that wait in a consumer.', ['consumer']);

  const paused = gauge(
    'flotilla_consumer_paused',
    '1 while a consumer takes nothing because its handler fails on everything.',
    ['consumer'],
  );
  const pauses = counter('flotilla_consumer_pauses_total', 'Times that a consumer paused itself.', [
    'consumer',
    'code',
  ]);
  const stuck = gauge('flotilla_consumer_stuck', '1 while a consumer has messages and delivers none.', [
    'consumer',
    'reason',
  ]);
  const unwritten = gauge(
    'flotilla_dead_letters_unwritten',
    'Messages past their attempts whose dead letters could not be written.',
    ['consumer'],
  );

  const groups = histogram('flotilla_group_duration_seconds', 'Transactions of the group committer.', [
    'outcome',
  ]);
  const groupSizes = histogram(
    'flotilla_group_size',
    'Units of work per transaction.',
    [],
    [1, 2, 4, 8, 16, 32],
  );
  const unitsWaiting = gauge('flotilla_units_waiting', 'Units of work that wait for a connection.');
  const publishAge = histogram(
    'flotilla_outbox_publish_age_seconds',
    'From commit to the broker having it.',
    ['relayed'],
  );
  const publishFailed = counter('flotilla_outbox_publish_failures_total', 'Publications that failed.', [
    'code',
    'refused',
  ]);
  const buffered = gauge('flotilla_outbox_buffered', 'Committed messages in memory, to be published.');
  const oldest = gauge(
    'flotilla_outbox_oldest_unpublished_age_seconds',
    'Age of the oldest unpublished message.',
  );
  const unpublished = gauge('flotilla_outbox_unpublished', 'Unpublished messages in the outbox table.');

  const sagaSteps = histogram('flotilla_saga_step_duration_seconds', 'Steps of sagas, by outcome.', [
    'saga',
    'step',
    'outcome',
  ]);
  const sagaEnds = histogram(
    'flotilla_saga_duration_seconds',
    'Sagas from start to end.',
    ['saga', 'state'],
    sagaSeconds,
  );
  const sagas = gauge('flotilla_saga_instances', 'Saga instances by state.', ['saga', 'state']);

  const timerOverdue = gauge(
    'flotilla_saga_timer_overdue_seconds',
    'For how long the oldest due timer of a saga has not fired.',
  );

  const policyCalls = histogram(
    'flotilla_policy_call_duration_seconds',
    'Calls through a resilience policy.',
    ['policy', 'outcome'],
  );
  const policyRetries = counter('flotilla_policy_retries_total', 'Attempts after the first.', ['policy']);
  const policyRetriesDenied = counter(
    'flotilla_policy_retries_denied_total',
    'Failed attempts that were not repeated: the retry budget was used up, or the deadline too near.',
    ['policy', 'reason'],
  );
  const policyFallbacks = counter('flotilla_policy_fallbacks_total', 'Calls that a fallback answered.', [
    'policy',
  ]);
  const retriesLeft = gauge('flotilla_policy_retries_left', 'Retries that the budget still allows.', [
    'policy',
  ]);
  const breakers = gauge('flotilla_breaker_state', '1 for the state the breaker is in.', ['policy', 'state']);
  const bulkheads = gauge('flotilla_bulkhead_calls', 'Calls inside a bulkhead.', ['policy', 'state']);
  const broker = gauge('flotilla_broker_up', 'Whether the broker can be used.', ['part']);
  const settingRevisions = gauge(
    'flotilla_setting_revision',
    'Revision of a dynamic setting; 0 while the environment counts.',
    ['setting'],
  );
  const settingRefused = gauge(
    'flotilla_setting_refused',
    '1 while the value in the bucket is refused and the one before it stays.',
    ['setting'],
  );
  const scheduleDue = gauge('flotilla_schedule_due_timestamp_seconds', 'When a schedule is due next.', [
    'schedule',
  ]);
  const scheduleSuccess = gauge(
    'flotilla_schedule_last_success_timestamp_seconds',
    'When a schedule last succeeded.',
    ['schedule'],
  );
  const scheduleFailing = gauge('flotilla_schedule_failing', '1 when the latest run of a schedule failed.', [
    'schedule',
  ]);
  const scheduleMissed = gauge('flotilla_schedule_missed', 'Times that nobody was there for, so far.', [
    'schedule',
  ]);
  const scrapeErrors = counter('flotilla_scrape_errors_total', 'Sources that failed at a scrape.', [
    'source',
  ]);

  const clock = options.clock ?? systemClock;
  const sourceTimeoutMs = options.sourceTimeoutMs ?? 2_000;
  const sources: (() => Promise<void>)[] = [];
  const observe = <T>(
    name: string,
    source: MetricsSource<T>,
    show: (reading: T) => void,
    clear: () => void,
  ): void => {
    sources.push(async () => {
      try {
        const reading = await within(clock, sourceTimeoutMs, source);
        clear();
        show(reading);
      } catch (error) {
        // A stale value would look like a healthy one.
        clear();
        scrapeErrors.inc({ source: name });
        options.onProblem?.(`The metrics of ${name} could not be read: ${errorMessage(error)}`);
      }
    });
  };

  return {
    registry,
    contentType: registry.contentType,
    async scrape() {
      await Promise.all(sources.map((read) => read()));
      return registry.metrics();
    },

    handled: (type, handler, outcome, durationMs) =>
      handlers.observe({ type, handler, outcome }, durationMs / 1_000),
    requested: (type, outcome, durationMs) => requests.observe({ type, outcome }, durationMs / 1_000),
    httpServed: (method, route, status, durationMs) =>
      http.observe(
        { http_request_method: method, http_route: route, http_response_status_code: status },
        durationMs / 1_000,
      ),

    disconnected: () => brokerEvents.inc({ event: 'disconnected' }),
    reconnected: () => brokerEvents.inc({ event: 'reconnected' }),
    publishRefused: (subject) => publishRefused.inc({ subject: withoutKey(subject) }),
    slowConsumer: (subject) => slowConsumers.inc({ subject: withoutKey(subject) }),
    overloaded: (subject) => overloaded.inc({ subject: withoutKey(subject) }),
    redelivered: (consumer) => redelivered.inc({ consumer }),
    retried: (consumer, code) => retried.inc({ consumer, code }),
    deadLettered: (consumer, code) => deadLettered.inc({ consumer, code }),
    deadLetterFailed: (consumer) => deadLetterFailed.inc({ consumer }),
    healed: (consumer, reason) => healed.inc({ consumer, reason }),
    stalled: (consumer) => stalled.inc({ consumer }),
    pending: (consumer, count) => pending.set({ consumer }, count),
    paused(consumer, code) {
      paused.set({ consumer }, 1);
      pauses.inc({ consumer, code });
    },
    resumed: (consumer) => paused.set({ consumer }, 0),
    stuck(consumer, reason) {
      for (const each of stuckReasons)
        if (each === reason) stuck.set({ consumer, reason: each }, 1);
        else stuck.remove({ consumer, reason: each });
    },
    deadLettersUnwritten: (consumer, count) => unwritten.set({ consumer }, count),

    groupEnded({ size, durationMs, outcome }) {
      groups.observe({ outcome }, durationMs / 1_000);
      groupSizes.observe(size);
    },
    unitsWaiting: (count) => unitsWaiting.set(count),
    messagePublished: ({ ageMs, relayed }) => publishAge.observe({ relayed: String(relayed) }, ageMs / 1_000),
    publishFailed: ({ code, refused }) => publishFailed.inc({ code, refused: String(refused) }),
    outboxBuffered: (count) => buffered.set(count),
    outboxOldestUnpublished: (ageMs) => oldest.set(ageMs / 1_000),

    sagaStepEnded: (saga, step, outcome, durationMs) =>
      sagaSteps.observe({ saga, step, outcome }, durationMs / 1_000),
    sagaEnded: (saga, state, durationMs) => sagaEnds.observe({ saga, state }, durationMs / 1_000),

    policyCalled: (policy, outcome, durationMs) =>
      policyCalls.observe({ policy, outcome }, durationMs / 1_000),
    policyRetried: (policy) => policyRetries.inc({ policy }),
    policyRetryDenied: (policy, reason) => policyRetriesDenied.inc({ policy, reason }),
    policyFellBack: (policy) => policyFallbacks.inc({ policy }),

    observeSagas: (source) =>
      observe(
        'sagas',
        source,
        (counts) => {
          for (const { saga, state, count } of counts) sagas.set({ saga, state }, count);
        },
        () => sagas.reset(),
      ),
    observeSagaTimers: (source) =>
      observe(
        'saga timers',
        source,
        ({ overdueMs }) => timerOverdue.set(overdueMs / 1_000),
        () => timerOverdue.remove(),
      ),
    observeOutbox: (source) =>
      observe(
        'outbox',
        source,
        (reading) => {
          unpublished.set(reading.unpublished);
          oldest.set(reading.oldestUnpublishedAgeMs / 1_000);
        },
        () => {
          unpublished.remove();
          oldest.remove();
        },
      ),
    observePolicies: (source) =>
      observe(
        'policies',
        source,
        (readings) => {
          for (const { name: policy, breaker, running, queued, retriesLeft: left } of readings) {
            for (const state of breaker === undefined ? [] : breakerStates)
              breakers.set({ policy, state }, breaker === state ? 1 : 0);
            if (running !== undefined) bulkheads.set({ policy, state: 'running' }, running);
            if (queued !== undefined) bulkheads.set({ policy, state: 'queued' }, queued);
            if (left !== undefined) retriesLeft.set({ policy }, left);
          }
        },
        () => {
          breakers.reset();
          bulkheads.reset();
          retriesLeft.reset();
        },
      ),
    observeSettings: (source) =>
      observe(
        'settings',
        source,
        (states) => {
          for (const { name: setting, revision, refused } of states) {
            settingRevisions.set({ setting }, revision);
            settingRefused.set({ setting }, refused ? 1 : 0);
          }
        },
        () => {
          settingRevisions.reset();
          settingRefused.reset();
        },
      ),
    observeSchedules: (source) =>
      observe(
        'schedules',
        source,
        (readings) => {
          for (const { name: schedule, dueAt, lastSucceededAt, failing, missed } of readings) {
            if (dueAt !== undefined) scheduleDue.set({ schedule }, dueAt / 1_000);
            if (lastSucceededAt !== undefined) scheduleSuccess.set({ schedule }, lastSucceededAt / 1_000);
            scheduleFailing.set({ schedule }, failing ? 1 : 0);
            scheduleMissed.set({ schedule }, missed);
          }
        },
        () => {
          for (const each of [scheduleDue, scheduleSuccess, scheduleFailing, scheduleMissed]) each.reset();
        },
      ),
    observeBroker: (source) =>
      observe(
        'broker',
        source,
        (reading) => {
          broker.set({ part: 'connection' }, reading.connected ? 1 : 0);
          broker.set({ part: 'jetstream' }, reading.jetstream ? 1 : 0);
        },
        () => broker.reset(),
      ),
  };
}

/** The part of a subject that names the message: a key would make a series per order. */
function withoutKey(subject: string): string {
  return subject.split('.', 4).join('.');
}

async function within<T>(clock: Clock, timeoutMs: number, source: MetricsSource<T>): Promise<T> {
  const settled = new AbortController();
  try {
    return await Promise.race([
      Promise.resolve(source()),
      clock.sleep(timeoutMs, settled.signal).then((): never => {
        throw new Error(`no answer within ${timeoutMs} ms`);
      }),
    ]);
  } finally {
    settled.abort();
  }
}
