import 'reflect-metadata';
import { InvalidMessageError, parseWith } from '@flotilla/contracts-protocol';
import { errorMessage, FlotillaError, newId, type Clock } from '@flotilla/kernel';
import type { Broker, IncomingMessage, OutgoingReply, Stoppable } from '@flotilla/messaging';
import type { MetricsRecorder, ScheduleReading } from '@flotilla/observability';
import type { UnitOfWork } from '@flotilla/persistence';
import { Logger } from '@nestjs/common';
import type { ModulesContainer } from '@nestjs/core';
import type { InstanceWrapper } from '@nestjs/core/injector/instance-wrapper.js';
import { SpanKind } from '@opentelemetry/api';
import { z } from 'zod';
import { runsOutsideUnitOfWork, scheduleOf } from '../decorators.ts';
import type { Handling } from '../inbound/handling.ts';
import type { Jobs } from '../jobs.ts';
import type { OutgoingMessages } from '../outgoing.ts';
import { resolveSchedule, type ResolvedSchedule, type ScheduleSpec } from './schedule.options.ts';
import { ScheduleRunner, type ScheduledTask } from './schedule-runner.ts';
import { isFailing, ScheduleStore } from './schedule-store.ts';

export interface ScheduleHostParts {
  readonly service: string;
  readonly specs: Readonly<Record<string, ScheduleSpec>>;
  readonly config: object;
  readonly modules: ModulesContainer;
  /** Absent in a service without a database, which can have no schedules. */
  readonly unitOfWork: UnitOfWork | undefined;
  readonly jobs: Jobs;
  readonly broker: Broker;
  readonly outgoing: OutgoingMessages;
  readonly handling: Handling;
  readonly clock: Clock;
  readonly metrics: MetricsRecorder;
}

/** How often each process looks whether something is due, in milliseconds; what it knows of wakes it in time. */
const LOOK_EVERY_MS = 30_000;
/** A schedule that nobody takes for so long is overdue, in milliseconds. */
const OVERDUE_AFTER_MS = 120_000;

const request = z.object({
  action: z.literal('run'),
  name: z.string().min(1),
  by: z.string().min(1).max(200).default('an operator'),
});

/** The subject on which a service takes operators' commands for its schedules. */
export function scheduleSubject(service: string): string {
  return `ops.${service}.schedule`;
}

/** Holds the schedules of a service: finds their handlers, keeps their rows, runs them in time. */
export class ScheduleHost {
  readonly #parts: ScheduleHostParts;
  readonly #logger = new Logger('Schedules');
  readonly #runners = new Map<string, ScheduleRunner>();
  readonly #schedules: ResolvedSchedule[] = [];
  #store: ScheduleStore | undefined;

  constructor(parts: ScheduleHostParts) {
    this.#parts = parts;
  }

  get count(): number {
    return this.#runners.size;
  }

  /** Finds the handlers; returns what does not fit together, a line each. */
  explore(): string[] {
    const { specs, config, unitOfWork } = this.#parts;
    const problems: string[] = [];
    const tasks = this.#tasks(problems);
    for (const name of tasks.keys()) {
      if (!(name in specs)) problems.push(`@Schedule('${name}') is not listed in schedules`);
    }
    for (const [name, spec] of Object.entries(specs)) {
      const schedule = resolveSchedule(name, spec, config, problems);
      const task = tasks.get(name);
      if (!task) problems.push(`schedules.${name} is listed but has no class with @Schedule('${name}')`);
      if (!unitOfWork) problems.push(`schedule ${name}: it has no database (database: false) to keep it in`);
      if (schedule && task && unitOfWork) this.#add(schedule, task, unitOfWork);
    }
    return problems;
  }

