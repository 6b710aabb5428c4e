import { BusinessError } from '@flotilla/contracts-protocol';
import type { SagaDefinition } from './definition/define-saga.ts';
import { reasonOf } from './definition/next.ts';
import { compensationOf } from './definition/steps.ts';
import type { SagaEffect, SagaInput, Transition } from './transition/contract.ts';
import { transition } from './transition/transition.ts';

/** An effect that is left once the local actions have run. */
export type OutwardEffect = Exclude<SagaEffect, { type: 'run' }>;

export interface Driven<D> extends Omit<Transition<D>, 'effects'> {
  readonly effects: readonly OutwardEffect[];
}

/**
 * Carries a transition through its local actions until the instance waits for something from outside or has ended.
 * A BusinessError of an action is a refusal; any other error is thrown, and nothing may be written then.
 */
export async function drive<D, A>(
  definition: SagaDefinition<D, A>,
  actions: A,
  first: Transition<D>,
  now: number,
): Promise<Driven<D>> {
  let { instance } = first;
  const history = [...first.history];
  const effects: OutwardEffect[] = [];
  let todo: readonly SagaEffect[] = first.effects;
  while (todo.length > 0) {
    let outcome: SagaInput | undefined;
    for (const effect of todo) {
      if (effect.type === 'run') outcome = await runAction(definition, actions, instance.data, effect);
      else effects.push(effect);
    }
    if (outcome === undefined) break;
    const next = transition(definition, instance, outcome, now);
    instance = next.instance;
    history.push(...next.history);
    todo = next.effects;
  }
  return { instance, effects, history, answer: first.answer };
}

async function runAction<D, A>(
  definition: SagaDefinition<D, A>,
  actions: A,
  data: D,
  { step: name, direction }: Extract<SagaEffect, { type: 'run' }>,
): Promise<SagaInput> {
  const step = definition.nodes.get(name)?.step;
  const compensation = step && compensationOf(step);
  try {
    if (direction === 'forward' && step?.kind === 'local') {
      return { type: 'ran', result: await step.run(data, actions) };
    }
    if (direction === 'compensation' && compensation?.kind === 'local') {
      return { type: 'ran', result: await compensation.run(data, actions) };
    }
  } catch (error) {
    if (!(error instanceof BusinessError)) throw error;
    return { type: 'run-refused', failure: reasonOf(error) };
  }
  throw new TypeError(
    `Saga ${definition.name} v${definition.version}: "${name}" has no local action (${direction})`,
  );
}
