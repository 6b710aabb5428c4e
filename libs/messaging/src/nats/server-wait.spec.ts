import { JetStreamApiError } from '@nats-io/jetstream';
import { ManualClock } from '@flotilla/testing';
import { onceServersAreThere } from './server-wait.ts';

const noPeers = new JetStreamApiError({
  code: 400,
  err_code: 10_005,
  description: 'no suitable peers for placement, peer offline',
});

describe('a stream in a cluster that has just started', () => {
  let clock: ManualClock;
  let answers: (Error | undefined)[];
  let asked: number;
  const make = async (): Promise<void> => {
    asked++;
    const answer = answers.shift();
    if (answer !== undefined) throw answer;
  };
  const made = (withinMs: number): Promise<void> =>
    onceServersAreThere(
      { stream: 'EVT_pad', copies: 3, untilMs: clock.monotonicMs() + withinMs, clock },
      make,
    );

  beforeEach(() => {
    clock = new ManualClock();
    asked = 0;
  });

  it('is made as soon as the cluster sees its servers', async () => {
    answers = [noPeers, noPeers];
    const done = made(30_000);
    await clock.advance(500);
    await done;
    expect(asked).toBe(3);
  });

  it('is given up in time, with what to do', async () => {
    answers = Array.from({ length: 9 }, () => noPeers);
    const done = made(500).catch((error: unknown) => error);
    await clock.advance(500);
    expect(await done).toMatchObject({
      code: 'TOO_FEW_SERVERS',
      message: expect.stringMatching(
        /3 copies of the stream EVT_pad .*peer offline.*start the servers/,
      ) as string,
    });
    expect(asked).toBe(3);
  });

  it('is not waited for when something else is wrong', async () => {
    answers = [new Error('no answer')];
    await expect(made(30_000)).rejects.toThrow('no answer');
  });
});
