import { decodeMessage } from './message.ts';

describe('a decoded message', () => {
  it('reads its envelope whatever the case of the header names', () => {
    const { envelope } = decodeMessage(
      's',
      { 'Ce-Id': 'm-1', 'Ce-Type': 'x.Y.v1', 'CE-SUBJECT': 'k' },
      Buffer.from(''),
    );
    expect(envelope).toMatchObject({ id: 'm-1', type: 'x.Y.v1', subject: 'k' });
  });

  it('reads its body as JSON, an empty one as undefined, and says what cannot be read', () => {
    const headers = { 'ce-id': 'm-1', 'ce-type': 'x.Y.v1' };
    const json = (body: Uint8Array) => decodeMessage('some.subject', headers, body).json();
    expect(json(Buffer.from('{"é":1}'))).toEqual({ é: 1 });
    expect(json(Buffer.from(''))).toBeUndefined();
    expect(() => json(Buffer.from('{'))).toThrow(/message on some.subject is not JSON/);
    expect(() => json(Uint8Array.of(0x22, 0xff, 0x22))).toThrow(/is not JSON/);
  });
});
