import { assertPortFree } from '@flotilla/embedded';
import { errorCode } from '@flotilla/kernel';
import { PortsBusyError, UsageError, type BusyPort } from './fleet.errors.ts';

/** Ports of one fleet lie in a block of this many, from 3000 or `FLOTILLA_PORT_BASE` on. */
export const PORT_RANGE = 40;
const DEFAULT_BASE = 3000;

/** What has a fixed place in the block. Services that are not named take the next free places, by name. */
export const fixedPorts = {
  gateway: 0,
  catalog: 1,
  orders: 2,
  inventory: 3,
  payments: 4,
  shipping: 5,
  notifications: 6,
  tracking: 7,
  nats: 22,
  'nats monitoring': 23,
  operator: 24,
  postgres: 32,
} as const satisfies Readonly<Record<string, number>>;

/** One process of a service: `orders`, `orders-2`, ... */
export interface Instance {
  readonly service: string;
  /** Unique in the fleet. */
  readonly name: string;
}

/** Which port everything listens on. */
export interface PortPlan {
  readonly base: number;
  readonly nats: number;
  readonly natsMonitoring: number;
  readonly postgres: number;
  /** Where the acts of operators are asked for over HTTP. */
  readonly operator: number;
  /** By name of the instance. */
  readonly instances: ReadonlyMap<string, number>;
}

/** The first port of the block, from `FLOTILLA_PORT_BASE`. */
export function portBase(env: NodeJS.ProcessEnv = process.env): number {
  const text = env['FLOTILLA_PORT_BASE'];
  if (text === undefined || text === '') return DEFAULT_BASE;
  const base = Number(text);
  const last = 65_536 - PORT_RANGE;
  if (!Number.isInteger(base) || base < 1024 || base > last) {
    throw new UsageError(`FLOTILLA_PORT_BASE is "${text}"; it must be a whole number from 1024 to ${last}`);
  }
  return base;
}

/** The instances of services: one each, more where `scale` says so. */
export function instancesOf(services: readonly string[], scale: ReadonlyMap<string, number>): Instance[] {
  return services.flatMap((service) =>
    Array.from({ length: scale.get(service) ?? 1 }, (_, at) => ({
      service,
      name: at === 0 ? service : `${service}-${at + 1}`,
    })),
  );
}

/**
 * Gives every instance a port. A service's port does not depend on which others run: it is by all services there
 * are; further instances of a service take places that are left. Throws {@link UsageError} when the block is full.
 */
export function planPorts(
  services: readonly string[],
  instances: readonly Instance[],
  base: number = portBase(),
): PortPlan {
  const taken = new Set<number>(Object.values(fixedPorts));
  const next = (name: string): number => {
    for (let offset = 0; offset < PORT_RANGE; offset++) {
      if (taken.has(offset)) continue;
      taken.add(offset);
      return offset;
    }
    throw new UsageError(`No port is left for ${name}: a fleet has ${PORT_RANGE} of them, from ${base} on`);
  };
  const offsets = new Map<string, number>(Object.entries(fixedPorts));
  for (const service of [...services].sort()) {
    if (!offsets.has(service)) offsets.set(service, next(service));
  }
  const ports = new Map<string, number>();
  for (const { name } of instances) ports.set(name, base + (offsets.get(name) ?? next(name)));
  return {
    base,
    nats: base + fixedPorts.nats,
    natsMonitoring: base + fixedPorts['nats monitoring'],
    postgres: base + fixedPorts.postgres,
    operator: base + fixedPorts.operator,
    instances: ports,
  };
}

/** A port of the block for one more instance. Throws {@link UsageError} when none is left. */
export function freeInstancePort({ base, instances }: PortPlan, used: readonly number[]): number {
  const taken = new Set([
    ...Object.values(fixedPorts).map((offset) => base + offset),
    ...instances.values(),
    ...used,
  ]);
  for (let port = base; port < base + PORT_RANGE; port++) if (!taken.has(port)) return port;
  throw new UsageError(
    `No port is left for another process: a fleet has ${PORT_RANGE} of them, from ${base} on`,
  );
}

/** The ports of NATS and Postgres. */
export function serverPorts({ nats, natsMonitoring, postgres }: PortPlan): BusyPort[] {
  return [
    { port: nats, wantedBy: 'NATS' },
    { port: natsMonitoring, wantedBy: 'NATS monitoring' },
    { port: postgres, wantedBy: 'Postgres' },
  ];
}

/** Throws {@link PortsBusyError} with every port that something listens on already. */
export async function assertPortsFree(wanted: readonly BusyPort[]): Promise<void> {
  const busy: BusyPort[] = [];
  for (const { port, wantedBy } of wanted) {
    try {
      await assertPortFree(port, wantedBy);
    } catch (error) {
      if (errorCode(error) !== 'PORT_BUSY') throw error;
      busy.push({ port, wantedBy });
    }
  }
  if (busy.length > 0) throw new PortsBusyError(busy);
}
