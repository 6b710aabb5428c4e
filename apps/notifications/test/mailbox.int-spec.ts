import { ListNotifications, type Notification } from '@flotilla/contracts-notifications';
import { newId } from '@flotilla/kernel';
import { startTestService, type TestService } from '@flotilla/service/testing';
import { until } from '@flotilla/testing';
import { NotificationsConfig } from '../src/notifications.config.ts';
import { NotificationsModule } from '../src/notifications.module.ts';
import { OrderStory } from './order-events.ts';

let notifications: TestService;

beforeAll(async () => {
  notifications = await startTestService({ module: NotificationsModule, config: NotificationsConfig });
});

afterAll(() => notifications.stop());

async function messagesOf({ orderId }: OrderStory, count: number): Promise<Notification[]> {
  return until(
    async () => {
      const listed = (await notifications.query(new ListNotifications({ orderId }))).notifications;
      return listed.length >= count && listed;
    },
    { describe: `${count} messages about ${orderId}` },
  );
}

/** Waits until the events with these ids are handled. */
async function handled(ids: readonly string[]): Promise<void> {
  await until(
    async () =>
      (await notifications.sql('SELECT FROM inbox WHERE message_id = ANY($1)', [ids])).length === ids.length,
  );
}

describe('without a mail server', () => {
  it('tells a customer everything about an order, in the mailbox', async () => {
    const story = new OrderStory({ customerId: 'C-1', email: 'ada@example.com' });
    for (const event of [story.placed(), story.confirmed(), story.shipped(), story.completed()]) {
      await notifications.publish(event);
    }
    const messages = await messagesOf(story, 4);
    expect(messages.map(({ subject }) => subject)).toEqual([
      'We have received your order 536365',
      'Your order 536365 is confirmed',
      'Your order 536365 is on its way',
      'Your order 536365 is complete',
    ]);
    for (const message of messages) {
      expect(message).toMatchObject({ orderId: story.orderId, recipient: 'ada@example.com', status: 'sent' });
      expect(message.sentAt).toBe(message.createdAt);
    }
    expect(messages[0]?.body).toContain('6 x White hanging heart');
    expect(messages[2]?.body).toContain('TRK-1');
  });

  it('tells each fact once, however often it arrives', async () => {
    const story = new OrderStory({ customerId: 'C-1' });
    const ids = [newId(), newId(), newId()];
    await notifications.publish(story.placed(), { id: ids[0] ?? '' });
    // The same event again, and the same fact as another event, as after a restore of the orders database.
    await notifications.publish(story.placed(), { id: ids[0] ?? '' });
    await notifications.publish(story.placed(), { id: ids[1] ?? '' });
    await notifications.publish(story.cancelled(), { id: ids[2] ?? '' });
    await handled(ids);
    expect((await messagesOf(story, 2)).map(({ subject }) => subject)).toEqual([
      'We have received your order 536365',
      'Your order 536365 is cancelled',
    ]);
  });

  it('does not wait for the placement to tell what came after it', async () => {
    const story = new OrderStory({ customerId: 'C-7', email: 'ada@example.com' });
    await notifications.publish(story.confirmed());
    const [early] = await messagesOf(story, 1);
    expect(early).toMatchObject({ recipient: 'C-7', subject: `Your order ${story.orderId} is confirmed` });
    await notifications.publish(story.placed());
    const [, placed] = await messagesOf(story, 2);
    expect(placed).toMatchObject({ recipient: 'ada@example.com' });
  });

  it('does not tell a customer why an order is suspicious', async () => {
    const story = new OrderStory({ customerId: 'C-9' });
    await notifications.publish(story.rejected());
    const [message] = await messagesOf(story, 1);
    expect(`${message?.subject} ${message?.body}`).not.toMatch(/fraud|velocity|score/i);
  });

  it('tells of each return of an order, once', async () => {
    const story = new OrderStory({ customerId: 'C-1', email: 'ada@example.com' });
    const [first, second] = [newId(), newId()];
    const events = [
      story.placed(),
      story.returnRequested(first),
      story.returned(first),
      story.returned(first),
      story.returnRequested(second),
      story.returnExpired(second),
    ];
    const ids = events.map(() => newId());
    for (const [at, event] of events.entries()) {
      await notifications.publish(event, { id: ids[at] ?? '' });
    }
    await handled(ids);
    const messages = await messagesOf(story, 5);
    expect(messages.map(({ subject }) => subject)).toEqual([
      'We have received your order 536365',
      'Your return of order 536365',
      'Your return of order 536365 is here',
      'Your return of order 536365',
      'Your return of order 536365 is closed',
    ]);
    expect(messages[2]?.body).toContain('Paid back: 5.10 GBP');
    expect(messages[4]?.body).toContain('it has not come');
  });

  it('says why an order was cancelled that its customer wanted', async () => {
    const story = new OrderStory({ customerId: 'C-1' });
    await notifications.publish(story.undeliverable());
    const [message] = await messagesOf(story, 1);
    expect(message?.body).toContain('could not be delivered, and has come back to us');
  });

  it('knows nothing about other orders', async () => {
    expect(await notifications.query(new ListNotifications({ orderId: newId() }))).toEqual({
      notifications: [],
    });
  });
});
