import { Controller, Get, Header, Inject, Res, ServiceUnavailableException } from '@nestjs/common';
import {
  HealthCheckService,
  HealthIndicatorService,
  type HealthCheckResult,
  type HealthIndicatorFunction,
  type HealthIndicatorResult,
} from '@nestjs/terminus';
import { EventLoopLag, type HealthIndicator } from '../health.ts';
import type { HealthOptions } from './health.options.ts';

export const HEALTH_OPTIONS = Symbol('flotilla health options');

/** What both of Nest's HTTP adapters offer for setting a status without giving up Nest's handling of the body. */
interface StatusReply {
  status(code: number): unknown;
}

/** Probes and metrics. Answers itself with 503, so that a service's exception filters never reshape a probe. */
@Controller()
export class HealthController {
  #wasReady: boolean | undefined;

  constructor(
    @Inject(HEALTH_OPTIONS) private readonly options: HealthOptions,
    private readonly terminus: HealthCheckService,
    private readonly indicators: HealthIndicatorService,
    private readonly lag: EventLoopLag,
  ) {}

  /** Whether the process still turns; depends on nothing outside it, so that a lost database restarts nobody. */
  @Get('health/live')
  @Header('cache-control', 'no-store')
  async live(@Res({ passthrough: true }) reply: StatusReply): Promise<HealthCheckResult> {
    const { lagMs } = this.lag;
    const { maxLagMs } = this.options;
    const session = this.indicators.check('event-loop');
    const data = { lagMs: Math.round(lagMs), maxLagMs };
    return this.#answer(reply, [() => (lagMs > maxLagMs ? session.down(data) : session.up(data))]);
  }

  /** Whether to send work here: every indicator is up and the process is not draining. */
  @Get('health/ready')
  @Header('cache-control', 'no-store')
  async ready(@Res({ passthrough: true }) reply: StatusReply): Promise<HealthCheckResult> {
    const { draining } = this.options.health;
    const accepting = this.indicators.check('accepting');
    const result = await this.#answer(reply, [
      () => (draining === undefined ? accepting.up() : accepting.down(`draining: ${draining}`)),
      ...this.options.health.indicators().map((indicator) => () => this.#run(indicator)),
    ]);
    this.#logChange(result);
    return result;
  }

  @Get('metrics')
  async metrics(
    @Res({ passthrough: true }) reply: { header(name: string, value: string): unknown },
  ): Promise<string> {
    const { metrics } = this.options;
    const page = await metrics.scrape();
    reply.header('content-type', metrics.contentType);
    return page;
  }

  async #run(indicator: HealthIndicator): Promise<HealthIndicatorResult> {
    const session = this.indicators.check(indicator.name);
    const result: HealthIndicatorResult = await session
      .attempt(async ({ signal }) => detailsOf(await indicator.check(signal)))
      .withTimeout(indicator.timeoutMs ?? 2_000)
      .cacheFor(this.options.cacheMs);
    const reading = result[indicator.name];
    if (indicator.impact !== 'degraded' || reading?.status !== 'down') return result;
    const { status: _down, ...data } = reading;
    return session.degraded(data);
  }

  async #answer(reply: StatusReply, checks: HealthIndicatorFunction[]): Promise<HealthCheckResult> {
    try {
      return await this.terminus.check(checks);
    } catch (error) {
      if (!(error instanceof ServiceUnavailableException)) throw error;
      reply.status(error.getStatus());
      return error.getResponse() as HealthCheckResult;
    }
  }

  /** A line per change: one per probe would bury the reason. */
  #logChange(result: HealthCheckResult): void {
    const isReady = result.status === 'ok' || result.status === 'degraded';
    if (isReady === this.#wasReady) return;
    const first = this.#wasReady === undefined;
    this.#wasReady = isReady;
    if (!isReady) {
      this.options.logger?.warn(
        { health: result.error },
        `Not ready: ${Object.keys(result.error ?? {}).join(', ')}`,
      );
    } else if (!first) this.options.logger?.info('Ready again');
  }
}

function detailsOf(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined;
}
