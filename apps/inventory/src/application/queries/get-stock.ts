import { GetStock } from '@flotilla/contracts-inventory';
import type { ReplyOf } from '@flotilla/contracts-protocol';
import { QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { Warehouse } from '../../persistence/warehouse.ts';

/** Where the pieces of one SKU are, or `SkuNotFound` when none ever came in. */
@QueryHandler(GetStock)
export class GetStockHandler implements IQueryHandler<GetStock> {
  constructor(private readonly warehouse: Warehouse) {}

  async execute({ payload: { sku } }: GetStock): Promise<ReplyOf<GetStock>> {
    const levels = await this.warehouse.levelsOf(sku);
    if (!levels) throw GetStock.failure('SkuNotFound', { sku });
    return levels;
  }
}
