import { CreatePayments } from './create-payments.ts';
import { CreateReconciliation } from './create-reconciliation.ts';
import { CreateSandboxProvider } from './create-sandbox-provider.ts';

/** In the order they run; a migration that has been released never changes. */
export const paymentsMigrations = [CreatePayments, CreateSandboxProvider, CreateReconciliation];
