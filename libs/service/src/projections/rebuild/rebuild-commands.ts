import { InvalidMessageError, parseWith } from '@flotilla/contracts-protocol';
import { errorMessage, newId } from '@flotilla/kernel';
import type { Broker, IncomingMessage, OutgoingReply, Stoppable } from '@flotilla/messaging';
import { Logger } from '@nestjs/common';
import { SpanKind } from '@opentelemetry/api';
import { z } from 'zod';
import type { Handling } from '../../inbound/handling.ts';
import type { OutgoingMessages } from '../../outgoing.ts';
import type { Rebuild } from './rebuild-state.ts';
import type { Rebuilds } from './rebuilds.ts';

/** Where a service takes operators' commands for its projections. */
export function projectionsSubject(service: string): string {
  return `ops.${service}.projections`;
}

const request = z.object({
  action: z.enum(['rebuild', 'status', 'abort']),
  /** None: all. */
  projections: z.array(z.string()).default([]),
  options: z
    .object({
      dryRun: z.boolean().default(false),
      accept: z.enum(['none', 'changes', 'all']).default('none'),
      keepOld: z.boolean().default(false),
    })
    .prefault({}),
  /** So many differences are told of each projection. */
  differences: z.int().min(0).max(500).default(0),
});

/** What operators may do to a service's projections. */
export class RebuildCommands {
  readonly #logger = new Logger(RebuildCommands.name);
  readonly #service: string;
  readonly #broker: Broker;
  readonly #rebuilds: Rebuilds;
  readonly #outgoing: OutgoingMessages;
  readonly #handling: Handling;

  constructor(
    service: string,
    broker: Broker,
    rebuilds: Rebuilds,
    outgoing: OutgoingMessages,
    handling: Handling,
  ) {
    this.#service = service;
    this.#broker = broker;
    this.#rebuilds = rebuilds;
    this.#outgoing = outgoing;
    this.#handling = handling;
  }

  start(): Promise<Stoppable> {
    const options = { queue: this.#service, maxInFlight: 4 };
    return this.#broker.serve(projectionsSubject(this.#service), options, (message) => this.#answer(message));
  }

  async #answer(message: IncomingMessage): Promise<OutgoingReply> {
    try {
      const rebuilds = await this.#handling.run(
        message,
        { handler: 'operators', kind: SpanKind.SERVER },
        () => this.#carryOut(message),
      );
      return this.#outgoing.reply(message.envelope, newId(), 'ok', { rebuilds });
    } catch (error) {
      this.#logger.warn({ msg: `A command of an operator failed: ${errorMessage(error)}`, err: error });
      return this.#outgoing.failedReply(message.envelope, newId(), error);
    }
  }

  async #carryOut(message: IncomingMessage): Promise<Rebuild[]> {
    const { action, projections, options, differences } = parseWith(
      request,
      message.json(),
      (problems) => new InvalidMessageError(projectionsSubject(this.#service), problems),
    );
    if (action !== 'status') {
      const views = projections.length === 0 ? 'all views' : projections.join(', ');
      this.#logger.log({
        msg: `An operator's ${action} of ${views}`,
        options,
        source: message.envelope.source,
      });
    }
    const rebuilds = await (action === 'rebuild'
      ? this.#rebuilds.start(projections, options)
      : action === 'abort'
        ? this.#rebuilds.abort(projections)
        : this.#rebuilds.list());
    return rebuilds.map((rebuild) => ({
      ...rebuild,
      report: rebuild.report && {
        ...rebuild.report,
        differences: rebuild.report.differences.slice(0, differences),
      },
    }));
  }
}
