import { streamReader } from '@flotilla/messaging';
import { HealthModule } from '@flotilla/observability/nest';
import {
  Outbox,
  PersistenceModule,
  PersistenceRuntime,
  UnitOfWork,
  type MigrationClass,
} from '@flotilla/persistence';
import { PolicyRegistry } from '@flotilla/resilience';
import type { NatsConnection } from '@nats-io/nats-core';
import {
  Module,
  type DynamicModule,
  type FactoryProvider,
  type InjectionToken,
  type Provider,
} from '@nestjs/common';
import { ModuleRef, ModulesContainer } from '@nestjs/core';
import { CommandBus, EventBus, EventPublisher, QueryBus, UnhandledExceptionBus } from '@nestjs/cqrs';
import { DataSource } from 'typeorm';
import { ConsumerCommands } from './consumer-commands.ts';
import { CallPolicies } from './cqrs/call-policies.ts';
import type { ChassisConfig } from './config/chassis-settings.ts';
import { onConfigChange } from './config/dynamic-values.ts';
import { CqrsBootstrap } from './cqrs/cqrs-bootstrap.ts';
import { FleetCommandBus, FleetQueryBus, OutboxEventPublisher } from './cqrs/buses.ts';
import { HandlerRegistry } from './cqrs/handler-registry.ts';
import { MessageRouter } from './cqrs/message-router.ts';
import { RemoteCalls } from './cqrs/remote-calls.ts';
import { currentDeadline } from './deadline.ts';
import type { ServiceSpec } from './flotilla.module.ts';
import { CommandProcessor } from './inbound/command-processor.ts';
import { DryRuns } from './dry-runs.ts';
import { DurableConsumers } from './inbound/durable-consumers.ts';
import { Handling } from './inbound/handling.ts';
import { killSwitchOf } from './inbound/kill-switch.ts';
import { isOutage } from './inbound/outages.ts';
import { RequestServer } from './inbound/request-server.ts';
import { Jobs } from './jobs.ts';
import { OperatorCommands } from './operator-commands.ts';
import { OutboxReconciliation } from './outbox-reconciliation.ts';
import { OutgoingMessages } from './outgoing.ts';
import { Projections } from './projections/projections.ts';
import { HistoryClient, HistoryServer } from './projections/rebuild/history.ts';
import { RebuildCommands } from './projections/rebuild/rebuild-commands.ts';
import { Rebuilds } from './projections/rebuild/rebuilds.ts';
import { CommandHandover } from './sagas/command-handover.ts';
import { SagaHost } from './sagas/saga-host.ts';
import { SagaInbox } from './sagas/saga-inbox.ts';
import { Sagas } from './sagas/sagas.ts';
import { chassisServiceMigrations } from './migrations.ts';
import { OutboxRepair } from './repair/outbox-repair.ts';
import { RepairCommands } from './repair/repair-commands.ts';
import { ViewRepair } from './repair/view-repair.ts';
import { ScheduleHost } from './schedules/schedule-host.ts';
import { NoDatabaseError } from './service.errors.ts';
import type { ServiceParts } from './service-parts.ts';
import { ServiceRuntime } from './service-runtime.ts';
import { BROKER, CHASSIS_CONFIG, CLOCK } from './tokens.ts';
import { TracedPublisher } from './traced-publisher.ts';

const DAY_MS = 86_400_000;
/** By then everything has been drained: what persistence still waits for is the exception, in milliseconds. */
const PERSISTENCE_DRAIN_MS = 2_000;

/** The migrations of a service's database beside the chassis' own inbox and outbox, in order. */
export function serviceMigrations({ migrations = [] }: ServiceSpec): MigrationClass[] {
  return [...chassisServiceMigrations, ...migrations];
}

/** Everything that the chassis gives to a service's modules: buses, unit of work, sagas, jobs, health. Global. */
@Module({})
export class ChassisModule {
  /** `onOpening`: see `PersistenceOptions`. */
  static forRoot(parts: ServiceParts, onOpening?: (opening: Promise<DataSource>) => void): DynamicModule {
    const { manifest } = parts.spec;
    const handover = new CommandHandover(parts.broker, parts.clock);
    return {
      module: ChassisModule,
      global: true,
      imports: [
        HealthModule.forRoot({ health: parts.health, metrics: parts.metrics, logger: parts.logger }),
        ...(manifest.database ? [persistence(parts, handover, onOpening)] : []),
        parts.module,
      ],
      providers: [
        ...values(parts),
        ...buses(parts),
        ...inbound(parts),
        schedules(parts),
        ...(manifest.database ? [...sagas(parts), ...durable(parts, handover)] : []),
        runtime(parts),
      ],
      exports: [
        CLOCK,
        BROKER,
        CHASSIS_CONFIG,
        parts.configClass as InjectionToken,
        CommandBus,
        QueryBus,
        EventBus,
        EventPublisher,
        UnhandledExceptionBus,
        Jobs,
        PolicyRegistry,
        ...(manifest.database ? [Sagas, Projections] : []),
      ],
    };
  }
}

