import {
  jetstreamManager,
  type ConsumerConfig,
  type JetStreamManager,
  type StreamConfig,
} from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/nats-core';
import { errorMessage, systemClock } from '@flotilla/kernel';
import { MissingTopologyError, ProvisioningDriftError, type Drift } from './messaging.errors.ts';
import { isNotFound } from './nats/pull-loop.ts';
import { assertServerOf } from './nats/server-version.ts';
import { onceServersAreThere } from './nats/server-wait.ts';
import type { ConsumerSpec, StreamSpec, Topology } from './topology.ts';

export interface ProvisionOptions {
  /** Deletes durable consumers of the topology's streams that it does not name. Default false: they are reported. */
  readonly deleteStale?: boolean;
  /**
   * How long a cluster may have too few servers for the copies of a stream, in milliseconds. Default 30,000: one that has
   * just started, or gets a new version server by server, is given the time.
   */
  readonly serversTimeoutMs?: number;
}

/** What provisioning did; streams as `EVT_orders`, consumers as `EVT_orders/tracking-orders`. */
export interface ProvisionReport {
  readonly created: readonly string[];
  readonly updated: readonly string[];
  readonly unchanged: readonly string[];
  /** On the server, on a stream of the topology, and not in the topology: messages wait there for nobody. */
  readonly stale: readonly string[];
  readonly deleted: readonly string[];
}

export interface VerifyOptions {
  /** The service that needs the topology, for the error. */
  readonly service?: string;
  /** Compares every field, limits and replicas too, not only what a service depends on. Default false. */
  readonly strict?: boolean;
}

type Change = 'created' | 'updated' | 'unchanged';

/**
 * Makes the server's streams and consumers what the topology says and reads each back: old servers ignore fields
 * that they do not know. Throws `ProvisioningDriftError` with every field that is still different, `TooFewServersError`
 * where a cluster has no place for copies, and `UnsupportedServerError` before anything is touched.
 */
export async function provision(
  connection: NatsConnection,
  topology: Topology,
  options: ProvisionOptions = {},
): Promise<ProvisionReport> {
  assertServerOf(connection);
  const manager = await jetstreamManager(connection);
  const report = { created: [] as string[], updated: [] as string[], unchanged: [] as string[] };
  const drifts: Drift[] = [];
  const untilMs = systemClock.monotonicMs() + (options.serversTimeoutMs ?? 30_000);
  for (const spec of topology.streams) {
    const result = await provisionStream(manager, spec, untilMs);
    drifts.push(...result.drifts);
    report[result.change].push(spec.name);
  }
  // A consumer on a stream that is not what it should be would only add to the confusion.
  if (drifts.length > 0) throw new ProvisioningDriftError(drifts);
  const stale = await staleConsumers(manager, topology);
  const deleted: string[] = [];
  if (options.deleteStale === true) {
    // Before the new ones, so that no message goes to both.
    for (const { stream, name } of stale) {
      await manager.consumers.delete(stream, name);
      deleted.push(`${stream}/${name}`);
    }
  }
  for (const spec of topology.consumers) {
    const result = await provisionConsumer(manager, spec);
    drifts.push(...result.drifts);
    report[result.change].push(`${spec.stream}/${spec.name}`);
  }
  if (drifts.length > 0) throw new ProvisioningDriftError(drifts);
  return {
    ...report,
    stale: options.deleteStale === true ? [] : stale.map(({ stream, name }) => `${stream}/${name}`),
    deleted,
  };
}

/**
 * Checks at the start of a service that what it needs is there: throws `MissingTopologyError` or
 * `ProvisioningDriftError`, each with everything that is wrong. Changes nothing.
 */
export async function verifyTopology(
  connection: NatsConnection,
  topology: Topology,
  options: VerifyOptions = {},
): Promise<void> {
  assertServerOf(connection);
  const manager = await jetstreamManager(connection, { checkAPI: false });
  const missing: string[] = [];
  const drifts: Drift[] = [];
  const check = async (resource: string, find: () => Promise<Drift[] | undefined>): Promise<void> => {
    const found = await find();
    if (found === undefined) missing.push(resource);
    else drifts.push(...found);
  };
  const streamFields = options.strict === true ? undefined : essentialStreamFields;
  const consumerFields = options.strict === true ? undefined : essentialConsumerFields;
  await Promise.all([
    ...topology.streams.map((spec) =>
      check(`stream ${spec.name}`, async () => {
        const actual = await findStream(manager, spec.name);
        return actual && streamDrifts(spec, actual, streamFields);
      }),
    ),
    ...topology.consumers.map((spec) =>
      check(`consumer ${spec.stream}/${spec.name}`, async () => {
        const actual = await findConsumer(manager, spec);
        return actual && consumerDrifts(spec, actual, consumerFields);
      }),
    ),
  ]);
  if (missing.length > 0) throw new MissingTopologyError(missing.sort(), options.service);
  if (drifts.length > 0) throw new ProvisioningDriftError(drifts);
}

/** What a service relies on; limits are the operator's. */
const essentialStreamFields: ReadonlySet<string> = new Set(['subjects', 'retention', 'storage', 'no_ack']);
const essentialConsumerFields: ReadonlySet<string> = new Set([
  'ack_policy',
  'deliver_policy',
  'filter_subjects',
  'max_deliver',
]);

