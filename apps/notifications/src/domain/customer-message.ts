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
  | { readonly fact: 'cancelled' };

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
          `Your order ${order} is cancelled.`,
          'Whatever was charged for it goes back to where it came from.',
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
