import { DefineProduct, GetProduct, ListProducts, type ProductView } from '@flotilla/contracts-catalog';
import { formatMoney } from '@flotilla/contracts-money';
import { Controller, Req } from '@nestjs/common';
import { CommandBus, QueryBus } from '@nestjs/cqrs';
import type { FastifyRequest } from 'fastify';
import { read } from './read-request.ts';
import { Serves } from './route.ts';
import { routes } from './routes.ts';

@Controller()
export class CatalogController {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
  ) {}

  @Serves(routes.listProducts)
  async list(@Req() request: FastifyRequest) {
    const page = await this.queries.execute(
      new ListProducts(read('query', routes.listProducts.query, request.query)),
    );
    return { ...page, products: page.products.map(toProduct) };
  }

  @Serves(routes.getProduct)
  async get(@Req() request: FastifyRequest) {
    const { sku } = read('path', routes.getProduct.params, request.params);
    return toProduct(await this.queries.execute(new GetProduct({ sku })));
  }

  @Serves(routes.defineProduct)
  async define(@Req() request: FastifyRequest) {
    const { sku } = read('path', routes.defineProduct.params, request.params);
    const content = read('body', routes.defineProduct.body, request.body);
    return this.commands.execute(new DefineProduct({ sku, ...content }));
  }
}

function toProduct({ price, ...product }: ProductView) {
  return { ...product, price: formatMoney(price) };
}
