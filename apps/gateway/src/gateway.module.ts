import { FlotillaError } from '@flotilla/kernel';
import { FlotillaModule } from '@flotilla/service';
import { Module } from '@nestjs/common';
import { APP_FILTER, APP_GUARD } from '@nestjs/core';
import { AuthGuard } from './auth/auth.guard.ts';
import { EmbeddedIssuer } from './auth/embedded-issuer.ts';
import { TokenVerifier } from './auth/token-verifier.ts';
import { GatewayConfig } from './gateway.config.ts';
import { gatewayService } from './gateway.service.ts';
import { AuthController } from './http/auth.controller.ts';
import { CatalogController } from './http/catalog.controller.ts';
import { configureHttp } from './http/configure-http.ts';
import { OrderEventsController } from './http/order-events.controller.ts';
import { OrdersController } from './http/orders.controller.ts';
import { ProblemFilter } from './http/problem.filter.ts';
import { StockController } from './http/stock.controller.ts';

@Module({
  imports: [FlotillaModule.forService({ manifest: gatewayService, http: configureHttp })],
  controllers: [OrdersController, OrderEventsController, CatalogController, StockController, AuthController],
  providers: [
    { provide: EmbeddedIssuer, useFactory: embeddedIssuer, inject: [GatewayConfig] },
    {
      provide: TokenVerifier,
      useFactory: (config: GatewayConfig, issuer: EmbeddedIssuer | undefined) => new TokenVerifier(config, issuer),
      inject: [GatewayConfig, EmbeddedIssuer],
    },
    { provide: APP_GUARD, useClass: AuthGuard },
    { provide: APP_FILTER, useClass: ProblemFilter },
  ],
})
export class GatewayModule {}

async function embeddedIssuer(config: GatewayConfig): Promise<EmbeddedIssuer | undefined> {
  if (!config.authEmbeddedIssuer) return undefined;
  if (process.env['NODE_ENV'] === 'production') {
    throw new FlotillaError(
      'EMBEDDED_ISSUER_IN_PRODUCTION',
      'AUTH_EMBEDDED_ISSUER gives tokens to anybody and is refused in production: set AUTH_JWKS_URL to a real issuer',
      { retry: 'never' },
    );
  }
  return EmbeddedIssuer.create(config.authIssuer, config.authAudience, config.authSigningKeyFile);
}
