import { SagaHost } from '@flotilla/service/testing';
import type { BulkStatement } from '@flotilla/persistence';
import type { Tampering } from '../world/service-process.ts';
import { unitOfWorkWith } from './persistence-bugs.ts';

type Engine = SagaHost['engine'];

/** The saga engine of the orders service with some of its methods replaced. */
function engineWith(replace: (engine: Engine) => void): Tampering {
  return {
    service: (service, name) => {
      if (name === 'orders') replace(service.get<SagaHost>(SagaHost).engine);
    },
  };
}

const unchecked = new Map<BulkStatement, BulkStatement>();

/** The statement without its conditions on the revision. */
function withoutRevision(statement: BulkStatement): BulkStatement {
  let careless = unchecked.get(statement);
  if (careless === undefined) {
    const text = statement.text
      .replace(/AND saga_instances\.revision = given\.revision - 1/, '')
      .replace(/WHERE saga_instances\.revision = excluded\.revision - 1/, '');
    careless =
      text === statement.text ? statement : { ...statement, name: `${statement.name}_careless`, text };
    unchecked.set(statement, careless);
  }
  return careless;
}

export const versionNotChecked = unitOfWorkWith((inner) => ({
  bulk: <R>(statement: BulkStatement, row: readonly unknown[]): Promise<R[]> =>
    inner.bulk<R>(withoutRevision(statement), row),
}));

export const timersInMemory = engineWith((engine) => {
  const known = new Set<number>();
  engine.onTimerSet((dueAt) => known.add(dueAt));
  const nextTimers = engine.nextTimers.bind(engine);
  engine.nextTimers = async (limit) => (await nextTimers(limit)).filter(({ dueAt }) => known.has(dueAt));
});

export const repliesNotCorrelated = engineWith((engine) => {
  const handleReply = engine.handleReply.bind(engine);
  engine.handleReply = async (reply) => {
    const colon = reply.sagaId.indexOf(':');
    const instance = await engine.show(reply.sagaId.slice(0, colon), reply.sagaId.slice(colon + 1));
    return handleReply({ ...reply, commandId: instance?.commandId ?? reply.commandId });
  };
});
