import { OrderReturnRequested, RequestReturn } from '@flotilla/contracts-orders';
import type { ReplyOf } from '@flotilla/contracts-protocol';
import type { Clock } from '@flotilla/kernel';
import { CLOCK, Independent, Sagas } from '@flotilla/service';
import { Inject } from '@nestjs/common';
import { CommandHandler, EventBus, type ICommandHandler } from '@nestjs/cqrs';
import { claimReturn, type Claim } from '../../domain/order-return.ts';
import type { OrderStatus } from '../../domain/order.ts';
import { OrdersRepository } from '../../persistence/orders.repository.ts';
import { ReturnsRepository } from '../../persistence/returns.repository.ts';
import { RETURN, type ReturnSaga } from '../sagas/return.provider.ts';

/** Claims what comes back, stores the return and starts its saga, in one transaction. */
@CommandHandler(RequestReturn)
@Independent()
export class RequestReturnHandler implements ICommandHandler<RequestReturn> {
  constructor(
    private readonly orders: OrdersRepository,
    private readonly returns: ReturnsRepository,
    private readonly sagas: Sagas,
    private readonly events: EventBus,
    @Inject(RETURN) private readonly saga: ReturnSaga,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  async execute({ payload }: RequestReturn): Promise<ReplyOf<RequestReturn>> {
    const { orderId, returnId, reason } = payload;
    const found = await this.returns.lockOrder(orderId);
    if (!found) throw RequestReturn.failure('OrderNotFound', { orderId });
    const { customerId, status, currency } = found.order.state;
    if (status !== 'completed') {
      throw RequestReturn.failure(
        'NotReturnable',
        { reason: 'not_completed', status, lines: [] },
        `The order is ${status}: only what was delivered can be returned`,
      );
    }
    const claim = claimReturn(found.lines, await this.returns.claimedOf(orderId), payload.lines);
    if (claim.outcome === 'refused') throw refusal(claim, status);

    const { refundMinor } = claim;
    const lines = [...claim.lines];
    const requestedAt = new Date(this.clock.now());
    if (!(await this.returns.add(orderId, { returnId, lines, refundMinor, currency, reason, requestedAt }))) {
      throw RequestReturn.failure('ReturnExists', { returnId });
    }
    const order = found.order.noteReturn();
    await this.orders.save(order, requestedAt);
    const refund = { amountMinor: refundMinor, currency };
    this.events.publish(
      new OrderReturnRequested({
        orderId,
        customerId,
        version: order.state.version,
        at: requestedAt.toISOString(),
        returnId,
        lines,
        refund,
        reason,
      }),
    );
    await this.sagas.start(this.saga, returnId, {
      orderId,
      customerId,
      returnId,
      lines,
      refund,
      shipFrom: found.shipTo,
    });
    return { orderId, returnId, status: 'requested' };
  }
}

function refusal(
  { reason, lines }: Extract<Claim, { outcome: 'refused' }>,
  status: OrderStatus,
): ReturnType<typeof RequestReturn.failure> {
  const skus = lines.map(({ sku }) => sku).join(', ');
  const why = {
    unknown_line: `The order has no line of ${skus}`,
    charge_line: `There are no goods behind ${skus}: a charge cannot be returned`,
    exceeds_delivered: `More than was delivered and is not returned or in return already: ${lines
      .map(({ sku, requested, returnable }) => `${sku}: ${returnable} of ${requested}`)
      .join(', ')}`,
  }[reason];
  return RequestReturn.failure('NotReturnable', { reason, status, lines: [...lines] }, why);
}
