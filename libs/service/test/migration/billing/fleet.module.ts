import { defineService } from '@flotilla/contracts-protocol';
import { defineConfig, FlotillaModule } from '../../../src/index.ts';
import { Module } from '@nestjs/common';
import { BillingController } from './billing.controller.ts';
import { GetInvoice } from './get-invoice.ts';
import { InvoicesController } from './invoices.controller.ts';

const billingService = defineService({
  name: 'billing',
  database: false,
  patterns: { answers: [{ cmd: 'invoice' }, GetInvoice], reacts: ['order.created'] },
});

@Module({
  imports: [FlotillaModule.forService({ manifest: billingService })],
  controllers: [BillingController, InvoicesController],
})
export class BillingFleetModule {}

export class BillingConfig extends defineConfig({}) {}
