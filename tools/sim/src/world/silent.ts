import type { MessagingLog } from '@flotilla/messaging';
import type { Logger, Metrics } from '@flotilla/observability';

/** Metrics that count nothing: nobody looks at them in a simulation. */
export const silentMetrics = new Proxy({} as Metrics, {
  get: () => () => undefined,
});

/** A log of the broker that tells the trace. */
export function tracingLog(note: (what: string) => void): MessagingLog {
  const say =
    (level: string) =>
    (fields: object, message: string): void =>
      note(`${level}: ${message} ${JSON.stringify(fields)}`);
  return { info: say('info'), warn: say('warn'), error: say('error') };
}

/** The logger of a service's HTTP side, which the simulation does not have. */
export const noLogger = new Proxy({} as Logger, { get: () => () => undefined });
