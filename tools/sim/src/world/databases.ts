import { SimulatedPostgres, type SimulatedPostgresHooks } from '@flotilla/testing/simulated-postgres';

/** Where the modules of `pg` find the simulated one; see process/pg.mjs. */
const DRIVER = Symbol.for('flotilla.simulated-pg');

/** What is asked at each point where the simulated database could go on or break. */
export type StepPoint = Parameters<SimulatedPostgresHooks['step']>[0];

/** Wall time while templates are made: the time at which every simulation begins. */
export const TEMPLATE_TIME = new Date(Date.UTC(2030, 0, 1));

/** The simulated Postgres of this Node process: migrated once, copied for each simulation. */
export class Databases {
  readonly postgres: SimulatedPostgres;
  #hooks: SimulatedPostgresHooks | undefined;

  /** `observe` is told what each connection does, from the first migration on. */
  constructor(observe?: SimulatedPostgresHooks['observe']) {
    this.postgres = new SimulatedPostgres({
      observe,
      step: (point) => this.#hooks?.step(point) ?? Promise.resolve(),
      now: () => this.#hooks?.now() ?? TEMPLATE_TIME,
      random: () => this.#hooks?.random() ?? 0.5,
      after: (ms, action) => this.#hooks?.after?.(ms, action) ?? (() => undefined),
    });
    Object.assign(globalThis, { [DRIVER]: this.postgres.driver });
  }

  /** From now on the database belongs to this world; undefined: to none, nothing breaks and nothing takes time. */
  serve(hooks: SimulatedPostgresHooks | undefined): void {
    this.#hooks = hooks;
  }
}

/** The address of a service's database, as a process is configured with it. */
export function databaseUrl(database: string): string {
  return `postgres://flotilla@simulated/${database}`;
}
