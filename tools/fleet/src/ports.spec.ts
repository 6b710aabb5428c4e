import { createServer, type AddressInfo } from 'node:net';
import { assertPortsFree, instancesOf, planPorts, portBase } from './ports.ts';

const plan = (services: string[], scale: [string, number][] = [], base = 3000): Record<string, number> =>
  Object.fromEntries(planPorts(services, instancesOf(services, new Map(scale)), base).instances);

describe('ports', () => {
  it('are the documented ones, whatever else runs', () => {
    const { nats, natsMonitoring, operator, postgres } = planPorts([], [], 3000);
    expect([nats, natsMonitoring, operator, postgres]).toEqual([3022, 3023, 3024, 3032]);
    expect(
      plan([
        'gateway',
        'catalog',
        'orders',
        'inventory',
        'payments',
        'shipping',
        'notifications',
        'tracking',
      ]),
    ).toEqual({
      gateway: 3000,
      catalog: 3001,
      orders: 3002,
      inventory: 3003,
      payments: 3004,
      shipping: 3005,
      notifications: 3006,
      tracking: 3007,
    });
    expect(plan(['orders'])).toEqual({ orders: 3002 });
  });

  it('of other services come next, by name, and of more processes after them', () => {
    expect(plan(['zeta', 'fraud', 'orders'], [['orders', 3]])).toEqual({
      zeta: 3009,
      fraud: 3008,
      orders: 3002,
      'orders-2': 3010,
      'orders-3': 3011,
    });
  });

  it('do not depend on which of the services run', () => {
    const all = ['console', 'fraud', 'orders'];
    const only = planPorts(all, instancesOf(['fraud'], new Map()), 3000);
    expect(only.instances.get('fraud')).toBe(3009);
  });

  it('move with the base, and end with the block', () => {
    expect(plan(['orders'], [], 4000)).toEqual({ orders: 4002 });
    expect(() => plan(['orders'], [['orders', 99]])).toThrow(
      /No port is left for orders-\d+.*40 of them, from 3000/,
    );
  });

  it.each(['', '0', '80', '65500', '3000.5', 'high'])(
    'refuse FLOTILLA_PORT_BASE=%s unless it is a base',
    (text) => {
      const read = (): number => portBase({ FLOTILLA_PORT_BASE: text });
      if (text === '') expect(read()).toBe(3000);
      else expect(read).toThrow(/FLOTILLA_PORT_BASE is ".*1024 to 65496/);
    },
  );

  it('that are taken are named, with what wanted them and what to do', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    try {
      await expect(assertPortsFree([{ port, wantedBy: 'orders' }])).rejects.toThrow(
        new RegExp(`${port}, wanted by orders\n.*FLOTILLA_PORT_BASE=4000`),
      );
    } finally {
      server.close();
    }
    await assertPortsFree([{ port, wantedBy: 'orders' }]);
  });
});
