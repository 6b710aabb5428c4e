export { DefineProduct } from './commands.ts';
export { GetProduct, GetProducts, ListProducts } from './queries.ts';
export { ProductDefined, ProductPriceChanged } from './events.ts';
export { productKind, productView, sku, type ProductKind, type ProductView } from './product.ts';