async function provisionStream(
  manager: JetStreamManager,
  spec: StreamSpec,
  untilMs: number,
): Promise<{ change: Change; drifts: Drift[] }> {
  const actual = await findStream(manager, spec.name);
  let change: Change = 'unchanged';
  let reason: string | undefined;
  try {
    if (actual === undefined) {
      change = 'created';
      const { name, config } = spec;
      await onceServersAreThere({ stream: name, copies: config.num_replicas ?? 1, untilMs }, () =>
        manager.streams.add({ ...config, name }),
      );
    } else if (streamDrifts(spec, actual).length > 0) {
      change = 'updated';
      await manager.streams.update(spec.name, spec.config);
    }
  } catch (error) {
    if (actual === undefined) throw error;
    reason = errorMessage(error);
  }
  const after = change === 'unchanged' ? actual : await findStream(manager, spec.name);
  if (after === undefined) throw new MissingTopologyError([`stream ${spec.name}`]);
  return { change, drifts: streamDrifts(spec, after).map((drift) => withReason(drift, reason)) };
}

async function provisionConsumer(
  manager: JetStreamManager,
  spec: ConsumerSpec,
): Promise<{ change: Change; drifts: Drift[] }> {
  const actual = await findConsumer(manager, spec);
  let change: Change = 'unchanged';
  let reason: string | undefined;
  try {
    if (actual === undefined) {
      change = 'created';
      await manager.consumers.add(spec.stream, spec.config);
    } else if (consumerDrifts(spec, actual).length > 0) {
      change = 'updated';
      await manager.consumers.update(spec.stream, spec.name, spec.config);
    }
  } catch (error) {
    if (actual === undefined) throw error;
    reason = errorMessage(error);
  }
  const after = change === 'unchanged' ? actual : await findConsumer(manager, spec);
  if (after === undefined) throw new MissingTopologyError([`consumer ${spec.stream}/${spec.name}`]);
  return { change, drifts: consumerDrifts(spec, after).map((drift) => withReason(drift, reason)) };
}

async function findStream(manager: JetStreamManager, name: string): Promise<StreamConfig | undefined> {
  try {
    return (await manager.streams.info(name)).config;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

async function findConsumer(
  manager: JetStreamManager,
  spec: ConsumerSpec,
): Promise<ConsumerConfig | undefined> {
  try {
    return (await manager.consumers.info(spec.stream, spec.name)).config;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

async function staleConsumers(
  manager: JetStreamManager,
  topology: Topology,
): Promise<{ stream: string; name: string }[]> {
  const expected = new Set(topology.consumers.map(({ stream, name }) => `${stream}/${name}`));
  const stale: { stream: string; name: string }[] = [];
  for (const { name: stream } of topology.streams) {
    for await (const { name, config } of manager.consumers.list(stream)) {
      if (config.durable_name !== undefined && !expected.has(`${stream}/${name}`))
        stale.push({ stream, name });
    }
  }
  return stale;
}

function streamDrifts(spec: StreamSpec, actual: StreamConfig, fields?: ReadonlySet<string>): Drift[] {
  return driftsOf(`stream ${spec.name}`, spec.config, actual, fields);
}

function consumerDrifts(spec: ConsumerSpec, actual: ConsumerConfig, fields?: ReadonlySet<string>): Drift[] {
  const { filter_subject: single, ...rest } = actual;
  // Servers keep a single filter in a field of its own.
  const filters = rest.filter_subjects ?? (single === undefined ? [] : [single]);
  return driftsOf(
    `consumer ${spec.stream}/${spec.name}`,
    spec.config,
    { ...rest, filter_subjects: filters },
    fields,
  );
}

/** What each field of a spec is when the server leaves it out of its answer. */
const absentAs: Readonly<Record<string, unknown>> = {
  no_ack: false,
  deny_delete: false,
  deny_purge: false,
  allow_direct: false,
  allow_rollup_hdrs: false,
  max_age: 0,
  num_replicas: 0,
};

function driftsOf(
  resource: string,
  expected: object,
  actual: object,
  fields: ReadonlySet<string> | undefined,
): Drift[] {
  const drifts: Drift[] = [];
  for (const [field, wanted] of Object.entries(expected) as [string, unknown][]) {
    if (fields !== undefined && !fields.has(field)) continue;
    const found = (actual as Record<string, unknown>)[field] ?? absentAs[field];
    if (field === 'metadata') {
      // The server adds its own.
      const mine = pick(found, Object.keys(wanted as object));
      if (canonical(mine) !== canonical(wanted))
        drifts.push({ resource, field, expected: wanted, actual: mine });
    } else if (canonical(found) !== canonical(wanted)) {
      drifts.push({ resource, field, expected: wanted, actual: found });
    }
  }
  return drifts;
}

function pick(from: unknown, keys: readonly string[]): Record<string, unknown> {
  const source = (from ?? {}) as Record<string, unknown>;
  return Object.fromEntries(keys.filter((key) => key in source).map((key) => [key, source[key]]));
}

/** Text that is equal for equal values; the order of a list or of fields has no meaning in a configuration. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return JSON.stringify(value.map(canonical).sort());
  if (typeof value === 'object' && value !== null) {
    return JSON.stringify(
      Object.entries(value)
        .map(([key, each]) => [key, canonical(each)])
        .sort(([a], [b]) => ((a as string) < (b as string) ? -1 : 1)),
    );
  }
  return JSON.stringify(value) ?? 'undefined';
}

function withReason(drift: Drift, reason: string | undefined): Drift {
  return reason === undefined ? drift : { ...drift, reason };
}
