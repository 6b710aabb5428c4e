import { FlotillaModule } from '@flotilla/service';
import { Module } from '@nestjs/common';
import { DeliverMessages } from './application/jobs/deliver-messages.ts';
import { ListNotificationsHandler } from './application/queries/list-notifications.ts';
import { WriteToCustomerHandler } from './application/reactions/write-to-customer.ts';
import { EmailPort } from './email/email-port.ts';
import { MailboxEmail } from './email/mailbox-email.ts';
import { SmtpEmail } from './email/smtp-email.ts';
import { NotificationsConfig } from './notifications.config.ts';
import { notificationsService } from './notifications.service.ts';
import { Mailbox } from './persistence/mailbox.ts';
import { notificationsMigrations } from './persistence/migrations/index.ts';

@Module({
  imports: [
    FlotillaModule.forService({
      manifest: notificationsService,
      entities: [],
      migrations: notificationsMigrations,
    }),
  ],
  providers: [
    WriteToCustomerHandler,
    ListNotificationsHandler,
    DeliverMessages,
    Mailbox,
    {
      provide: EmailPort,
      inject: [NotificationsConfig],
      useFactory: ({ smtpUrl, emailFrom, emailSendTimeoutMs }: NotificationsConfig): EmailPort =>
        smtpUrl === undefined
          ? new MailboxEmail()
          : new SmtpEmail({ url: smtpUrl, from: emailFrom, timeoutMs: emailSendTimeoutMs }),
    },
  ],
})
export class NotificationsModule {}
