import { createTestCertificates } from '@flotilla/testing';
import { Add } from './fixtures/contracts.ts';
import { AlphaStack } from './support/alpha-stack.ts';

it('a service speaks TLS with NATS, and says at the start which file it cannot use', async () => {
  await using certificates = await createTestCertificates();
  await using stack = await AlphaStack.start({ certificates });
  const { caFile, client } = certificates;
  const tls = { NATS_TLS_CA: caFile, NATS_TLS_CERT: client.certFile, NATS_TLS_KEY: client.keyFile };
  const child = stack.run(tls);
  await child.ready();
  const reply = await stack.request(new Add({ accountId: 'a', amount: 1 }));
  expect(reply.envelope.outcome).toBe('ok');
  child.kill('SIGTERM');
  expect(await child.end()).toBe(0);

  const wrong = stack.run({ ...tls, NATS_TLS_CERT: '/nowhere/own.pem' });
  expect(await wrong.end()).toBe(78);
  expect(wrong.messages('fatal')).toEqual([
    expect.stringMatching(/NATS_TLS_CERT, the file \/nowhere\/own\.pem: it cannot be read \(ENOENT\)/),
  ]);
}, 90_000);
