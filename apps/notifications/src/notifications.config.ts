import { defineConfig, setting } from '@flotilla/service/config';
import { z } from 'zod';

const milliseconds = z.coerce.number().int().positive();

/** How messages reach customers. */
export class NotificationsConfig extends defineConfig({
  smtpUrl: setting({
    env: 'SMTP_URL',
    schema: z
      .string()
      .regex(/^smtps?:\/\/./, 'must begin with smtp:// or smtps://')
      .optional(),
    default: undefined,
    secret: true,
    doc: 'the mail server, for example smtps://user:secret@mail.example.com; without it messages stay in the mailbox table',
  }),
  emailFrom: setting({
    env: 'EMAIL_FROM',
    schema: z.email(),
    default: 'orders@flotilla.example',
    doc: 'the sender of all messages; the mail server must allow it, and its domain is that of the Message-IDs',
  }),
  emailSendTimeoutMs: setting({
    env: 'EMAIL_SEND_TIMEOUT_MS',
    schema: milliseconds,
    default: 30_000,
    doc: 'how long one attempt to send may take, milliseconds; after it the message may have left all the same',
  }),
  emailMaxAttempts: setting({
    env: 'EMAIL_MAX_ATTEMPTS',
    schema: z.coerce.number().int().min(1).max(1_000),
    default: 60,
    doc: 'attempts before a message has failed; with the default delays about a day',
  }),
  emailRetryInitialMs: setting({
    env: 'EMAIL_RETRY_INITIAL_MS',
    schema: milliseconds,
    default: 5_000,
    doc: 'delay before the second attempt, milliseconds; it doubles from there',
  }),
  emailRetryMaxMs: setting({
    env: 'EMAIL_RETRY_MAX_MS',
    schema: milliseconds,
    default: 1_800_000,
    doc: 'the longest delay between attempts, milliseconds',
  }),
}) {}
