import { writeMessage, type CustomerFact } from './customer-message.ts';

const ofReturn = {
  returnId: 'r-1',
  lines: [{ name: '85123A', quantity: 2 }],
  refund: { amountMinor: 510, currency: 'GBP' },
};
const total = { amountMinor: 1250, currency: 'GBP' };

describe('a message to a customer', () => {
  it.each<CustomerFact>([
    {
      fact: 'placed',
      lines: [
        { name: 'White hanging heart', quantity: 6 },
        { name: 'Postage', quantity: 1 },
      ],
      total,
    },
    { fact: 'confirmed' },
    { fact: 'shipped', trackingNumber: 'TRK-1' },
    { fact: 'completed', total },
    { fact: 'rejected', reason: 'out_of_stock' },
    { fact: 'rejected', reason: 'payment_declined' },
    { fact: 'rejected', reason: 'unknown_product' },
    { fact: 'cancelled' },
    { fact: 'cancelled', cause: 'undeliverable' },
    { fact: 'cancelled', cause: 'not-collected' },
    { fact: 'cancelled', cause: 'held-too-long' },
    { fact: 'return-requested', ...ofReturn },
    { fact: 'returned', ...ofReturn },
    { fact: 'return-closed', expired: true, ...ofReturn },
    { fact: 'return-closed', expired: false, ...ofReturn },
  ])('says that the order is $fact', (fact) => expect(writeMessage('536365', fact)).toMatchSnapshot());

  it('never tells a customer of a suspicion', () => {
    const { subject, body } = writeMessage('536365', { fact: 'rejected', reason: 'fraud' });
    expect(`${subject} ${body}`).not.toMatch(/fraud|suspic|screen|risk/i);
  });

  it('lists some lines of a long order and counts the rest', () => {
    const lines = Array.from({ length: 675 }, (_, index) => ({ name: `Product ${index}`, quantity: 1 }));
    const { body } = writeMessage('536365', { fact: 'placed', lines, total });
    expect(body.match(/^1 x /gm)).toHaveLength(20);
    expect(body).toContain('\nand 655 more\n');
  });

  it('keeps what comes from outside on its line', () => {
    const { subject } = writeMessage('1\r\nBcc: everyone@example.com', { fact: 'confirmed' });
    expect(subject).toBe('Your order 1 Bcc: everyone@example.com is confirmed');
    const { body } = writeMessage('1', {
      fact: 'placed',
      lines: [{ name: 'a\u2028b\n\nc', quantity: 1 }],
      total,
    });
    expect(body).toContain('\n1 x a b c\n');
  });
});
