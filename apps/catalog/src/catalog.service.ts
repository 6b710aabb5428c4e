import {
  DefineProduct,
  GetProduct,
  GetProducts,
  ListProducts,
  ProductDefined,
  ProductPriceChanged,
} from '@flotilla/contracts-catalog';
import { defineService } from '@flotilla/contracts-protocol';

/** What the catalogue says of itself on the wire. */
export const catalogService = defineService({
  name: 'catalog',
  handles: [DefineProduct, GetProduct, GetProducts, ListProducts],
  publishes: [ProductDefined, ProductPriceChanged],
});
