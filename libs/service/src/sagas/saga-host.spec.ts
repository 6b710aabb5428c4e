import { defineCommand, defineEvent, defineService } from '@flotilla/contracts-protocol';
import { command, defineSaga, waitFor } from '@flotilla/saga';
import type { ModuleRef } from '@nestjs/core';
import { z } from 'zod';
import type { SagaRegistration } from '../flotilla.module.ts';
import { SagaHost, type SagaHostParts } from './saga-host.ts';

const payload = z.object({ id: z.string() });
class Ship extends defineCommand({ owner: 'shipping', name: 'Ship', version: 1, payload }) {}
class Sent extends defineEvent({
  owner: 'shipping',
  name: 'Sent',
  version: 1,
  payload,
  aggregate: ({ id }) => id,
}) {}
class Actions {}

const saga = defineSaga<{ id: string }, Actions>({ name: 'delivery', version: 2 }, [
  command('ship', Ship, { send: ({ id }) => ({ id }) }),
  waitFor('sent', Sent, { timeoutMs: 1_000 }),
]);

/** Only what is compared before anything starts. */
function hostOf(registration: Partial<SagaRegistration>): SagaHost {
  const moduleRef = { get: () => saga } as unknown as ModuleRef;
  const registrations = [{ definition: 'delivery', actions: Actions, ...registration }];
  return new SagaHost({ service: 'shop', registrations, moduleRef } as unknown as SagaHostParts);
}

describe('the sagas of a service', () => {
  it('send and wait for what its manifest lists', () => {
    const manifest = defineService({
      name: 'shop',
      sends: [Ship],
      reacts: { delivery: { events: [Sent] }, empty: { events: [Sent] } },
    });
    expect(hostOf({ reaction: 'delivery' }).mismatches(manifest)).toEqual([]);
    expect(hostOf({}).mismatches(manifest)).toEqual([
      'saga delivery v2 waits for shipping.Sent.v1, but its registration names no reaction that brings it',
    ]);
  });

  it('that send or wait for anything else are reported', () => {
    expect(hostOf({ reaction: 'delivery' }).mismatches(defineService({ name: 'shop' }))).toEqual([
      'saga delivery v2 sends shipping.Ship.v1, which is not listed in sends',
      'saga delivery v2 waits for shipping.Sent.v1, which is not listed in reacts.delivery',
    ]);
  });

  it('cannot be used before the application has started', () => {
    expect(() => hostOf({}).engine).toThrow('Sagas can be used once the application has started');
  });
});
