import { ManualClock } from '@flotilla/testing';
import { DeadlineWatch, type Cancellable } from './deadline-watch.ts';

/** A connection whose statement 0 ends when the test says so. */
function connection() {
  const statement = Promise.withResolvers<string>();
  const cancelling: PromiseWithResolvers<undefined>[] = [];
  const client: Cancellable & { head: number } = {
    head: 0,
    runs: (index) => index === client.head,
    cancel: () => {
      const asked = Promise.withResolvers<undefined>();
      cancelling.push(asked);
      return asked.promise;
    },
  };
  return { client, statement, cancelling };
}
const canceled = (): Error => Object.assign(new Error('canceling statement'), { code: '57014' });

function watching() {
  const clock = new ManualClock();
  const warnings: string[] = [];
  const log = { log: () => undefined, error: () => undefined, warn: (line: string) => warnings.push(line) };
  return { clock, warnings, watch: new DeadlineWatch(() => undefined, { clock, log }) };
}

it('leaves alone what ends in time', async () => {
  const { clock, watch } = watching();
  const { client, statement, cancelling } = connection();
  const result = watch.cutAt(clock.now() + 100, client, 0, statement.promise);
  await clock.advance(99);
  statement.resolve('rows');
  expect(await result).toBe('rows');
  await clock.advance(1_000);
  expect(cancelling).toHaveLength(0);
});

it('cuts what runs at its deadline, and says why it failed', async () => {
  const { clock, watch } = watching();
  const { client, statement, cancelling } = connection();
  const result = watch.cutAt(clock.now() + 100, client, 0, statement.promise);
  const failure = expect(result).rejects.toMatchObject({
    code: 'DEADLINE_EXCEEDED',
    cause: { code: '57014' },
  });
  await clock.advance(100);
  expect(cancelling).toHaveLength(1);
  statement.reject(canceled());
  cancelling[0]?.resolve(undefined);
  await failure;
});

it('does not give the connection back while a request to cancel is on its way', async () => {
  const { clock, watch } = watching();
  const { client, statement, cancelling } = connection();
  let over = false;
  const result = watch.cutAt(clock.now() + 100, client, 0, statement.promise).finally(() => (over = true));
  await clock.advance(100);
  statement.resolve('just in time');
  await clock.advance(50);
  expect(over).toBe(false);
  cancelling[0]?.resolve(undefined);
  expect(await result).toBe('just in time');
});

it('waits until the statement is the one that the server works on', async () => {
  const { clock, watch } = watching();
  const { client, statement, cancelling } = connection();
  client.head = -1;
  const result = watch.cutAt(clock.now() + 100, client, 0, statement.promise);
  await clock.advance(500);
  expect(cancelling).toHaveLength(0);
  client.head = 0;
  await clock.advance(50);
  expect(cancelling).toHaveLength(1);
  cancelling[0]?.resolve(undefined);
  statement.resolve('rows');
  await result;
});

it('asks again, a second later, when the request was lost', async () => {
  const { clock, watch, warnings } = watching();
  const { client, statement, cancelling } = connection();
  const result = watch.cutAt(clock.now() + 100, client, 0, statement.promise);
  await clock.advance(100);
  cancelling[0]?.reject(new Error('connection refused'));
  await clock.advance(950);
  expect([cancelling.length, warnings]).toEqual([
    1,
    ['A statement whose deadline has passed could not be cut: connection refused'],
  ]);
  await clock.advance(50);
  expect(cancelling).toHaveLength(2);
  cancelling[1]?.resolve(undefined);
  statement.reject(canceled());
  await expect(result).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
});
