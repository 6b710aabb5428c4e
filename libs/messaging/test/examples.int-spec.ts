import { startTestNats } from '@flotilla/testing';
import { greet } from '../examples/greet.ts';

it('runs the example of the README', async () => {
  await using nats = await startTestNats();
  expect(await greet(nats.url, 'Ada')).toBe('Hello Ada');
});
