import { GetProducts } from '@flotilla/contracts-catalog';
import { PlaceOrder } from '@flotilla/contracts-orders';
import type { PayloadOf, ReplyOf } from '@flotilla/contracts-protocol';
import { deterministicId, FlotillaError, type Clock } from '@flotilla/kernel';
import { CLOCK, wasReplayed, withMessageId } from '@flotilla/service';
import { Inject, Injectable } from '@nestjs/common';
import { CommandBus, QueryBus } from '@nestjs/cqrs';

/** The pauses before each further attempt: how long the orders service's copy of the catalogue may lag. */
const COPY_LAG_PAUSES_MS = [50, 100, 200, 400, 800];

/** Places orders, also for products that were defined a moment ago. */
@Injectable()
export class Placement {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  /**
   * Places the order. The orders service may not have heard of a new product yet, and remembers that refusal: as
   * long as the catalogue knows all products, it is tried again, each time under an id that follows from the first.
   * A repeated request finds the answers of its attempts in the same order, so it ends where the first one did.
   */
  async place(payload: PayloadOf<PlaceOrder>, commandId: string): Promise<ReplyOf<PlaceOrder>> {
    let id = commandId;
    for (const [attempt, pauseMs] of COPY_LAG_PAUSES_MS.entries()) {
      try {
        return await this.commands.execute(withMessageId(new PlaceOrder(payload), id));
      } catch (error) {
        if (!PlaceOrder.isFailure(error, 'UnknownProduct')) throw error;
        if (!wasReplayed(error)) {
          if (!(await this.#catalogueKnows(error.data.skus))) throw error;
          await this.clock.sleep(pauseMs);
        }
      }
      id = deterministicId(commandId, 'again', attempt + 1);
    }
    return this.commands.execute(withMessageId(new PlaceOrder(payload), id));
  }

  async #catalogueKnows(skus: readonly string[]): Promise<boolean> {
    try {
      const { products } = await this.queries.execute(new GetProducts({ skus: [...skus] }));
      return products.length === skus.length;
    } catch (error) {
      // Without the catalogue, what the orders service knows decides.
      if (error instanceof FlotillaError && error.retry === 'later') return false;
      throw error;
    }
  }
}
