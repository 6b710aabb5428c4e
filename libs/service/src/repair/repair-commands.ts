import { InvalidMessageError, parseWith } from '@flotilla/contracts-protocol';
import { errorCode, errorMessage, newId } from '@flotilla/kernel';
import type { Broker, IncomingMessage, OutgoingReply, Stoppable } from '@flotilla/messaging';
import type { UnitOfWork } from '@flotilla/persistence';
import { Logger } from '@nestjs/common';
import { SpanKind } from '@opentelemetry/api';
import { z } from 'zod';
import type { Handling } from '../inbound/handling.ts';
import type { OutgoingMessages } from '../outgoing.ts';
import type { SagaHost } from '../sagas/saga-host.ts';
import type { OutboxRepair, RunQuery } from './outbox-repair.ts';
import { logRepairs, type Repaired } from './repair-log.ts';
import type { ExaminedView, ViewRepair } from './view-repair.ts';

/** Where a service takes operators' requests to repair what has come apart. */
export function repairSubject(service: string): string {
  return `ops.${service}.repair`;
}

const operator = z.string().min(1).max(100);
const positions = z
  .array(z.string().regex(/^\d{1,19}$/))
  .min(1)
  .max(500);
const aggregates = z.array(z.string().min(1).max(200)).min(1).max(100);
const request = z.discriminatedUnion('action', [
  /** Messages of the outbox that are not in their stream. */
  z.object({ action: z.literal('republish'), operator, positions }),
  /** Messages of the outbox that a consumer has acknowledged and not handled. */
  z.object({ action: z.literal('redeliver'), operator, positions, consumer: z.string().min(1).max(100) }),
  /** A saga whose timer is overdue. */
  z.object({ action: z.literal('fire'), operator, saga: z.string().min(1), id: z.string().min(1) }),
  /** Compares views with the events; changes nothing. */
  z.object({ action: z.literal('examine'), aggregates }),
  z.object({ action: z.literal('mend'), operator, aggregates }),
]);
type RepairRequest = z.output<typeof request>;

/** What an operator is answered. */
export type RepairAnswer =
  { readonly repaired: readonly Repaired[] } | { readonly examined: readonly ExaminedView[] };

export interface RepairParts {
  readonly service: string;
  readonly broker: Broker;
  readonly unitOfWork: UnitOfWork;
  readonly outbox: OutboxRepair;
  readonly sagas: SagaHost;
  /** Absent in a service without projections. */
  readonly views: ViewRepair | undefined;
  readonly outgoing: OutgoingMessages;
  readonly handling: Handling;
}

/** Repairs what has come apart, in the service that owns it. Each repair looks again before it acts, and is noted. */
export class RepairCommands {
  readonly #parts: RepairParts;
  readonly #logger = new Logger(RepairCommands.name);

  constructor(parts: RepairParts) {
    this.#parts = parts;
  }

  start(): Promise<Stoppable> {
    const { service, broker } = this.#parts;
    return broker.serve(repairSubject(service), { queue: service, maxInFlight: 2 }, (message) =>
      this.#answer(message),
    );
  }

  async #answer(message: IncomingMessage): Promise<OutgoingReply> {
    const { handling, outgoing } = this.#parts;
    try {
      const answer = await handling.run(message, { handler: 'operators', kind: SpanKind.SERVER }, () =>
        this.#carryOut(message),
      );
      return outgoing.reply(message.envelope, newId(), 'ok', answer);
    } catch (error) {
      this.#logger.warn({ msg: `A repair failed: ${errorMessage(error)}`, err: error });
      return outgoing.failedReply(message.envelope, newId(), error);
    }
  }

  async #carryOut(message: IncomingMessage): Promise<RepairAnswer> {
    const { service, views } = this.#parts;
    const asked = parseWith(
      request,
      message.json(),
      (problems) => new InvalidMessageError(repairSubject(service), problems),
    );
    if (asked.action === 'examine') return { examined: (await views?.examine(asked.aggregates)) ?? [] };
    const repaired = await this.#repair(asked);
    this.#logger.log({ msg: `An operator's repair: ${asked.action}`, operator: asked.operator, repaired });
    return { repaired };
  }

  #repair(asked: Exclude<RepairRequest, { action: 'examine' }>): Promise<readonly Repaired[]> {
    const { outbox, views } = this.#parts;
    switch (asked.action) {
      case 'republish':
        return this.#inUnit(asked.operator, 'publish again', (query) =>
          outbox.republish(query, asked.positions),
        );
      case 'redeliver':
        return this.#inUnit(asked.operator, 'deliver again', (query) =>
          outbox.redeliver(query, asked.positions, asked.consumer),
        );
      case 'fire':
        return this.#fire(asked.operator, asked.saga, asked.id);
      case 'mend':
        return views?.mend(asked.aggregates, asked.operator) ?? Promise.resolve([]);
    }
  }

  #inUnit(
    by: string,
    action: string,
    work: (query: RunQuery) => Promise<Repaired[]>,
    key?: string,
  ): Promise<readonly Repaired[]> {
    const { unitOfWork } = this.#parts;
    const query: RunQuery = (sql, parameters) => unitOfWork.query(sql, parameters);
    return unitOfWork.run(
      async () => {
        const repaired = await work(query);
        await logRepairs(query, by, action, repaired);
        return repaired;
      },
      key === undefined ? {} : { key },
    );
  }

  /** Fires the timer here and now, so that whoever asks is told why it does not fire. */
  async #fire(by: string, saga: string, id: string): Promise<readonly Repaired[]> {
    const about = { about: id, target: `saga ${saga}` };
    try {
      return await this.#inUnit(
        by,
        'fire timer',
        async () => {
          const answer = await this.#parts.sagas.engine.fireTimer({ saga, id });
          return answer.outcome === 'ignored'
            ? [{ ...about, outcome: 'nothing to do', detail: answer.why }]
            : [{ ...about, outcome: 'repaired', detail: 'its timer has fired' }];
        },
        id,
      );
    } catch (error) {
      const detail = `its timer fails: ${errorCode(error)} ${errorMessage(error)}`;
      return this.#inUnit(by, 'fire timer', () =>
        Promise.resolve([{ ...about, outcome: 'refused', detail }]),
      );
    }
  }
}
