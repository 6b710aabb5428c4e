import { defineConfig, setting } from '@flotilla/service/config';
import { z } from 'zod';

const milliseconds = z.coerce.number().int().positive();

/** The settings of the payments service. */
export class PaymentsConfig extends defineConfig({
  providerTimeoutMs: setting({
    env: 'PAYMENTS_PROVIDER_TIMEOUT_MS',
    schema: milliseconds,
    default: 2_000,
    doc: 'how long one call to the payment provider may take, milliseconds; less gives customers of a slow provider up, more keeps them waiting',
  }),
  providerAttempts: setting({
    env: 'PAYMENTS_PROVIDER_ATTEMPTS',
    schema: z.coerce.number().int().min(1).max(10),
    default: 3,
    doc: 'how often the provider is asked before an authorisation is cancelled and declined, and before other steps are left to the redelivery',
  }),
  providerRetryMs: setting({
    env: 'PAYMENTS_PROVIDER_RETRY_MS',
    schema: milliseconds,
    default: 50,
    doc: 'the pause before the provider is asked a second time, milliseconds; it doubles from there',
  }),
  providerBreakerCalls: setting({
    env: 'PAYMENTS_PROVIDER_BREAKER_CALLS',
    schema: z.coerce.number().int().min(1).max(100_000),
    default: 50,
    doc: 'the circuit breaker opens when more than half of this many latest calls to the provider failed; more calls a broken provider for longer, fewer gives a healthy one up sooner',
  }),
  reconciliationCron: setting({
    env: 'PAYMENTS_RECONCILIATION_CRON',
    schema: z.string().min(1),
    default: '0 3 * * *',
    doc: 'when our books are compared with the payment provider’s, a cron expression in UTC; all payments are read each time',
  }),
}) {}
