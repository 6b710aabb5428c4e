import { GetProduct, ListProducts } from '@flotilla/contracts-catalog';
import type { Clock } from '@flotilla/kernel';
import { callPolicy, CLOCK, FlotillaModule } from '@flotilla/service';
import { Module } from '@nestjs/common';
import { APP_FILTER, APP_GUARD, APP_INTERCEPTOR } from '@nestjs/core';
import { AuthGuard } from './auth/auth.guard.ts';
import { Authentication } from './auth/authentication.ts';
import { EmbeddedIssuer } from './auth/embedded-issuer.ts';
import { TokenVerifier } from './auth/token-verifier.ts';
import { GatewayConfig } from './gateway.config.ts';
import { gatewayService } from './gateway.service.ts';
import { DeadlineInterceptor, ReplayedInterceptor } from './http/answer.interceptors.ts';
import { AuthController } from './http/auth.controller.ts';
import { CatalogController } from './http/catalog.controller.ts';
import { configureHttp } from './http/configure-http.ts';
import { httpServer } from './http/http-server.ts';
import { OrderEventsController } from './http/order-events.controller.ts';
import { OrdersController } from './http/orders.controller.ts';
import { Placement } from './http/placement.ts';
import { ProblemFilter } from './http/problem.filter.ts';
import { ReturnsController } from './http/returns.controller.ts';
import { StockController } from './http/stock.controller.ts';
import { TrackedOrders } from './http/tracked-orders.ts';

/** How long the catalogue is shown as it was when it does not answer; orders are priced by their own service. */
const CATALOGUE_STALE_MS = 5 * 60_000;
/** Who looks at products shall not wait long for what the gateway could show from memory. */
const CATALOGUE_PATIENCE = { attempts: 2, attemptTimeoutMs: 1_000 };

@Module({
  imports: [
    FlotillaModule.forService({
      manifest: gatewayService,
      httpServer,
      http: configureHttp,
      callPolicies: [
        callPolicy(GetProduct, {
          ...CATALOGUE_PATIENCE,
          fallback: { lastAnswersMs: CATALOGUE_STALE_MS, maxEntries: 5_000 },
        }),
        callPolicy(ListProducts, {
          ...CATALOGUE_PATIENCE,
          fallback: { lastAnswersMs: CATALOGUE_STALE_MS, maxEntries: 500 },
        }),
      ],
    }),
  ],
  controllers: [
    OrdersController,
    OrderEventsController,
    ReturnsController,
    CatalogController,
    StockController,
    AuthController,
  ],
  providers: [
    {
      provide: EmbeddedIssuer,
      useFactory: (config: GatewayConfig, clock: Clock) => EmbeddedIssuer.fromConfig(config, clock),
      inject: [GatewayConfig, CLOCK],
    },
    {
      provide: TokenVerifier,
      useFactory: (config: GatewayConfig, issuer: EmbeddedIssuer | undefined, clock: Clock) =>
        new TokenVerifier(config, issuer, clock),
      inject: [GatewayConfig, EmbeddedIssuer, CLOCK],
    },
    Authentication,
    Placement,
    TrackedOrders,
    { provide: APP_GUARD, useClass: AuthGuard },
    { provide: APP_INTERCEPTOR, useClass: DeadlineInterceptor },
    { provide: APP_INTERCEPTOR, useClass: ReplayedInterceptor },
    { provide: APP_FILTER, useClass: ProblemFilter },
  ],
})
export class GatewayModule {}
