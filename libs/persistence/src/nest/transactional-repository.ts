import type { DataSource, EntityManager, EntityTarget, ObjectLiteral, Repository } from 'typeorm';
import { OutsideUnitOfWorkError } from '../persistence.errors.ts';
import { unitStorage } from '../unit-of-work/active-unit-of-work.ts';

const writes: ReadonlySet<string | symbol> = new Set([
  'save',
  'insert',
  'update',
  'updateAll',
  'upsert',
  'remove',
  'delete',
  'deleteAll',
  'softRemove',
  'softDelete',
  'recover',
  'restore',
  'increment',
  'decrement',
  'clear',
]);

/**
 * A repository that follows the unit of work: inside one it works on the unit's connection; outside it reads, and
 * refuses to write.
 */
export function transactionalRepository<Entity extends ObjectLiteral>(
  dataSource: DataSource,
  entity: EntityTarget<Entity>,
): Repository<Entity> {
  const outside = dataSource.getRepository(entity);
  return following(outside, `${outside.metadata.name} repository`, () =>
    currentManager(dataSource)?.getRepository(entity),
  );
}

/** An entity manager that follows the unit of work; see {@link transactionalRepository}. */
export function transactionalManager(dataSource: DataSource): EntityManager {
  return following(dataSource.manager, 'entity manager', () => currentManager(dataSource));
}

function currentManager(dataSource: DataSource): EntityManager | undefined {
  const context = unitStorage.getStore();
  return context?.owner === dataSource ? context.unit.manager : undefined;
}

function following<T extends object>(outside: T, name: string, inside: () => T | undefined): T {
  return new Proxy(outside, {
    get(_target, property) {
      const unit = inside();
      const target = unit ?? outside;
      const value: unknown = Reflect.get(target, property, target);
      if (typeof value !== 'function') return value;
      if (unit === undefined && writes.has(property)) {
        return () => Promise.reject(new OutsideUnitOfWorkError(`${String(property)}() of the ${name}`));
      }
      return (value as (...all: unknown[]) => unknown).bind(target);
    },
  });
}
