import { AuditTrail } from '@flotilla/messaging';
import type { ConsumersAnswer, ConsumerState } from '@flotilla/service';
import type { NatsConnection } from '@nats-io/nats-core';
import { askEach, OperationFailedError } from './ask-owner.ts';

/** A durable subscription of one process of a service, as that process sees it. */
export interface ObservedConsumer extends ConsumerState {
  readonly service: string;
  /** Tells the processes of a service apart. */
  readonly process: string;
}

/** What can be done about a consumer that has paused itself. */
export type ConsumerAct = 'probe' | 'resume';

export interface ConsumerActRequest {
  readonly service: string;
  /** All of the service, if it is left out. */
  readonly consumer?: string;
  readonly by: string;
  readonly reason?: string;
}

const AREA = 'consumers';

/** The consumers of services, asked of their processes; those of a service that does not run are not there. */
export class Consumers {
  readonly #connection: NatsConnection;

  constructor(connection: NatsConnection) {
    this.#connection = connection;
  }

  async list(services: readonly string[]): Promise<ObservedConsumer[]> {
    const lists = await Promise.all(
      services.map(async (service) => {
        const answers = await this.#ask(service, 'list', {});
        return answers.flatMap(({ process, consumers }) =>
          consumers.map((each): ObservedConsumer => ({ service, process, ...each })),
        );
      }),
    );
    return lists.flat();
  }

  /**
   * Has paused consumers try a message now, or go on with all; returns how many were paused, in all processes. Recorded
   * before it is done. Throws {@link OperationFailedError} when the service does not run or has no such consumer.
   */
  async act(action: ConsumerAct, { service, consumer, by, reason }: ConsumerActRequest): Promise<number> {
    const what = `${action} of ${consumer ?? 'the consumers'}`;
    const before = await this.list([service]);
    if (before.length === 0)
      throw new OperationFailedError(service, what, 'does not run: start it, then try again');
    const concerned = before.filter((each) => consumer === undefined || each.consumer === consumer);
    if (concerned.length === 0) {
      const known = [...new Set(before.map((each) => each.consumer))].join(', ');
      throw new OperationFailedError(service, what, `has no such consumer, only ${known}`);
    }
    await new AuditTrail(this.#connection).record({
      by,
      via: 'cli',
      area: AREA,
      action,
      target: consumer === undefined ? service : `${service}/${consumer}`,
      ...(reason !== undefined && { reason }),
      detail: {
        paused: concerned.flatMap(({ consumer: name, process, paused }) =>
          paused === undefined ? [] : [{ consumer: name, process, ...paused }],
        ),
      },
    });
    const answers = await this.#ask(service, action, { by, ...(consumer !== undefined && { consumer }) });
    return answers.reduce((sum, { probed = 0, resumed = 0 }) => sum + probed + resumed, 0);
  }

  #ask(service: string, action: ConsumerAct | 'list', more: object): Promise<ConsumersAnswer[]> {
    return askEach(this.#connection, {
      subject: `ops.${service}.consumers`,
      type: `ops.consumers.${action}`,
      about: service,
      body: { action, ...more },
    }) as Promise<ConsumersAnswer[]>;
  }
}
