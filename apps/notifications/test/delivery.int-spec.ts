import { ListNotifications, type Notification } from '@flotilla/contracts-notifications';
import { startTestService, type TestService } from '@flotilla/service/testing';
import { until } from '@flotilla/testing';
import { NotificationsConfig } from '../src/notifications.config.ts';
import { NotificationsModule } from '../src/notifications.module.ts';
import { OrderStory } from './order-events.ts';
import { HANG_UP, SmtpServer } from './smtp-server.ts';

let smtp: SmtpServer;
let notifications: TestService;

beforeAll(async () => {
  smtp = await SmtpServer.start();
  notifications = await startTestService({
    module: NotificationsModule,
    config: NotificationsConfig,
    env: {
      SMTP_URL: smtp.url,
      EMAIL_FROM: 'orders@shop.example',
      EMAIL_RETRY_INITIAL_MS: '20',
      EMAIL_RETRY_MAX_MS: '400',
      EMAIL_MAX_ATTEMPTS: '8',
      EMAIL_SEND_TIMEOUT_MS: '2000',
    },
  });
});

afterAll(async () => {
  await notifications.stop();
  await smtp[Symbol.asyncDispose]();
});

afterEach(() => {
  smtp.answer = () => undefined;
});

const takenFor = (email: string) => smtp.taken.filter(({ to }) => to.includes(email));
const messageIds = (email: string) =>
  takenFor(email).map(({ text }) => /^Message-ID: <(.*)@/m.exec(text)?.[1]);

async function messagesWith(
  { orderId }: OrderStory,
  status: Notification['status'],
  count = 1,
): Promise<Notification[]> {
  return until(
    async () => {
      const listed = (await notifications.query(new ListNotifications({ orderId }))).notifications;
      const found = listed.filter((message) => message.status === status);
      return found.length === count && found;
    },
    { describe: `${count} messages about ${orderId} that are ${status}` },
  );
}

const lastErrorOf = async ({
  orderId,
}: OrderStory): Promise<{ attempts: number; last_error: string | null }> => {
  const [row] = await notifications.sql<{ attempts: number; last_error: string | null }>(
    'SELECT attempts, last_error FROM mailbox WHERE order_id = $1',
    [orderId],
  );
  if (!row) throw new Error(`no message about ${orderId}`);
  return row;
};

describe('with a mail server', () => {
  it('sends what is written, soon', async () => {
    const story = new OrderStory({ customerId: 'C-1', email: 'soon@example.com' });
    await notifications.publish(story.placed());
    const [message] = await messagesWith(story, 'sent');
    expect(message).toMatchObject({ recipient: 'soon@example.com' });
    expect(messageIds('soon@example.com')).toEqual([message?.notificationId]);
  });

  it('tries again until the server takes it', async () => {
    let busy = 3;
    smtp.answer = (command) =>
      command.startsWith('RCPT') && busy-- > 0 ? '451 4.7.1 greylisted' : undefined;
    const story = new OrderStory({ customerId: 'C-1', email: 'patient@example.com' });
    await notifications.publish(story.placed());
    await messagesWith(story, 'sent');
    expect(takenFor('patient@example.com')).toHaveLength(1);
    expect(await lastErrorOf(story)).toEqual({ attempts: 4, last_error: null });
  });

  it('sends under the same Message-ID when it cannot know whether the message left', async () => {
    let lost = 1;
    smtp.answer = (command) => (command === '.' && lost-- > 0 ? HANG_UP : undefined);
    const story = new OrderStory({ customerId: 'C-1', email: 'twice@example.com' });
    await notifications.publish(story.placed());
    const [message] = await messagesWith(story, 'sent');
    expect(messageIds('twice@example.com')).toEqual([message?.notificationId, message?.notificationId]);
  });

  it('gives up at once when the recipient is refused for good', async () => {
    smtp.answer = (command) => (command.startsWith('RCPT') ? '550 5.1.1 no such mailbox' : undefined);
    const story = new OrderStory({ customerId: 'C-1', email: 'nobody@example.com' });
    await notifications.publish(story.placed());
    await messagesWith(story, 'failed');
    const { attempts, last_error } = await lastErrorOf(story);
    expect(attempts).toBe(1);
    expect(last_error).toContain('550 5.1.1 no such mailbox');
  });

  it('gives up after its attempts', async () => {
    smtp.answer = (command) => (command.startsWith('MAIL') ? '421 4.3.2 not now' : undefined);
    const story = new OrderStory({ customerId: 'C-1', email: 'never@example.com' });
    await notifications.publish(story.placed());
    await messagesWith(story, 'failed');
    expect((await lastErrorOf(story)).attempts).toBe(8);
  });

  it('says that a customer gave no address', async () => {
    const story = new OrderStory({ customerId: 'C-2' });
    await notifications.publish(story.placed());
    await messagesWith(story, 'failed');
    expect(await lastErrorOf(story)).toEqual({
      attempts: 1,
      last_error: 'NO_ADDRESS: Customer C-2 gave no e-mail address',
    });
  });

  it('waits for the address of an order whose placement comes late', async () => {
    const story = new OrderStory({ customerId: 'C-3', email: 'late@example.com' });
    await notifications.publish(story.confirmed());
    await until(async () => (await lastErrorOf(story)).last_error?.startsWith('NO_ADDRESS'));
    await notifications.publish(story.placed());
    const messages = await messagesWith(story, 'sent', 2);
    expect(messages.map(({ recipient }) => recipient)).toEqual(['late@example.com', 'late@example.com']);
  });

  it('takes over what a process that died had claimed', async () => {
    smtp.answer = (command) => (command.startsWith('RCPT') ? '550 5.1.1 no such mailbox' : undefined);
    const story = new OrderStory({ customerId: 'C-1', email: 'orphan@example.com' });
    await notifications.publish(story.placed());
    await messagesWith(story, 'failed');
    smtp.answer = () => undefined;
    // As a process leaves it that died while sending: claimed, its lease over.
    await notifications.sql(
      `UPDATE mailbox SET status = 'queued', attempts = 1, next_attempt_at = now() - interval '1 second'
       WHERE order_id = $1`,
      [story.orderId],
    );
    const other = new OrderStory({ customerId: 'C-1', email: 'waker@example.com' });
    await notifications.publish(other.placed());
    await messagesWith(story, 'sent');
    expect(takenFor('orphan@example.com')).toHaveLength(1);
  });

  it('shares the work between replicas, and no message is sent by two', async () => {
    await notifications.startReplica();
    const stories = Array.from(
      { length: 40 },
      (_, index) => new OrderStory({ customerId: 'C-1', email: `shared-${index}@example.com` }),
    );
    await Promise.all(stories.map((story) => notifications.publish(story.placed())));
    await Promise.all(stories.map((story) => messagesWith(story, 'sent')));
    const taken = smtp.taken.flatMap(({ to }) => to).filter((email) => email.startsWith('shared-'));
    expect(taken).toHaveLength(40);
    expect(new Set(taken).size).toBe(40);
  });
});
