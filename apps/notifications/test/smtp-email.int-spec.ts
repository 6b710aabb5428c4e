import { EmailRefusedError } from '../src/email/email-port.ts';
import { SmtpEmail } from '../src/email/smtp-email.ts';
import { HANG_UP, SmtpServer } from './smtp-server.ts';

const email = {
  id: '0198c1de-0000-7000-8000-000000000001',
  to: 'ada@example.com',
  subject: 'Your order 536365 is on its way – at last',
  text: 'Dear Ada,\n\n.a line that begins with a dot\n',
};

describe('sending by SMTP', () => {
  let server: SmtpServer;
  let smtp: SmtpEmail;

  beforeEach(async () => {
    server = await SmtpServer.start();
    smtp = new SmtpEmail({ url: server.url, from: 'orders@shop.example', timeoutMs: 2_000 });
  });

  afterEach(async () => {
    smtp.close();
    await server[Symbol.asyncDispose]();
  });

  it('hands the message over, with an id of its own', async () => {
    await smtp.send(email);
    expect(server.taken).toHaveLength(1);
    const [message] = server.taken;
    expect(message).toMatchObject({ from: 'orders@shop.example', to: ['ada@example.com'] });
    expect(message?.text).toContain(`Message-ID: <${email.id}@shop.example>\r\n`);
    expect(message?.text).toContain('Auto-Submitted: auto-generated\r\n');
    expect(message?.text).toContain('\r\n..a line that begins with a dot');
  });

  it('sends again under the same Message-ID when the answer was lost', async () => {
    server.answer = (command) => (command === '.' ? HANG_UP : undefined);
    await expect(smtp.send(email)).rejects.not.toBeInstanceOf(EmailRefusedError);
    server.answer = () => undefined;
    await smtp.send(email);
    const ids = server.taken.map(({ text }) => /^Message-ID: (.*)$/m.exec(text)?.[1]);
    expect(ids).toHaveLength(2);
    expect(new Set(ids).size).toBe(1);
  });

  it.each([
    ['the recipient', 'RCPT'],
    ['the sender', 'MAIL'],
    ['the message', '.'],
  ])('gives up when the server refuses %s for good', async (_what, verb) => {
    server.answer = (command) => (command.startsWith(verb) ? '550 5.7.1 not here' : undefined);
    const attempt = smtp.send(email);
    await expect(attempt).rejects.toBeInstanceOf(EmailRefusedError);
    await expect(attempt).rejects.toMatchObject({ code: 'EMAIL_REFUSED', retry: 'never' });
    await expect(attempt).rejects.toThrow('550 5.7.1 not here');
  });

  it('may be tried again when the server is busy', async () => {
    server.answer = (command) => (command.startsWith('RCPT') ? '451 4.7.1 greylisted' : undefined);
    const attempt = smtp.send(email);
    await expect(attempt).rejects.toThrow('greylisted');
    await expect(attempt).rejects.not.toBeInstanceOf(EmailRefusedError);
  });

  it('may be tried again when nobody listens', async () => {
    const { url } = server;
    await server[Symbol.asyncDispose]();
    server = await SmtpServer.start();
    const lonely = new SmtpEmail({ url, from: 'orders@shop.example', timeoutMs: 2_000 });
    await expect(lonely.send(email)).rejects.not.toBeInstanceOf(EmailRefusedError);
    lonely.close();
  });

  it('does not wait for a silent server longer than it may', async () => {
    const hasty = new SmtpEmail({ url: server.url, from: 'orders@shop.example', timeoutMs: 100 });
    server.answer = (command) => (command.startsWith('EHLO') ? '' : undefined);
    await expect(hasty.send(email)).rejects.toBeInstanceOf(Error);
    expect(server.taken).toEqual([]);
    hasty.close();
  });

  it('writes to one address, whatever it holds', async () => {
    await smtp.send({ ...email, to: 'ada@example.com, eve@example.com' });
    expect(server.taken.map(({ to }) => to)).toEqual([['"ada@example.com, eve"@example.com']]);
  });
});
