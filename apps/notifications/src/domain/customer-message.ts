import { formatMoney, type Money } from '@flotilla/contracts-money';

/** Something about an order that its customer is told, once each. */
export type CustomerFact =
  | {
      readonly fact: 'placed';
      readonly lines: readonly { readonly name: string; readonly quantity: number }[];
      readonly total: Money;
    }
  | { readonly fact: 'confirmed' }
  | { readonly fact: 'shipped'; readonly trackingNumber: string }
  | { readonly fact: 'completed'; readonly total: Money }
  | { readonly fact: 'rejected'; readonly reason: RejectionReason }
  | { readonly fact: 'cancelled'; readonly cause?: CancellationCause }
  | ({ readonly fact: 'return-requested' } & ReturnFact)
  | ({ readonly fact: 'returned' } & ReturnFact)
  | ({ readonly fact: 'return-closed'; readonly expired: boolean } & ReturnFact);

/** What a message about a return says of it; an order may have several, and is written to about each. */
interface ReturnFact {
  readonly returnId: string;
  readonly lines: readonly { readonly name: string; readonly quantity: number }[];
  readonly refund: Money;
}

/** Why an order was cancelled, where it was not the customer's wish. */
export type CancellationCause = 'not-collected' | 'undeliverable' | 'held-too-long';

export type RejectionReason = 'out_of_stock' | 'payment_declined' | 'fraud' | 'unknown_product';

/** What the customer reads. */
export interface CustomerMessage {
  readonly subject: string;
  readonly body: string;
}

/** Lines that a message lists; an order may have a thousand. */
const LISTED_LINES = 20;

// Suspicion is nothing to write to a customer, so fraud reads like any order that is not taken.
const whyRejected: Readonly<Record<RejectionReason, string>> = {
  out_of_stock: 'Something you ordered is no longer in stock.',
  payment_declined: 'Your payment was declined.',
  fraud: 'We are not able to accept it.',
  unknown_product: 'Something you ordered is no longer sold.',
};

const whyCancelled: Readonly<Record<CancellationCause, string>> = {
  'not-collected': 'We are sorry: our carrier did not collect it.',
  undeliverable: 'We are sorry: it could not be delivered, and has come back to us.',
  'held-too-long': 'We are sorry: it took us too long to confirm it.',
};

/** Writes the message about a fact. `orderName` is what the customer knows the order by. */
export function writeMessage(orderName: string, told: CustomerFact): CustomerMessage {
  const order = oneLine(orderName);
  switch (told.fact) {
    case 'placed':
      return {
        subject: `We have received your order ${order}`,
        body: paragraphs(
          `Thank you for your order ${order}:`,
          listLines(told.lines),
          `Total: ${moneyText(told.total)}`,
          'We will write again when it is confirmed.',
        ),
      };
    case 'confirmed':
      return {
        subject: `Your order ${order} is confirmed`,
        body: paragraphs(`Everything in your order ${order} is reserved for you, and we are packing it.`),
      };
    case 'shipped':
      return {
        subject: `Your order ${order} is on its way`,
        body: paragraphs(
          `Your order ${order} has left our warehouse.`,
          `Tracking number: ${oneLine(told.trackingNumber)}`,
        ),
      };
    case 'completed':
      return {
        subject: `Your order ${order} is complete`,
        body: paragraphs(
          `Your order ${order} is complete. Thank you for shopping with us.`,
          `Charged: ${moneyText(told.total)}`,
        ),
      };
    case 'rejected':
      return {
        subject: `We could not take your order ${order}`,
        body: paragraphs(
          `We are sorry: we could not take your order ${order}. ${whyRejected[told.reason]}`,
          'You have not been charged.',
        ),
      };
    case 'cancelled':
      return {
        subject: `Your order ${order} is cancelled`,
        body: paragraphs(
          `Your order ${order} is cancelled.${told.cause ? ` ${whyCancelled[told.cause]}` : ''}`,
          'Whatever was charged for it goes back to where it came from.',
        ),
      };
    case 'return-requested':
      return {
        subject: `Your return of order ${order}`,
        body: paragraphs(
          `We are having this of your order ${order} fetched:`,
          listLines(told.lines),
          `When it is here, we pay you back: ${moneyText(told.refund)}`,
        ),
      };
    case 'returned':
      return {
        subject: `Your return of order ${order} is here`,
        body: paragraphs(
          `We have this of your order ${order} back:`,
          listLines(told.lines),
          `Paid back: ${moneyText(told.refund)}`,
        ),
      };
    case 'return-closed':
      return {
        subject: `Your return of order ${order} is closed`,
        body: paragraphs(
          told.expired
            ? `We have waited for this of your order ${order}, and it has not come:`
            : `We could not go on with the return of this of your order ${order}:`,
          listLines(told.lines),
          'Nothing is paid back for it. You can ask for the return again.',
        ),
      };
  }
}

function paragraphs(...texts: readonly string[]): string {
  return `${texts.join('\n\n')}\n`;
}

function listLines(lines: readonly { readonly name: string; readonly quantity: number }[]): string {
  const listed = lines.slice(0, LISTED_LINES).map(({ name, quantity }) => `${quantity} x ${oneLine(name)}`);
  const more = lines.length - listed.length;
  return [...listed, ...(more > 0 ? [`and ${more} more`] : [])].join('\n');
}

function moneyText(money: Money): string {
  const { amount, currency } = formatMoney(money);
  return `${amount} ${currency}`;
}

// References and names come from outside: a line break in one would begin a header or a line of its own.
function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]+/gu, ' ').trim();
}
