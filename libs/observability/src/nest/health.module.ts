import { Inject, Module, type DynamicModule, type OnModuleDestroy, type OnModuleInit } from '@nestjs/common';
import { TerminusModule } from '@nestjs/terminus';
import { EventLoopLag } from '../health.ts';
import { HEALTH_OPTIONS, HealthController } from './health.controller.ts';
import { resolveHealthOptions, type HealthOptionsInput } from './health.options.ts';

/**
 * `GET /health/live`, `/health/ready` and `/metrics`. With a global prefix, exclude them:
 * `app.setGlobalPrefix('v1', { exclude: ['health/*path', 'metrics'] })`.
 */
@Module({})
export class HealthModule implements OnModuleInit, OnModuleDestroy {
  constructor(@Inject(EventLoopLag) private readonly lag: EventLoopLag) {}

  /** Throws InvalidHealthOptionsError if an option makes no sense. */
  static forRoot(input: HealthOptionsInput): DynamicModule {
    const options = resolveHealthOptions(input);
    return {
      module: HealthModule,
      // The controller says what changed; terminus would log every failing probe.
      imports: [TerminusModule.forRoot({ logger: false })],
      controllers: [HealthController],
      providers: [
        { provide: HEALTH_OPTIONS, useValue: options },
        { provide: EventLoopLag, useFactory: () => new EventLoopLag() },
      ],
    };
  }

  onModuleInit(): void {
    this.lag.start();
  }

  onModuleDestroy(): void {
    this.lag.stop();
  }
}
