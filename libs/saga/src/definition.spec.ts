import { defineCommand, defineQuery } from '@flotilla/contracts-protocol';
import { z } from 'zod';
import {
  fulfilment,
  OrderReviewed,
  ReleaseStock,
  ReserveStock,
  ScreenOrder,
  ShipmentDispatched,
  type FulfilmentActions,
  type FulfilmentData,
} from '../test/fixtures/fulfilment.ts';
import { abort, command, defineSaga, local, waitFor } from './index.ts';
import { sagaDiagram } from './diagram.ts';
import * as api from './index.ts';
import * as testingApi from './testing/index.ts';

class Ping extends defineCommand({ owner: 'a', name: 'Ping', version: 1, payload: z.object({}) }) {}
class Ask extends defineQuery({
  owner: 'a',
  name: 'Ask',
  version: 1,
  payload: z.object({}),
  reply: z.object({}),
}) {}

const ping = (name: string, pivot = false) =>
  command<object, unknown, typeof Ping>(name, Ping, { send: () => ({}), pivot });

describe('a definition', () => {
  it('knows what it sends and awaits, for the manifest', () => {
    expect(fulfilment.sends.map(({ contract }) => contract.name)).toEqual([
      'ScreenOrder',
      'ReserveStock',
      'ReleaseStock',
      'AuthorisePayment',
      'VoidAuthorisation',
      'CapturePayment',
      'RefundPayment',
      'ShipOrder',
    ]);
    expect(fulfilment.awaits.map(({ contract }) => contract.name)).toEqual([
      'OrderReviewed',
      'ShipmentDispatched',
      'ShipmentLost',
    ]);
    expect(fulfilment.pivot).toBe(4);
    expect(fulfilment.cancellableUntil).toBe(6);
  });

  it('can be cancelled until the pivot unless it says otherwise, without a pivot to the end', () => {
    expect(defineSaga<object>({ name: 'x', version: 1 }, [ping('a'), ping('b', true)]).cancellableUntil).toBe(
      1,
    );
    expect(defineSaga<object>({ name: 'x', version: 1 }, [ping('a'), ping('b')]).cancellableUntil).toBe(2);
  });

  it('that is not consistent is refused with everything that is wrong', () => {
    expect(() =>
      defineSaga<object>({ name: 'Bad Name', version: 0, cancellableUntil: 'nowhere' }, [
        ping('Twice'),
        ping('Twice', true),
        ping('pivot', true),
        command('query', Ask, { send: () => ({}), retries: -1, timeoutMs: 0 }),
        waitFor('wait', [], { timeoutMs: 5 }),
        waitFor('late', OrderReviewed, { timeoutMs: 0, onTimeout: 'compensate' }),
      ]),
    ).toThrowErrorMatchingInlineSnapshot(`
      "Saga "Bad Name" is not consistent:
      - name "Bad Name" must be kebab-case
      - version must be a whole number from 1, not 0
      - step "Twice" appears twice
      - it has 2 pivots: Twice, pivot
      - step "Twice": the name must be kebab-case
      - step "Twice": the name must be kebab-case
      - step "query": a.Ask.v1 is a query, not a command
      - step "query": timeoutMs must be positive, not 0
      - step "query": retries must be a whole number from 0, not -1
      - step "wait": waits for no event
      - step "late": timeoutMs must be positive, not 0
      - step "late": comes after the pivot, so it cannot say 'compensate': use 'park' or a function
      - cancellableUntil names no step: "nowhere""
    `);
    expect(() => defineSaga<object>({ name: 'empty', version: 1 }, [])).toThrow('it has no steps');
  });

  it('is typed through and through', () => {
    defineSaga<FulfilmentData, FulfilmentActions>({ name: 'typed', version: 1 }, [
      command('reserve', ReserveStock, {
        // @ts-expect-error the payload has no such field, and lacks two
        send: ({ orderId }) => ({ order: orderId }),
        // @ts-expect-error the reply has no such field
        onReply: (data, { reservation }) => ({ ...data, reservationId: String(reservation) }),
        onRefused: {
          OutOfStock: (data, { skus }) => (skus.includes('A') ? abort('gone') : data),
          // @ts-expect-error the contract declares no such error
          Nonsense: (data: FulfilmentData) => data,
        },
        // @ts-expect-error a time-out may not change the shape of the data
        onTimeout: (data) => ({ orderId: data.orderId }),
        compensate: {
          command: ReleaseStock,
          send: ({ orderId }) => ({ orderId }),
          // @ts-expect-error the contract declares no such error
          tolerate: ['Nonsense'],
        },
      }),
      // @ts-expect-error the actions have no such method
      local('act', { run: async (data, { nothing }: { nothing: () => void }) => (nothing(), data) }),
      waitFor('event', [ShipmentDispatched, OrderReviewed], {
        instanceOf: ({ orderId }) => orderId,
        // @ts-expect-error only one of the two events has it
        onEvent: (data, payload) => ({ ...data, carrier: String(payload.carrier) }),
        timeoutMs: 1,
      }),
    ]);
    defineSaga<FulfilmentData>({ name: 'typed', version: 1 }, [
      command('screen', ScreenOrder, {
        send: ({ orderId, total }) => ({ orderId, total }),
        // @ts-expect-error a reply cannot change the type of a field
        onReply: (data, { score }) => ({ ...data, total: `${score}` }),
      }),
    ]);
  });
});

it('a saga can be drawn', () => {
  expect(sagaDiagram(fulfilment)).toMatchSnapshot();
});

it('the public API is what it is meant to be', () => {
  expect(Object.keys(api).sort()).toMatchInlineSnapshot(`
    [
      "AddSagaTrace1764200000000",
      "CreateSagaTables1763800000000",
      "InMemorySagaStore",
      "MAX_BUFFERED_EVENTS",
      "PostgresSagaStore",
      "SagaAbort",
      "SagaAlreadyStartedError",
      "SagaDefinitionFaultError",
      "SagaEngine",
      "SagaPark",
      "SagaTimers",
      "SagaVersionConflictError",
      "UnknownSagaError",
      "abort",
      "bindSaga",
      "command",
      "defineSaga",
      "drive",
      "explainWaiting",
      "hasEnded",
      "local",
      "migration",
      "parallel",
      "park",
      "parseSagaKey",
      "sagaCommandId",
      "sagaDiagram",
      "sagaKey",
      "sagaMigrations",
      "scope",
      "signal",
      "startInstance",
      "transition",
      "waitFor",
      "waitForSignal",
      "waitingFor",
      "waitsOf",
      "withoutDefinition",
    ]
  `);
  expect(Object.keys(testingApi).sort()).toMatchInlineSnapshot(`
    [
      "SagaSimulation",
      "assertAtRest",
      "assertLawful",
      "simulateSaga",
    ]
  `);
});
