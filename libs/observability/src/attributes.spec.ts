import { httpServerAttributes, messagingAttributes } from './attributes.ts';

const ID = '0199a1b2-c3d4-7e5f-8a6b-7c8d9e0f1a2b';

describe('the attributes of an HTTP span', () => {
  const shown = (path: string, route?: string) =>
    httpServerAttributes({ method: 'GET', scheme: 'http', path, ...(route !== undefined && { route }) })[
      'url.path'
    ];

  it('have the path as far as its pattern says what stands where', () => {
    expect(shown('/v1/orders', '/v1/orders')).toBe('/v1/orders');
    expect(shown(`/v1/orders/${ID}/cancel`, '/v1/orders/:id/cancel')).toBe(`/v1/orders/${ID}/cancel`);
  });

  it('show nothing that callers put into a path beside ids', () => {
    expect(shown('/v1/products/4111111111111111', '/v1/products/:sku')).toBe('/v1/products/:sku');
    expect(shown('/v1/orders/ada@example.org/cancel', '/v1/orders/:id/cancel')).toBe('/v1/orders/:id/cancel');
    expect(shown('/docs/ada@example.org/x', '/docs/*')).toBe('/docs/*');
    expect(shown('/v1/ada@example.org')).toBeUndefined();
  });
});

describe('the attributes of a messaging span', () => {
  const shown = (subject: string) =>
    messagingAttributes({ operation: 'publish', operationType: 'send', subject, type: 't' })[
      'messaging.destination.name'
    ];

  it.each([
    [`evt.orders.OrderPlaced.v1.3.${ID}`, `evt.orders.OrderPlaced.v1.3.${ID}`],
    ['evt.catalog.ProductDefined.v1.3.4111111111111111', 'evt.catalog.ProductDefined.v1.3.*'],
    ['cmd.inventory.ReceiveStock.v1.3.ada=40example=2Eorg', 'cmd.inventory.ReceiveStock.v1.3.*'],
    ['rpc.orders.PlaceOrder.v1', 'rpc.orders.PlaceOrder.v1'],
  ])('name %s as %s', (subject, name) => expect(shown(subject)).toBe(name));
});
