/** Every scope, and what it allows. */
export const scopes = {
  'orders:write': 'place, cancel and return own orders',
  'orders:read': 'read own orders',
  'orders:place-for-any': 'place, cancel and return orders for any customer',
  'orders:read-any': "read every customer's orders",
  'orders:agree-price': 'place orders at prices other than the list prices',
  'orders:review': 'decide on orders that await review',
  'catalog:write': 'define products and prices',
  'stock:read': 'read stock levels',
  'stock:write': 'book stock that came in',
} as const;

export type Scope = keyof typeof scopes;

/** What a customer's token carries. */
export const customerScopes: readonly Scope[] = ['orders:write', 'orders:read'];

export function isScope(text: string): text is Scope {
  return Object.hasOwn(scopes, text);
}
