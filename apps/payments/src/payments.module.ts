import { FlotillaModule } from '@flotilla/service';
import { Module } from '@nestjs/common';
import { AuthorisePaymentHandler } from './application/commands/authorise-payment.ts';
import { CapturePaymentHandler } from './application/commands/capture-payment.ts';
import { RefundPaymentHandler } from './application/commands/refund-payment.ts';
import { VoidPaymentHandler } from './application/commands/void-payment.ts';
import { InFlightSettlement } from './application/in-flight-settlement.ts';
import { NightlyReconciliation } from './application/nightly-reconciliation.ts';
import { GetPaymentHandler } from './application/queries/get-payment.ts';
import type { PaymentsConfig } from './payments.config.ts';
import { paymentsService } from './payments.service.ts';
import { BookDifferences } from './persistence/book-differences.ts';
import { paymentsMigrations } from './persistence/migrations/index.ts';
import { Payments } from './persistence/payments.ts';
import { PaymentProvider } from './provider/payment-provider.ts';
import { ProviderClient } from './provider/provider-client.ts';
import { ProviderStatement } from './provider/provider-statement.ts';
import { SandboxProvider } from './provider/sandbox/sandbox-provider.ts';

@Module({
  imports: [
    FlotillaModule.forService({
      manifest: paymentsService,
      entities: [],
      migrations: paymentsMigrations,
      schedules: {
        'nightly-reconciliation': {
          cron: (config: PaymentsConfig) => config.reconciliationCron,
          catchUp: 'latest',
        },
      },
    }),
  ],
  providers: [
    AuthorisePaymentHandler,
    CapturePaymentHandler,
    VoidPaymentHandler,
    RefundPaymentHandler,
    GetPaymentHandler,
    InFlightSettlement,
    Payments,
    ProviderClient,
    NightlyReconciliation,
    BookDifferences,
    SandboxProvider,
    { provide: PaymentProvider, useExisting: SandboxProvider },
    { provide: ProviderStatement, useExisting: SandboxProvider },
  ],
})
export class PaymentsModule {}
