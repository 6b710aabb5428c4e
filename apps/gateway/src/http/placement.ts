import { GetProducts } from '@flotilla/contracts-catalog';
import { PlaceOrder } from '@flotilla/contracts-orders';
import type { PayloadOf, ReplyOf } from '@flotilla/contracts-protocol';
import { deterministicId, FlotillaError, type Clock } from '@flotilla/kernel';
import { CLOCK, wasReplayed, withMessageId } from '@flotilla/service';
import { Inject, Injectable } from '@nestjs/common';
import { CommandBus, QueryBus } from '@nestjs/cqrs';
import { HttpProblem } from './problem.ts';

/** The pauses before each further attempt: how long the orders service's copy of the catalogue may lag. */
const COPY_LAG_PAUSES_MS = [50, 100, 200, 400, 800];

/** However often a request is repeated, it walks through no more remembered refusals than this. */
const MAX_ATTEMPTS = 1_000;

/** Places orders, also for products that were defined a moment ago. */
@Injectable()
export class Placement {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  /**
   * Places the order. The orders service may not have heard of a new product yet, and remembers that refusal: unless
   * the catalogue says that there is no such product, it is tried again, each time under an id that follows from the
   * first. A repeated request finds the answers of the earlier attempts in the same order and goes on behind them, so
   * that a refusal which time mends is not final.
   */
  async place(payload: PayloadOf<PlaceOrder>, commandId: string): Promise<ReplyOf<PlaceOrder>> {
    const pauses = COPY_LAG_PAUSES_MS.values();
    let denied: boolean | undefined;
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const id = attempt === 0 ? commandId : deterministicId(commandId, 'again', attempt);
      try {
        return await this.commands.execute(withMessageId(new PlaceOrder(payload), id));
      } catch (error) {
        if (!PlaceOrder.isFailure(error, 'UnknownProduct')) throw error;
        // Asked once: products do not go away, so no later attempt can have met one that the catalogue lacks now.
        denied ??= await this.#catalogueDenies(error.data.skus);
        if (denied) throw error;
        if (wasReplayed(error)) continue;
        const { value: pauseMs, done } = pauses.next();
        if (done === true) break;
        await this.clock.sleep(pauseMs);
      }
    }
    throw new HttpProblem(
      503,
      'products-not-known-yet',
      'Some products are so new that orders for them cannot be taken yet; repeat the request with the same Idempotency-Key',
      { headers: { 'retry-after': '1' } },
    );
  }

  async #catalogueDenies(skus: readonly string[]): Promise<boolean> {
    try {
      const { products } = await this.queries.execute(new GetProducts({ skus: [...skus] }));
      return products.length < skus.length;
    } catch (error) {
      // A catalogue that is away denies nothing.
      if (error instanceof FlotillaError && error.retry === 'later') return false;
      throw error;
    }
  }
}