function persistence(
  { spec, config, clock, metrics }: ServiceParts,
  handover: CommandHandover,
  onOpening: ((opening: Promise<DataSource>) => void) | undefined,
): DynamicModule {
  if (config.databaseUrl === undefined) throw new NoDatabaseError(spec.manifest.name);
  return PersistenceModule.forRoot({
    url: config.databaseUrl,
    poolSize: config.databasePoolSize,
    connectTimeoutMs: config.connectTimeoutMs,
    entities: spec.entities ?? [],
    migrations: serviceMigrations(spec),
    publisher: new TracedPublisher(handover),
    drainMs: PERSISTENCE_DRAIN_MS,
    lanes: config.unitOfWorkLanes,
    retentionDays: config.outboxRetentionDays,
    // What is published again after a loss must still be recognised.
    inboxRetentionDays: config.outboxRetentionDays + 1,
    deadline: currentDeadline,
    ...(onOpening && { onOpening }),
    clock,
    metrics,
  });
}

function values({ config, configClass, clock, broker, metrics }: ServiceParts): Provider[] {
  return [
    { provide: CLOCK, useValue: clock },
    { provide: BROKER, useValue: broker },
    { provide: CHASSIS_CONFIG, useValue: config },
    { provide: configClass as InjectionToken, useValue: config },
    { provide: Jobs, useValue: new Jobs(clock, metrics) },
  ];
}

function buses({ spec, config, clock, broker, metrics }: ServiceParts): Provider[] {
  const { manifest, callPolicies = [] } = spec;
  const outgoing = new OutgoingMessages(manifest.name, clock);
  const policies = new PolicyRegistry({ metrics, clock, deadline: currentDeadline });
  const calls = new CallPolicies(manifest, callPolicies, config.callPolicies, policies, clock, metrics);
  return [
    { provide: PolicyRegistry, useValue: policies },
    { provide: OutgoingMessages, useValue: outgoing },
    {
      provide: MessageRouter,
      useValue: new MessageRouter(manifest, new RemoteCalls(broker, outgoing, clock, metrics, calls)),
    },
    {
      provide: HandlerRegistry,
      useFactory: (modules: ModulesContainer) => new HandlerRegistry(modules),
      inject: [ModulesContainer],
    },
    {
      provide: CommandBus,
      useFactory: (
        moduleRef: ModuleRef,
        router: MessageRouter,
        handlers: HandlerRegistry,
        unitOfWork: UnitOfWork | undefined,
      ) => new FleetCommandBus(moduleRef, router, handlers, unitOfWork),
      inject: [ModuleRef, MessageRouter, HandlerRegistry, { token: UnitOfWork, optional: true }],
    },
    {
      provide: QueryBus,
      useFactory: (moduleRef: ModuleRef, router: MessageRouter) => new FleetQueryBus(moduleRef, router),
      inject: [ModuleRef, MessageRouter],
    },
    UnhandledExceptionBus,
    {
      provide: EventBus,
      useFactory: (commands: CommandBus, moduleRef: ModuleRef, unhandled: UnhandledExceptionBus) =>
        new EventBus(commands, moduleRef, unhandled, {
          eventPublisher: new OutboxEventPublisher(manifest, outgoing),
        }),
      inject: [CommandBus, ModuleRef, UnhandledExceptionBus],
    },
    EventPublisher,
    {
      provide: CqrsBootstrap,
      useFactory: (
        handlers: HandlerRegistry,
        commands: CommandBus,
        queries: QueryBus,
        sagaHost: SagaHost | undefined,
        schedules: ScheduleHost,
        projections: Projections | undefined,
      ) => new CqrsBootstrap(manifest, handlers, commands, queries, sagaHost, schedules, projections),
      inject: [
        HandlerRegistry,
        CommandBus,
        QueryBus,
        { token: SagaHost, optional: true },
        ScheduleHost,
        { token: Projections, optional: true },
      ],
    },
  ];
}

function inbound({ spec, config, broker, clock, metrics }: ServiceParts): Provider[] {
  return [
    { provide: Handling, useValue: new Handling(metrics, clock) },
    {
      provide: CommandProcessor,
      useFactory: (
        commands: FleetCommandBus,
        handlers: HandlerRegistry,
        unitOfWork: UnitOfWork | undefined,
      ) => new CommandProcessor(spec.manifest.name, commands, handlers, unitOfWork),
      inject: [CommandBus, HandlerRegistry, { token: UnitOfWork, optional: true }],
    },
    {
      provide: RequestServer,
      useFactory: (
        commands: CommandProcessor,
        queries: FleetQueryBus,
        handlers: HandlerRegistry,
        outgoing: OutgoingMessages,
        handling: Handling,
      ) =>
        new RequestServer(broker, commands, queries, handlers, outgoing, handling, {
          service: spec.manifest.name,
          get maxInFlight() {
            return config.maxInFlight;
          },
        }),
      inject: [CommandProcessor, QueryBus, HandlerRegistry, OutgoingMessages, Handling],
    },
  ];
}

