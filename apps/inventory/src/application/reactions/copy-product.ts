import { ProductDefined } from '@flotilla/contracts-catalog';
import { Independent, Reaction } from '@flotilla/service';
import { EventsHandler, type IEventHandler } from '@nestjs/cqrs';
import { Warehouse } from '../../persistence/warehouse.ts';

/** Remembers which products are charges, so that nothing is booked in for them. */
@EventsHandler(ProductDefined)
@Reaction('product-copy')
@Independent()
export class CopyProductHandler implements IEventHandler<ProductDefined> {
  constructor(private readonly warehouse: Warehouse) {}

  async handle({ payload: { sku, kind, version } }: ProductDefined): Promise<void> {
    await this.warehouse.rememberKind(sku, kind, version);
  }
}
