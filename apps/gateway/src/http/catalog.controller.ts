import { DefineProduct, GetProduct, ListProducts, type ProductView } from '@flotilla/contracts-catalog';
import { formatMoney } from '@flotilla/contracts-money';
import { isFallback } from '@flotilla/service';
import { Controller, Req, Res } from '@nestjs/common';
import { CommandBus, QueryBus } from '@nestjs/cqrs';
import type { FastifyReply, FastifyRequest } from 'fastify';
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
  async list(@Req() request: FastifyRequest, @Res({ passthrough: true }) reply: FastifyReply) {
    const page = await this.queries.execute(
      new ListProducts(read('query', routes.listProducts.query, request.query)),
    );
    tellIfStale(page, reply);
    return { ...page, products: page.products.map(toProduct) };
  }

  @Serves(routes.getProduct)
  async get(@Req() request: FastifyRequest, @Res({ passthrough: true }) reply: FastifyReply) {
    const { sku } = read('path', routes.getProduct.params, request.params);
    const product = await this.queries.execute(new GetProduct({ sku }));
    tellIfStale(product, reply);
    return toProduct(product);
  }

  @Serves(routes.defineProduct)
  async define(@Req() request: FastifyRequest) {
    const { sku } = read('path', routes.defineProduct.params, request.params);
    const content = read('body', routes.defineProduct.body, request.body);
    return this.commands.execute(new DefineProduct({ sku, ...content }));
  }
}

/** The catalogue is away, and this is how it looked a while ago. */
function tellIfStale(answer: unknown, reply: FastifyReply): void {
  if (isFallback(answer)) void reply.header('warning', '110 - "Response is Stale"');
}

function toProduct({ price, ...product }: ProductView) {
  return { ...product, price: formatMoney(price) };
}
