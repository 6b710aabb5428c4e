import { patternRoute, type Pattern } from '@flotilla/contracts-protocol';
import type { Stoppable } from '@flotilla/messaging';
import { FlotillaServer } from '@flotilla/messaging/nest';
import type { INestApplication } from '@nestjs/common';
import { ManifestMismatchError } from '../service.errors.ts';
import type { ServiceParts } from '../service-parts.ts';
import { killSwitchOf } from './kill-switch.ts';
import { isOutage } from './outages.ts';

/**
 * Connects the `@MessagePattern` and `@EventPattern` handlers of the service's controllers to its broker; they are
 * checked against the manifest's `patterns`, and run when the result is called. They run outside a unit of work, at
 * least once for each event.
 */
export function connectControllers(
  { spec, config, broker, clock, metrics }: ServiceParts,
  app: INestApplication,
): () => Promise<readonly Stoppable[]> {
  const { name: service, patterns } = spec.manifest;
  const server = new FlotillaServer({
    service,
    broker,
    clock,
    metrics,
    maxInFlight: config.maxInFlight,
    maxAttempts: config.maxAttempts,
    backoff: { initialMs: config.retryInitialMs, maxMs: config.retryMaxMs },
    drainMs: config.drainMs,
    isOutage,
    killSwitch: killSwitchOf(config),
  });
  app.connectMicroservice({ strategy: server }, { inheritAppConfig: true });
  const problems = [
    ...differences('answers', '@MessagePattern', patterns.answers, server.patterns.answers),
    ...differences('reacts', '@EventPattern', patterns.reacts, server.patterns.reacts),
  ];
  if (problems.length > 0) throw new ManifestMismatchError(service, problems);
  return async () => {
    if (patterns.answers.length + patterns.reacts.length === 0) return [];
    await app.startAllMicroservices();
    return [{ stop: (options) => server.close(options) }];
  };
}

function differences(
  list: string,
  decorator: string,
  listed: readonly Pattern[],
  handled: readonly string[],
): string[] {
  const routes = listed.map(patternRoute);
  return [
    ...routes
      .filter((route) => !handled.includes(route))
      .map((route) => `patterns.${list} lists ${route}, which no ${decorator} handler takes`),
    ...handled
      .filter((route) => !routes.includes(route))
      .map((route) => `${route} has a ${decorator} handler but is not listed in patterns.${list}`),
  ];
}
