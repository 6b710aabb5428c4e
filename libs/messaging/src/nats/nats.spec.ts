import { MsgImpl } from '@nats-io/nats-core/internal';
import type { Msg } from '@nats-io/nats-core';
import { readAckSubject } from './ack-subject.ts';
import { fromNatsHeaders, headersOf, toNatsHeaders } from './nats-headers.ts';
import { assertServerVersion } from './server-version.ts';
import { subjectMatches } from '../memory/subject-match.ts';

describe('the version of a server', () => {
  it.each(['2.12.7', '2.12.8-RC.1', '2.15.1', 'v3.0.0', '2.13.0+build', '10.0.0'])('may be %s', (version) => {
    expect(() => assertServerVersion(version)).not.toThrow();
  });

  it.each(['2.12.6', '2.9.10', '2.12.7-beta.2', '1.99.99', '', 'unknown', '2.15'])(
    'may not be "%s"',
    (version) => {
      expect(() => assertServerVersion(version)).toThrow(/too old, 2.12.7 is the oldest supported/);
    },
  );
});

describe('the reply subject of a delivery', () => {
  const facts = { stream: 'CMD_pad', consumer: 'pad', attempt: 2, sequence: 17, pending: 5 };

  it.each([
    '$JS.ACK.CMD_pad.pad.2.17.19.1700000000000000000.5',
    '$JS.ACK._.ACCT.CMD_pad.pad.2.17.19.1700000000000000000.5',
    '$JS.ACK.hub.ACCT.CMD_pad.pad.2.17.19.1700000000000000000.5.rnd',
  ])('is read: %s', (reply) => expect(readAckSubject(reply)).toEqual(facts));

  it.each([undefined, '', '_INBOX.x.1', '$JS.ACK.short', '$JS.FC.CMD_pad.pad'])('is none: %s', (reply) => {
    expect(readAckSubject(reply)).toBeUndefined();
  });
});

describe('headers', () => {
  it('survive the way over the wire', () => {
    const headers = { 'ce-id': 'm-1', 'Nats-Msg-Id': 'm-1', 'x-name': 'Zoë' };
    expect(fromNatsHeaders(toNatsHeaders(headers))).toEqual(headers);
    expect(fromNatsHeaders(undefined)).toEqual({});
  });

  it.each([
    'NATS/1.0\r\nce-id: m-1\r\nce-subject:a:b \r\nx-name: Zoë\r\n\r\n',
    'NATS/1.0\r\ntwice: 1\r\ntwice: 2\r\nconstructor: x\r\nempty:\r\n\r\n',
    'NATS/1.0 503 No Responders\r\n\r\n',
    'NATS/1.0\r\n\r\n',
  ])('are read from the bytes as the client reads them: %j', (block) => {
    const hdr = Buffer.byteLength(block);
    const parsed = { hdr, size: hdr + 2, sid: 1, subject: Buffer.from('s') };
    const message = new MsgImpl(parsed, Buffer.from(`${block}{}`), undefined as never) as Msg;
    expect(headersOf(message)).toEqual(fromNatsHeaders(message.headers));
  });

  it('of a message without any are none', () => {
    const parsed = { hdr: -1, size: 2, sid: 1, subject: Buffer.from('s') };
    expect(headersOf(new MsgImpl(parsed as never, Buffer.from('{}'), undefined as never) as Msg)).toEqual({});
  });

  it.each([
    { 'x-note': 'two\nlines' },
    { 'x-note': 'a\rb' },
    { 'bad name': 'x' },
    { 'x:y': 'x' },
    { '': 'x' },
  ])('are refused when they would break the message: %p', (headers) =>
    expect(() => toNatsHeaders(headers as Record<string, string>)).toThrow(/header/),
  );
});

describe('subjects', () => {
  it.each([
    ['evt.>', 'evt.a.b', true],
    ['evt.>', 'evt', false],
    ['evt.*.b', 'evt.a.b', true],
    ['evt.*', 'evt.a.b', false],
    ['evt.a', 'evt.a', true],
    ['evt.a', 'evt.b', false],
  ])('%s takes %s: %s', (filter, subject, fits) => expect(subjectMatches(filter, subject)).toBe(fits));
});
