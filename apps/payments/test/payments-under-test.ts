import {
  AuthorisePayment,
  CapturePayment,
  GetPayment,
  RefundPayment,
  VoidPayment,
} from '@flotilla/contracts-payments';
import type { ReplyOf } from '@flotilla/contracts-protocol';
import { newId } from '@flotilla/kernel';
import { startTestService, type TestService } from '@flotilla/service/testing';
import { Module, type DynamicModule, type Provider } from '@nestjs/common';
import { PaymentsConfig } from '../src/payments.config.ts';
import { PaymentsModule } from '../src/payments.module.ts';
import { PaymentProvider } from '../src/provider/payment-provider.ts';
import { SandboxProvider } from '../src/provider/sandbox/sandbox-provider.ts';
import { MisbehavingProvider } from './misbehaving-provider.ts';

const metadata = (key: string): unknown[] => Reflect.getMetadata(key, PaymentsModule) as unknown[];
const isProviderPort = (each: unknown): boolean =>
  typeof each === 'object' && each !== null && 'provide' in each && each.provide === PaymentProvider;

/** The payments service as it is, with a bad network between it and the sandbox provider. */
@Module({
  imports: metadata('imports') as DynamicModule[],
  providers: [
    ...(metadata('providers') as Provider[]).filter((each) => !isProviderPort(each)),
    SandboxProvider,
    {
      provide: PaymentProvider,
      useFactory: (real: SandboxProvider) => new MisbehavingProvider(real),
      inject: [SandboxProvider],
    },
  ],
})
class PaymentsUnderTest {}

export const gbp = (amountMinor: number): { amountMinor: number; currency: string } => ({
  amountMinor,
  currency: 'GBP',
});

/** A running payments service, and what tests say to it. */
export interface Payments {
  readonly service: TestService;
  readonly network: MisbehavingProvider;
  authorise(orderId: string, amountMinor?: number, token?: string): Promise<ReplyOf<AuthorisePayment>>;
  capture(orderId: string): Promise<ReplyOf<CapturePayment>>;
  void(orderId: string): Promise<ReplyOf<VoidPayment>>;
  refund(orderId: string, amountMinor?: number, refundKey?: string): Promise<ReplyOf<RefundPayment>>;
  get(orderId: string): Promise<ReplyOf<GetPayment>>;
  /** What our ledger says was moved, as `kind amount` in order, of one order or all. */
  ours(orderId?: string): Promise<string[]>;
  /** What the provider's books say was moved, in the same form. */
  theirs(orderId?: string): Promise<string[]>;
}

export const authorisation = (orderId: string, amountMinor = 1_000, token = 'tok_ok'): AuthorisePayment =>
  new AuthorisePayment({ orderId, customerId: 'c1', amount: gbp(amountMinor), token });

export async function startPayments(env: Record<string, string> = {}): Promise<Payments> {
  const service = await startTestService({
    module: PaymentsUnderTest,
    config: PaymentsConfig,
    env: {
      PAYMENTS_PROVIDER_TIMEOUT_MS: '150',
      PAYMENTS_PROVIDER_RETRY_MS: '2',
      // The tests of the circuit breaker are elsewhere.
      PAYMENTS_PROVIDER_BREAKER_CALLS: '100000',
      // Outages of the tests last longer than six quick deliveries.
      MAX_ATTEMPTS: '100',
      ...env,
    },
  });
  const moved = async (sql: string, orderId: string | undefined): Promise<string[]> => {
    const rows = await service.sql<{ moved: string }>(sql, [orderId ?? null]);
    return rows.map((row) => row.moved);
  };
  return {
    service,
    network: service.get(PaymentProvider) as MisbehavingProvider,
    authorise: (orderId, amountMinor, token) => service.execute(authorisation(orderId, amountMinor, token)),
    capture: (orderId) => service.execute(new CapturePayment({ orderId })),
    void: (orderId) => service.execute(new VoidPayment({ orderId, reason: 'test' })),
    refund: (orderId, amountMinor, refundKey = newId()) =>
      service.execute(
        new RefundPayment({
          orderId,
          refundKey,
          reason: 'test',
          ...(amountMinor !== undefined && { amount: gbp(amountMinor) }),
        }),
      ),
    get: (orderId) => service.query(new GetPayment({ orderId })),
    ours: (orderId) =>
      moved(
        `SELECT kind || ' ' || ledger_entries.amount_minor || ' ' || ledger_entries.currency
                || CASE WHEN $1::text IS NULL THEN ' ' || order_id ELSE '' END AS moved
           FROM ledger_entries JOIN payments ON payments.id = payment_id
          WHERE direction = 'debit'
            AND account = CASE kind WHEN 'authorise' THEN 'customer_authorised' WHEN 'capture' THEN 'provider_clearing'
                                    WHEN 'void' THEN 'authorisation_hold' ELSE 'refunds' END
            AND ($1::text IS NULL OR order_id = $1::uuid)
          ORDER BY moved`,
        orderId,
      ),
    theirs: (orderId) =>
      moved(
        `SELECT kind || ' ' || amount_minor || ' ' || currency
                || CASE WHEN $1::text IS NULL THEN ' ' || split_part(key, ':', 1) ELSE '' END AS moved
           FROM sandbox_provider.operations
          WHERE outcome IN ('authorised', 'captured', 'voided', 'refunded') AND amount_minor > 0
            AND ($1::text IS NULL OR split_part(key, ':', 1) = $1)
          ORDER BY moved`,
        orderId,
      ),
  };
}
