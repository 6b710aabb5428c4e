import { serviceEnvironment } from './environment.ts';
import { instancesOf, planPorts } from './ports.ts';
import { dataDirAt } from './stack/data-dir.ts';

const services = ['gateway', 'orders'];
const instances = instancesOf(services, new Map([['orders', 2]]));
const source = {
  dir: dataDirAt('/data'),
  ports: planPorts(services, instances, 3000),
  natsUrl: 'nats://127.0.0.1:3022',
  natsUsers: { orders: { user: 'orders', password: 'own' } },
  databases: { orders: 'postgres://orders:secret@127.0.0.1:3032/orders' },
};
const of = (name: string, env: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv => {
  const instance = instances.find((each) => each.name === name);
  if (instance === undefined) throw new Error(`no instance ${name}`);
  return serviceEnvironment(instance, source, env);
};

describe("a service's environment", () => {
  it('has the addresses of the stack and its own port', () => {
    expect(of('orders-2', { FLOTILLA_CACHE_DIR: '/cache' })).toEqual({
      LOG_LEVEL: 'info',
      NATS_URL: 'nats://127.0.0.1:3022',
      NATS_USER: 'orders',
      NATS_PASSWORD: 'own',
      DATABASE_URL: 'postgres://orders:secret@127.0.0.1:3032/orders',
      HOST: '127.0.0.1',
      PORT: '3008',
      NODE_COMPILE_CACHE: '/cache/compile-cache',
      FLOTILLA_CACHE_DIR: '/cache',
    });
  });

  it('passes settings through, but no addresses of other databases and brokers', () => {
    const env = of('orders', {
      LOG_LEVEL: 'debug',
      ORDERS_REVIEW_ABOVE_MINOR: '100',
      OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector',
      DATABASE_URL: 'postgres://elsewhere',
      PAYMENTS_DATABASE_URL: 'postgres://elsewhere',
      ORDERS_DATABASE_URL_FILE: '/run/secret',
      NATS_URL: 'nats://elsewhere',
      NATS_PASSWORD: 'secret',
      PGPASSWORD: 'secret',
      PORT: '80',
    });
    expect(env).toMatchObject({
      LOG_LEVEL: 'debug',
      ORDERS_REVIEW_ABOVE_MINOR: '100',
      OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector',
      PORT: '3002',
    });
    expect(Object.values(env).join()).not.toMatch(/elsewhere|run.secret/);
    expect(env).not.toHaveProperty('PGPASSWORD');
    expect(env).toMatchObject({ NATS_USER: 'orders', NATS_PASSWORD: 'own' });
  });

  it('lets the gateway issue tokens, unless there is an issuer', () => {
    expect(of('gateway')).toMatchObject({
      AUTH_EMBEDDED_ISSUER: 'true',
      AUTH_SIGNING_KEY_FILE: '/data/gateway-signing-key.json',
    });
    expect(of('gateway')).not.toHaveProperty('DATABASE_URL');
    expect(of('gateway', { AUTH_JWKS_URL: 'https://issuer/keys' })).not.toHaveProperty(
      'AUTH_EMBEDDED_ISSUER',
    );
  });
});
