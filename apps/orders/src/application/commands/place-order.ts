import { OrderPlaced, PlaceOrder } from '@flotilla/contracts-orders';
import type { ReplyOf } from '@flotilla/contracts-protocol';
import type { Clock } from '@flotilla/kernel';
import { CLOCK, Independent, Sagas } from '@flotilla/service';
import { Inject } from '@nestjs/common';
import { CommandHandler, EventBus, type ICommandHandler } from '@nestjs/cqrs';
import { Order } from '../../domain/order.ts';
import { priceLines } from '../../domain/pricing.ts';
import { OrdersConfig } from '../../orders.config.ts';
import { OrdersRepository } from '../../persistence/orders.repository.ts';
import { ProductsRepository } from '../../persistence/products.repository.ts';
import { FULFILMENT, type Fulfilment } from '../sagas/fulfilment.provider.ts';

/** Prices the order, stores it and starts its fulfilment, in one transaction. */
@CommandHandler(PlaceOrder)
@Independent()
export class PlaceOrderHandler implements ICommandHandler<PlaceOrder> {
  constructor(
    private readonly orders: OrdersRepository,
    private readonly products: ProductsRepository,
    private readonly sagas: Sagas,
    private readonly events: EventBus,
    private readonly config: OrdersConfig,
    @Inject(FULFILMENT) private readonly fulfilment: Fulfilment,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  async execute({ payload }: PlaceOrder): Promise<ReplyOf<PlaceOrder>> {
    const { orderId, customerId, email, reference, shipTo, paymentToken } = payload;
    const skus = [...new Set(payload.lines.map(({ sku }) => sku))];
    const pricing = priceLines(payload.lines, await this.products.findAll(skus), payload.currency);
    switch (pricing.outcome) {
      case 'unknown-products':
        throw PlaceOrder.failure(
          'UnknownProduct',
          { skus: [...pricing.skus] },
          `Unknown products: ${pricing.skus.join(', ')}`,
        );
      case 'mixed-currencies':
        throw PlaceOrder.failure('MixedCurrencies', { currencies: [...pricing.currencies] });
      case 'total-too-large':
        throw PlaceOrder.failure('TotalTooLarge', {});
      case 'priced':
    }

    const { lines, totalMinor, currency } = pricing;
    const total = { amountMinor: totalMinor, currency };
    const order = Order.place({ orderId, customerId, totalMinor, currency });
    const at = new Date(this.clock.now());
    if (!(await this.orders.add({ order, email, reference, lines, shipTo, at }))) {
      throw PlaceOrder.failure('OrderExists', { orderId });
    }
    this.events.publish(
      new OrderPlaced({
        orderId,
        customerId,
        version: order.state.version,
        at: at.toISOString(),
        email,
        reference,
        lines: [...lines],
        total,
        shipTo,
      }),
    );
    await this.sagas.start(this.fulfilment, orderId, {
      orderId,
      customerId,
      total,
      lineCount: lines.length,
      stocked: lines.filter(({ kind }) => kind === 'stocked').map(({ sku, quantity }) => ({ sku, quantity })),
      largestQuantity: Math.max(...lines.map(({ quantity }) => quantity)),
      paymentToken,
      shipTo,
      reviewAboveMinor: this.config.reviewAboveMinor,
    });
    return { orderId, status: order.state.status, version: order.state.version };
  }
}
