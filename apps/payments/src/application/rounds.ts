import { FlotillaError } from '@flotilla/kernel';

const MAX_ROUNDS = 10;

/** Thrown when other commands kept changing the payment. The redelivery goes on. Code `PAYMENT_CONTENDED`. */
export class PaymentContendedError extends FlotillaError {
  constructor(orderId: string) {
    super(
      'PAYMENT_CONTENDED',
      `The payment of order ${orderId} was changed by others ${MAX_ROUNDS} times meanwhile`,
    );
  }
}

/**
 * Takes a payment one step further per round, each decided on what is stored then, until there is an answer.
 * Commands for one payment may run at the same time in several replicas: every round sees what the others did.
 */
export async function inRounds<T>(orderId: string, round: () => Promise<T | 'again'>): Promise<T> {
  for (let rounds = 0; rounds < MAX_ROUNDS; rounds += 1) {
    const answer = await round();
    if (answer !== 'again') return answer;
  }
  throw new PaymentContendedError(orderId);
}