  /** Writes down what there is, and begins to run it; the result stops taking operators' commands. */
  async start(): Promise<Stoppable | undefined> {
    const { unitOfWork, jobs, clock } = this.#parts;
    const store = this.#store;
    if (!unitOfWork || !store || this.count === 0) return undefined;
    await unitOfWork.run(async () => {
      for (const { name, cron, timeZone, ticks } of this.#schedules) {
        await store.declare(name, cron, timeZone, ticks.next(clock.now()) ?? clock.now());
      }
    });
    for (const runner of this.#runners.values()) {
      const job = jobOf(runner.name);
      jobs.register(job, {
        intervalMs: LOOK_EVERY_MS,
        run: async () => {
          if (await runner.runDue()) return true;
          const dueInMs = await runner.dueInMs();
          if (dueInMs !== undefined && dueInMs < LOOK_EVERY_MS) jobs.wake(job, dueInMs);
          return false;
        },
      });
    }
    return this.#parts.broker.serve(
      scheduleSubject(this.#parts.service),
      { queue: this.#parts.service, maxInFlight: 4 },
      (message) => this.#answer(message),
    );
  }

  /** Tells long runs to end. */
  stop(): void {
    for (const runner of this.#runners.values()) runner.stop();
  }

  /** The schedules of this process as the database has them, for the metrics. */
  async readings(): Promise<ScheduleReading[]> {
    const states = (await this.#store?.list()) ?? [];
    return states
      .filter(({ name }) => this.#runners.has(name))
      .map((state) => ({
        name: state.name,
        failing: isFailing(state),
        missed: state.missed,
        ...(state.dueAt && { dueAt: state.dueAt.getTime() }),
        ...(state.lastSucceededAt && { lastSucceededAt: state.lastSucceededAt.getTime() }),
      }));
  }

  /** What is wrong with them, a line each. */
  async problems(): Promise<string[]> {
    const now = this.#parts.clock.now();
    const states = (await this.#store?.list()) ?? [];
    return states.flatMap((state) => {
      const { name, runAt, leaseUntil, lastError, lastFailedAt } = state;
      if (!this.#runners.has(name)) return [];
      if (isFailing(state)) return [`${name} failed at ${lastFailedAt?.toISOString()}: ${lastError}`];
      const taken = leaseUntil !== undefined && leaseUntil.getTime() > now;
      if (!taken && runAt !== undefined && now - runAt.getTime() > OVERDUE_AFTER_MS)
        return [`${name} is due since ${runAt.toISOString()} and nobody runs it`];
      return [];
    });
  }

  #tasks(problems: string[]): Map<string, InstanceWrapper<ScheduledTask>> {
    const found = new Map<string, InstanceWrapper<ScheduledTask>>();
    for (const module of this.#parts.modules.values()) {
      for (const wrapper of module.providers.values()) {
        if (typeof wrapper.metatype !== 'function' || wrapper.inject) continue;
        const name = scheduleOf(wrapper.metatype);
        if (name === undefined) continue;
        const before = found.get(name);
        if (before && before.metatype !== wrapper.metatype)
          problems.push(`schedule ${name} has two classes: ${before.name} and ${wrapper.name}`);
        if (!wrapper.isDependencyTreeStatic())
          problems.push(`${wrapper.name} is request-scoped, but a schedule has no request`);
        found.set(name, wrapper as InstanceWrapper<ScheduledTask>);
      }
    }
    return found;
  }

  #add(schedule: ResolvedSchedule, wrapper: InstanceWrapper<ScheduledTask>, unitOfWork: UnitOfWork): void {
    const { service, clock, metrics } = this.#parts;
    this.#store ??= new ScheduleStore((sql, parameters) => unitOfWork.query(sql, parameters));
    this.#schedules.push(schedule);
    this.#runners.set(
      schedule.name,
      new ScheduleRunner({
        service,
        schedule,
        task: wrapper.instance,
        outsideUnitOfWork: runsOutsideUnitOfWork(wrapper.metatype as object),
        store: this.#store,
        unitOfWork,
        clock,
        metrics,
        logger: this.#logger,
      }),
    );
  }

  async #answer(message: IncomingMessage): Promise<OutgoingReply> {
    const { handling, outgoing } = this.#parts;
    try {
      const result = await handling.run(message, { handler: 'operators', kind: SpanKind.SERVER }, () =>
        this.#runNow(message),
      );
      return outgoing.reply(message.envelope, newId(), 'ok', result);
    } catch (error) {
      this.#logger.warn({ msg: `A command of an operator failed: ${errorMessage(error)}`, err: error });
      return outgoing.failedReply(message.envelope, newId(), error);
    }
  }

  async #runNow(message: IncomingMessage): Promise<unknown> {
    const { service, unitOfWork, clock, jobs } = this.#parts;
    const { name, by } = parseWith(
      request,
      message.json(),
      (problems) => new InvalidMessageError(scheduleSubject(service), problems),
    );
    const store = this.#store;
    if (!unitOfWork || !store || !this.#runners.has(name)) {
      const names = [...this.#runners.keys()].join(', ');
      throw new FlotillaError(
        'UNKNOWN_SCHEDULE',
        `There is no schedule "${name}" of ${service}; there are: ${names}`,
        { retry: 'never' },
      );
    }
    this.#logger.log(`An operator (${by}) wants schedule ${name} to run now`);
    await unitOfWork.run(async () => {
      await store.request(name, by, clock.now());
      jobs.wake(jobOf(name));
    });
    return { outcome: 'requested', schedule: name };
  }
}

function jobOf(schedule: string): string {
  return `schedule ${schedule}`;
}
