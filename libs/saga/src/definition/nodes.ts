import type { CommandCompensation, CommandStep, ParallelStep, SagaStep } from './steps.ts';

/**
 * A place where an instance can stand. Beside the declared steps there are three that the engine derives from them:
 * - `<step>/fallback`: the command that is tried instead;
 * - `<step>/withdraw`: the step's compensation, sent before its fallback because its effect is unknown;
 * - `<step>/cancel`: another step's compensation, sent at this step to find out whether it can still be cancelled.
 */
export interface Node<D, A> {
  readonly name: string;
  readonly role: 'step' | 'fallback' | 'withdraw' | 'cancel';
  /** What is done here. */
  readonly step: SagaStep<D, A>;
  /** The declared step that it belongs to. */
  readonly main: SagaStep<D, A>;
  /** Where that step, or its group, is in the saga. */
  readonly index: number;
  /** The group that the declared step is a branch of. */
  readonly group: ParallelStep<D, A> | undefined;
}

/** Every node by its name. */
export function nodesOf<D, A>(steps: readonly SagaStep<D, A>[]): ReadonlyMap<string, Node<D, A>> {
  const nodes = new Map<string, Node<D, A>>();
  const declared = new Map(
    steps.flatMap((step) => [step, ...branchesOf(step)]).map((step) => [step.name, step]),
  );
  steps.forEach((top, index) => {
    for (const main of [top, ...branchesOf(top)]) {
      const group = main !== top && top.kind === 'parallel' ? top : undefined;
      const add = (role: Node<D, A>['role'], step: SagaStep<D, A>): void =>
        void nodes.set(step.name, { name: step.name, role, step, main, index, group });
      add('step', main);
      if (main.kind === 'command' && main.fallback) {
        add('fallback', main.fallback);
        if (main.compensation?.kind === 'command') {
          add('withdraw', forwardUndo(`${main.name}/withdraw`, main.compensation));
        }
      }
      const undone = typeof main.cancel === 'object' ? declared.get(main.cancel.tryUndo) : undefined;
      if (undone?.kind === 'command' && undone.compensation?.kind === 'command') {
        add('cancel', forwardUndo(`${main.name}/cancel`, undone.compensation));
      }
    }
  });
  return nodes;
}

function branchesOf<D, A>(step: SagaStep<D, A>): readonly SagaStep<D, A>[] {
  return step.kind === 'parallel' ? step.branches : [];
}

/** A compensation as a step on the way forward. */
function forwardUndo<D, A>(name: string, undo: CommandCompensation<D>): CommandStep<D, A> {
  return {
    kind: 'command',
    name,
    command: undo.command,
    policy: undo.policy,
    when: undefined,
    pivot: false,
    cancel: undefined,
    make: undo.make,
    parseReply: () => undefined,
    replied: (data) => data,
    refused: ({ code }) => (undo.tolerated.has(code) ? (data) => data : undefined),
    onTimeout: 'park',
    onFailed: undefined,
    compensation: undefined,
    fallback: undefined,
  };
}
