import { jest } from '@jest/globals';
import { runWithContext } from '@flotilla/observability';
import { currentDeadline, currentSignal } from './deadline.ts';

beforeEach(() => {
  jest.useFakeTimers();
});
afterEach(() => {
  jest.useRealTimers();
});

it('nobody waits outside a request, nor for a durable message', () => {
  expect([currentDeadline(), currentSignal()]).toEqual([undefined, undefined]);
  runWithContext({ messageId: 'm' }, () =>
    expect([currentDeadline(), currentSignal()]).toEqual([undefined, undefined]),
  );
});

it('the signal aborts at the deadline, and is one for all who ask', async () => {
  const deadline = Date.now() + 300;
  const [first, second] = runWithContext({ deadline }, () => [currentSignal(), currentSignal()]);
  expect(runWithContext({ deadline }, currentDeadline)).toBe(deadline);
  expect(first).toBe(second);
  await jest.advanceTimersByTimeAsync(299);
  expect(first?.aborted).toBe(false);
  await jest.advanceTimersByTimeAsync(1);
  expect(first?.reason).toMatchObject({ code: 'DEADLINE_EXCEEDED', retry: 'never' });
});

it('a deadline that has passed is a signal that has aborted', () => {
  expect(runWithContext({ deadline: Date.now() }, currentSignal)?.aborted).toBe(true);
});