function sagas({ spec, config, clock, metrics }: ServiceParts): FactoryProvider[] {
  return [
    {
      provide: SagaHost,
      useFactory: (unitOfWork: UnitOfWork, outgoing: OutgoingMessages, jobs: Jobs, moduleRef: ModuleRef) =>
        new SagaHost({
          service: spec.manifest.name,
          registrations: spec.sagas ?? [],
          unitOfWork,
          outgoing,
          clock,
          metrics,
          jobs,
          moduleRef,
          retentionMs: config.sagaRetentionDays * DAY_MS,
        }),
      inject: [UnitOfWork, OutgoingMessages, Jobs, ModuleRef],
    },
    { provide: Sagas, useFactory: (host: SagaHost) => new Sagas(host), inject: [SagaHost] },
    { provide: SagaInbox, useFactory: (host: SagaHost) => new SagaInbox(host), inject: [SagaHost] },
  ];
}

function schedules({ spec, config, broker, clock, metrics }: ServiceParts): FactoryProvider {
  return {
    provide: ScheduleHost,
    useFactory: (
      modules: ModulesContainer,
      jobs: Jobs,
      outgoing: OutgoingMessages,
      handling: Handling,
      unitOfWork: UnitOfWork | undefined,
    ) =>
      new ScheduleHost({
        service: spec.manifest.name,
        specs: spec.schedules ?? {},
        config,
        modules,
        unitOfWork,
        jobs,
        broker,
        outgoing,
        handling,
        clock,
        metrics,
      }),
    inject: [ModulesContainer, Jobs, OutgoingMessages, Handling, { token: UnitOfWork, optional: true }],
  };
}

function durable(parts: ServiceParts, handover: CommandHandover): FactoryProvider[] {
  const { spec, config, broker, connection } = parts;
  return [
    ...(connection ? [reconciliation(connection, config), repairs(parts, connection)] : []),
    ...(connection && (spec.projections ?? []).length > 0 ? rebuilding(parts, connection) : []),
    {
      provide: Projections,
      useFactory: (unitOfWork: UnitOfWork) => new Projections(spec.projections ?? [], unitOfWork),
      inject: [UnitOfWork],
    },
    {
      provide: DurableConsumers,
      useFactory: (
        commands: CommandProcessor,
        handlers: HandlerRegistry,
        unitOfWork: UnitOfWork,
        outgoing: OutgoingMessages,
        handling: Handling,
        inbox: SagaInbox,
        projections: Projections,
      ) =>
        new DurableConsumers(
          broker,
          commands,
          handlers,
          unitOfWork,
          outgoing,
          handling,
          inbox,
          projections,
          handover,
          {
            manifest: spec.manifest,
            consume: {
              get maxInFlight() {
                return config.maxInFlight;
              },
              maxAttempts: config.maxAttempts,
              backoff: { initialMs: config.retryInitialMs, maxMs: config.retryMaxMs },
              isOutage,
              killSwitch: killSwitchOf(config),
            },
          },
        ),
      inject: [
        CommandProcessor,
        HandlerRegistry,
        UnitOfWork,
        OutgoingMessages,
        Handling,
        SagaInbox,
        Projections,
      ],
    },
    {
      provide: HistoryServer,
      useFactory: (unitOfWork: UnitOfWork, outgoing: OutgoingMessages, handling: Handling) =>
        new HistoryServer(spec.manifest.name, broker, unitOfWork, outgoing, handling),
      inject: [UnitOfWork, OutgoingMessages, Handling],
    },
    {
      provide: ConsumerCommands,
      useFactory: (consumers: DurableConsumers, outgoing: OutgoingMessages, handling: Handling) =>
        new ConsumerCommands(spec.manifest.name, broker, consumers, outgoing, handling),
      inject: [DurableConsumers, OutgoingMessages, Handling],
    },
    {
      provide: DryRuns,
      useFactory: (
        dataSource: DataSource,
        unitOfWork: UnitOfWork,
        commands: CommandProcessor,
        handlers: HandlerRegistry,
        sagaInbox: SagaInbox,
        projections: Projections,
        outgoing: OutgoingMessages,
        handling: Handling,
      ) =>
        new DryRuns({
          manifest: spec.manifest,
          broker,
          dataSource,
          unitOfWork,
          commands,
          handlers,
          sagas: sagaInbox,
          projections,
          outgoing,
          handling,
          clock: parts.clock,
        }),
      inject: [
        DataSource,
        UnitOfWork,
        CommandProcessor,
        HandlerRegistry,
        SagaInbox,
        Projections,
        OutgoingMessages,
        Handling,
      ],
    },
    {
      provide: OperatorCommands,
      useFactory: (host: SagaHost, unitOfWork: UnitOfWork, outgoing: OutgoingMessages, handling: Handling) =>
        new OperatorCommands(spec.manifest.name, broker, host, unitOfWork, outgoing, handling),
      inject: [SagaHost, UnitOfWork, OutgoingMessages, Handling],
    },
  ];
}

