import { ManualClock } from '@flotilla/testing';
import { defineCommand } from '@flotilla/contracts-protocol';
import { bindSaga, command, defineSaga, InMemorySagaStore, SagaEngine } from '@flotilla/saga';
import { z } from 'zod';
import { describeSaga } from '../sagas/describe-saga.ts';
import type { DeclaredSaga } from '../sagas/saga-definitions.ts';
import { findSaga, listSagas, SagaNotFoundError, type SagaOwner } from './saga-owners.ts';

class Pay extends defineCommand({ owner: 'till', name: 'Pay', version: 1, payload: z.object({}) }) {}

const sale = defineSaga<{ token: string }>({ name: 'sale', version: 1 }, [
  command('pay', Pay, { send: () => ({}), timeoutMs: 5_000, retries: 0 }),
]);

async function owner(
  service: string,
  ...ids: string[]
): Promise<SagaOwner & { readonly engine: SagaEngine }> {
  const store = new InMemorySagaStore();
  const engine = new SagaEngine({
    store,
    clock: new ManualClock(1_000_000),
    transport: { send: () => undefined },
    sagas: [bindSaga(sale, undefined)],
  });
  for (const id of ids) await engine.start(sale, id, { token: 'tok_secret' });
  return { service, store, engine };
}

describe('the sagas of all services', () => {
  it('are listed in one row, a page at a time, without a gap or a repetition', async () => {
    const owners = await Promise.all([owner('shop', '1', '4', '5'), owner('kiosk', '2', '3', '6')]);
    const seen: string[] = [];
    let after: { saga: string; id: string } | undefined;
    for (;;) {
      const page = await listSagas(owners, { limit: 2, ...(after && { after }) });
      seen.push(...page.map(({ service, instance }) => `${service} ${instance.id}`));
      const last = page.at(-1)?.instance;
      if (last === undefined) break;
      after = { saga: last.saga, id: last.id };
    }
    expect(seen).toEqual(['kiosk 6', 'shop 5', 'shop 4', 'kiosk 3', 'kiosk 2', 'shop 1']);
  });

  it('are found whoever runs them, and not when nobody does', async () => {
    const owners = await Promise.all([owner('shop', '1'), owner('kiosk', '2')]);
    await expect(findSaga(owners, '2', undefined)).resolves.toMatchObject({ service: 'kiosk' });
    await expect(findSaga(owners, '3', 'sale')).rejects.toThrow(SagaNotFoundError);
  });
});

describe('one saga', () => {
  it('is described with what it waits for, what a person can do and its history, and no secret', async () => {
    const shop = await owner('shop', '1');
    await shop.engine.park(sale, '1', { code: 'LOOK', message: 'Odd totals' });
    const { instance } = await findSaga([shop], '1', 'sale');
    const history = await shop.store.history({ saga: 'sale', id: '1' });
    const page = describeSaga({ service: 'shop', instance }, history, [sale as unknown as DeclaredSaga]);
    expect(page).toContain('sale v1 of 1, run by shop');
    expect(page).toContain('step "pay" was parked');
    expect(page).toContain('fleet saga retry 1 --saga sale');
    expect(page).toMatch(/started +version 1/);
    expect(page).toMatch(/parked +pay +LOOK: Odd totals/);
    expect(page).toContain('"token":"***"');
    await shop.engine.retry(sale, '1', 'totals are right');
    const after = await shop.store.history({ saga: 'sale', id: '1' });
    const resumed = await findSaga([shop], '1', 'sale');
    const text = describeSaga({ service: 'shop', instance: resumed.instance }, after, []);
    expect(text).toMatch(/went on +pay +reason totals are right/);
  });
});
