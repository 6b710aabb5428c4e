import { formatDurationMs } from '@flotilla/kernel';
import type { SagaDefinition } from './definition/define-saga.ts';
import { compensationOf, type CancelMode, type Compensation, type SagaStep } from './definition/steps.ts';

const DAY_MS = 86_400_000;

/** The saga as a Mermaid flowchart: the steps top to bottom, each with what is tried instead and what undoes it. */
export function sagaDiagram<D, A>(definition: SagaDefinition<D, A>): string {
  return new Drawing(definition).draw();
}

class Drawing<D, A> {
  readonly #definition: SagaDefinition<D, A>;
  readonly #lines: string[] = ['flowchart TD'];
  /** What leads to the next step. */
  #tails: readonly string[] = ['start'];

  constructor(definition: SagaDefinition<D, A>) {
    this.#definition = definition;
  }

  draw(): string {
    const { name, version, deadline, steps, scopes } = this.#definition;
    const within = deadline === undefined ? '' : `<br/>${limit(deadline.ms)}`;
    this.#line(`start(["${name} v${version}${within}"])`);
    steps.forEach((step, index) => {
      const entered = scopes.find(({ from }) => from === index);
      if (entered) {
        this.#line(`subgraph scope${entered.from} ["${entered.name} · ${limit(entered.deadline.ms)}"]`);
      }
      this.#step(step, index);
      if (scopes.some(({ to }) => to === index + 1)) this.#line('end');
    });
    this.#line('done(["completed"])');
    this.#arrive('done');
    return `${this.#lines.join('\n')}\n`;
  }

  #step(step: SagaStep<D, A>, index: number): void {
    const id = `s${index}`;
    const words = [...describe(step), ...this.#cancellation(step, index)];
    this.#line(`${id}${shape(step, label(step.name, words))}`);
    this.#arrive(id);
    if (step.kind !== 'parallel') {
      this.#tails = this.#rest(step, id, String(index));
      return;
    }
    this.#tails = step.branches.flatMap((branch, nth) => {
      const branchId = `${id}_${nth}`;
      this.#line(`${branchId}${shape(branch, label(branch.name, describe(branch)))}`);
      this.#line(`${id} --> ${branchId}`);
      return this.#rest(branch, branchId, `${index}_${nth}`);
    });
    this.#line(`j${index}(("all"))`);
    this.#arrive(`j${index}`);
    this.#tails = [`j${index}`];
  }

  /** What undoes a step and what is tried instead; returns what leads on from it. */
  #rest(step: SagaStep<D, A>, id: string, suffix: string): string[] {
    this.#undo(compensationOf(step), id, `u${suffix}`);
    const fallback = step.kind === 'command' ? step.fallback : undefined;
    if (fallback === undefined) return [id];
    this.#line(`f${suffix}["${fallback.command.contract.type}"]`);
    this.#line(`${id} -. else .-> f${suffix}`);
    this.#undo(fallback.compensation, `f${suffix}`, `uf${suffix}`);
    return [id, `f${suffix}`];
  }

  #undo(compensation: Compensation<D, A> | undefined, of: string, id: string): void {
    if (compensation === undefined) return;
    const undo = compensation.kind === 'command' ? compensation.command.contract.type : 'own change';
    this.#line(`${id}["${undo}"]`);
    this.#line(`${of} -. undone by .-> ${id}`);
  }

  #cancellation(step: SagaStep<D, A>, index: number): string[] {
    const { cancellableUntil, pivot } = this.#definition;
    if (step.cancel !== undefined) return [cancelWords(step.cancel)];
    return index === cancellableUntil && index !== pivot ? ['too late to cancel from here on'] : [];
  }

  #arrive(id: string): void {
    for (const tail of this.#tails) this.#line(`${tail} --> ${id}`);
    this.#tails = [id];
  }

  #line(text: string): void {
    this.#lines.push(`  ${text}`);
  }
}

function label(name: string, words: readonly string[]): string {
  return [`<b>${name}</b>`, ...words].join('<br/>');
}

function describe<D, A>(step: SagaStep<D, A>): string[] {
  const pivot = step.pivot ? ' · pivot' : '';
  const optional = step.when === undefined ? [] : ['(where needed)'];
  switch (step.kind) {
    case 'command':
      return [`${step.command.contract.type}${pivot}`, ...optional];
    case 'local':
      return [`own change${pivot}`, ...optional];
    case 'wait': {
      const awaited = step.signal
        ? `signal ${step.signal.name}`
        : step.events.map(({ contract }) => contract.type).join(' or ');
      return [awaited, limit(step.timeoutMs), ...optional];
    }
    case 'parallel':
      return ['at the same time', ...(step.deadline ? [limit(step.deadline.ms)] : []), ...optional];
  }
}

function cancelWords(cancel: CancelMode): string {
  if (typeof cancel === 'object') return `a cancellation undoes ${cancel.tryUndo} first`;
  const words = {
    allow: 'can be cancelled',
    wait: 'a cancellation waits for its end',
    tooLate: 'too late to cancel',
  };
  return words[cancel];
}

function limit(ms: number): string {
  const days = ms / DAY_MS;
  if (days > 1 && Number.isInteger(days)) return `within ${days} days`;
  return `within ${formatDurationMs(ms)}`;
}

function shape<D, A>(step: SagaStep<D, A>, text: string): string {
  if (step.kind === 'wait') return `>"${text}"]`;
  if (step.kind === 'parallel') return `{{"${text}"}}`;
  return step.pivot ? `[["${text}"]]` : `["${text}"]`;
}
