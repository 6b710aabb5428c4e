import 'reflect-metadata';
import { SetMetadata, type CustomDecorator } from '@nestjs/common';
import type { AnyMessage } from '@flotilla/contracts-protocol';

const REACTION = 'flotilla:reaction';
const LOCKS = 'flotilla:locks';
const OUTSIDE = 'flotilla:outside-unit-of-work';
const INDEPENDENT = 'flotilla:independent';
const SCHEDULE = 'flotilla:schedule';

/**
 * Names the durable subscription that an `@EventsHandler` class serves: the name in the service manifest's
 * `reacts`. It is part of the consumer's identity, so the class may be renamed freely.
 */
export function Reaction(name: string): CustomDecorator {
  return SetMetadata(REACTION, name);
}

/** The resources, by name, that a message's handler will change. */
export type LockNames<M extends AnyMessage = AnyMessage> = (message: M) => readonly string[];

/**
 * Locks what a handler is going to change before any handler of its commit group runs, in one order for all
 * groups and replicas: handlers of hot rows wait for each other, but never deadlock. Names are local to the service.
 */
export function Locks<M extends AnyMessage>(names: LockNames<M>): CustomDecorator {
  return SetMetadata(LOCKS, names);
}

/**
 * Runs a handler without a unit of work, because it calls an outside system: the handler opens short units
 * of its own around each durable step, and every step is idempotent, because after a crash it runs again.
 */
export function OutsideUnitOfWork(): CustomDecorator {
  return SetMetadata(OUTSIDE, true);
}

/**
 * Promises that a handler writes only rows that belong to its message's key (an event's aggregate id, the `key` of a
 * command's contract) and to its `@Locks`, and depends on no other row that a handler of this kind writes. Handlers of
 * one commit group that promise it overlap, which about halves what each costs.
 */
export function Independent(): CustomDecorator {
  return SetMetadata(INDEPENDENT, true);
}

/**
 * Makes a class what runs when a schedule of the module is due (`implements ScheduledTask`): once for each tick,
 * whatever the number of replicas, in a unit of work, or `@OutsideUnitOfWork()` for what takes longer than one may.
 */
export function Schedule(name: string): CustomDecorator {
  return SetMetadata(SCHEDULE, name);
}

export function scheduleOf(task: object): string | undefined {
  return Reflect.getMetadata(SCHEDULE, task) as string | undefined;
}

export function reactionOf(handler: object): string | undefined {
  return Reflect.getMetadata(REACTION, handler) as string | undefined;
}

export function locksOf(handler: object): LockNames | undefined {
  return Reflect.getMetadata(LOCKS, handler) as LockNames | undefined;
}

export function runsOutsideUnitOfWork(handler: object): boolean {
  return Reflect.getMetadata(OUTSIDE, handler) === true;
}

export function isIndependent(handler: object): boolean {
  return Reflect.getMetadata(INDEPENDENT, handler) === true;
}
