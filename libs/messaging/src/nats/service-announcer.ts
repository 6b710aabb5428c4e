import { nuid, type NatsConnection, type Subscription } from '@nats-io/nats-core';
import { errorMessage, type Clock } from '@flotilla/kernel';
import type { ServiceAnnouncement, Stoppable } from '../broker.ts';
import type { RequestStats } from '../request-server.ts';
import { InvalidMessagingOptionsError } from '../messaging.errors.ts';
import type { MessagingLog } from '../messaging-log.ts';
import { drainSubscription } from './drain-subscription.ts';

/** What the announcer asks about each endpoint when it is asked for statistics. */
export interface EndpointFacts {
  readonly queue: string;
  readonly stats: RequestStats;
}

/**
 * Answers `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS` (the NATS service API, ADR-32 of NATS) for a service whose
 * subjects are served elsewhere; the client library's own would subscribe to them a second time.
 */
export function announceService(
  connection: NatsConnection,
  announcement: ServiceAnnouncement,
  factsOf: (subject: string) => EndpointFacts | undefined,
  clock: Clock,
  log: MessagingLog,
): Stoppable {
  const { name, version, description, endpoints } = announcement;
  const problems: string[] = [];
  if (!/^[-\w]+$/.test(name)) problems.push(`name "${name}" may have letters, digits, - and _ only`);
  if (!/^\d+\.\d+\.\d+/.test(version)) problems.push(`version "${version}" is not a semantic version`);
  if (problems.length > 0) throw new InvalidMessagingOptionsError('Service announcement', problems);

  const id = nuid.next();
  const started = new Date().toISOString();
  const identity = { name, id, version, metadata: {} };
  const named = endpoints.map((subject) => ({ name: endpointName(subject), subject }));
  const answers: Record<string, () => object> = {
    PING: () => ({ type: 'io.nats.micro.v1.ping_response', ...identity }),
    INFO: () => ({
      type: 'io.nats.micro.v1.info_response',
      ...identity,
      description,
      endpoints: named.map((endpoint) => ({
        ...endpoint,
        queue_group: factsOf(endpoint.subject)?.queue ?? '',
        metadata: {},
      })),
    }),
    STATS: () => ({
      type: 'io.nats.micro.v1.stats_response',
      ...identity,
      started,
      endpoints: named.map((endpoint) => ({ ...endpoint, ...statsOf(factsOf(endpoint.subject)) })),
    }),
  };

  const subscriptions: Subscription[] = [];
  for (const [verb, answer] of Object.entries(answers)) {
    for (const subject of [`$SRV.${verb}`, `$SRV.${verb}.${name}`, `$SRV.${verb}.${name}.${id}`]) {
      subscriptions.push(
        connection.subscribe(subject, {
          callback: (error, message) => {
            if (error !== null) {
              log.warn(
                { subject, error: errorMessage(error) },
                'The service cannot be discovered on this subject',
              );
              return;
            }
            message.respond(JSON.stringify(answer()));
          },
        }),
      );
    }
  }
  return {
    async stop() {
      await Promise.all(
        subscriptions.splice(0).map((subscription) => drainSubscription(subscription, clock)),
      );
    },
  };
}

/** `rpc.orders.PlaceOrder.v1` is the endpoint `PlaceOrder-v1`: names may not have dots. */
function endpointName(subject: string): string {
  return subject
    .split('.')
    .slice(-2)
    .join('-')
    .replace(/[^-\w]/g, '_');
}

function statsOf(facts: EndpointFacts | undefined): object {
  const { requests, errors, processingMs, lastError } = facts?.stats ?? {
    requests: 0,
    errors: 0,
    processingMs: 0,
    lastError: '',
  };
  return {
    queue_group: facts?.queue ?? '',
    num_requests: requests,
    num_errors: errors,
    last_error: lastError,
    // Nanoseconds.
    processing_time: Math.round(processingMs * 1e6),
    average_processing_time: requests === 0 ? 0 : Math.round((processingMs * 1e6) / requests),
  };
}