function rebuilding({ spec, broker, clock }: ServiceParts, connection: NatsConnection): FactoryProvider[] {
  const { name } = spec.manifest;
  return [
    {
      provide: Rebuilds,
      useFactory: (dataSource: DataSource, jobs: Jobs) =>
        new Rebuilds({
          projections: spec.projections ?? [],
          dataSource,
          streams: streamReader(connection),
          history: new HistoryClient(name, broker, clock),
          jobs,
          clock,
        }),
      inject: [DataSource, Jobs],
    },
    {
      provide: RebuildCommands,
      useFactory: (rebuilds: Rebuilds, outgoing: OutgoingMessages, handling: Handling) =>
        new RebuildCommands(name, broker, rebuilds, outgoing, handling),
      inject: [Rebuilds, OutgoingMessages, Handling],
    },
  ];
}

function repairs({ spec, broker }: ServiceParts, connection: NatsConnection): FactoryProvider {
  const projections = spec.projections ?? [];
  return {
    provide: RepairCommands,
    useFactory: (
      unitOfWork: UnitOfWork,
      dataSource: DataSource,
      sagaHost: SagaHost,
      outgoing: OutgoingMessages,
      handling: Handling,
    ) =>
      new RepairCommands({
        service: spec.manifest.name,
        broker,
        unitOfWork,
        outbox: new OutboxRepair(connection),
        sagas: sagaHost,
        views:
          projections.length > 0
            ? new ViewRepair(projections, dataSource, streamReader(connection))
            : undefined,
        outgoing,
        handling,
      }),
    inject: [UnitOfWork, DataSource, SagaHost, OutgoingMessages, Handling],
  };
}

function reconciliation(connection: NatsConnection, config: ChassisConfig): FactoryProvider {
  return {
    provide: OutboxReconciliation,
    useFactory: (outbox: Outbox, unitOfWork: UnitOfWork, jobs: Jobs) =>
      new OutboxReconciliation({
        connection,
        outbox,
        unitOfWork,
        jobs,
        inlineMaxBytes: config.inlineMaxBytes,
        retentionMs: config.outboxRetentionDays * DAY_MS,
      }),
    inject: [Outbox, UnitOfWork, Jobs],
  };
}

function runtime({ spec, config, broker, clock }: ServiceParts): FactoryProvider {
  const { manifest } = spec;
  const optional = (token: InjectionToken) => ({ token, optional: true });
  return {
    provide: ServiceRuntime,
    useFactory: (
      requests: RequestServer,
      jobs: Jobs,
      scheduleHost: ScheduleHost,
      consumers: DurableConsumers | undefined,
      sagaHost: SagaHost | undefined,
      operators: OperatorCommands | undefined,
      consumerCommands: ConsumerCommands | undefined,
      dryRuns: DryRuns | undefined,
      history: HistoryServer | undefined,
      rebuilds: RebuildCommands | undefined,
      repairing: RepairCommands | undefined,
      database: PersistenceRuntime | undefined,
    ) =>
      new ServiceRuntime({
        manifest,
        version: config.serviceVersion,
        broker,
        clock,
        requests,
        jobs,
        schedules: scheduleHost,
        limits: {
          get maxInFlight() {
            return config.maxInFlight;
          },
          onChange: (listener) => onConfigChange(config, 'maxInFlight', listener),
        },
        consumers,
        sagas: sagaHost,
        operators: [
          (spec.sagas ?? []).length > 0 ? operators : undefined,
          consumerCommands,
          dryRuns,
          manifest.publishes.length > 0 ? history : undefined,
          rebuilds,
          repairing,
        ].filter((each) => each !== undefined),
        flush: async (withinMs) => (await database?.flush(withinMs)) ?? true,
      }),
    inject: [
      RequestServer,
      Jobs,
      ScheduleHost,
      optional(DurableConsumers),
      optional(SagaHost),
      optional(OperatorCommands),
      optional(ConsumerCommands),
      optional(DryRuns),
      optional(HistoryServer),
      optional(RebuildCommands),
      optional(RepairCommands),
      optional(PersistenceRuntime),
    ],
  };
}
