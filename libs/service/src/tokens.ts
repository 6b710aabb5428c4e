/** The {@link Clock} of the service: `@Inject(CLOCK) private readonly clock: Clock`. */
export const CLOCK = Symbol('CLOCK');

/** The {@link Broker} of the service, for live hints (`watch`); what must not be lost goes through the buses. */
export const BROKER = Symbol('BROKER');

/** The chassis' own settings, whatever the service's configuration class. */
export const CHASSIS_CONFIG = Symbol('CHASSIS_CONFIG');
