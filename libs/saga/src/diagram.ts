import type { SagaDefinition, SagaStep } from './definition.ts';

/** The saga as a Mermaid flowchart: the steps top to bottom, each with what undoes it. */
export function sagaDiagram<D, A>(definition: SagaDefinition<D, A>): string {
  const lines = ['flowchart TD', `  start(["${definition.name} v${definition.version}"])`];
  let before = 'start';
  definition.steps.forEach((step, index) => {
    const id = `s${index}`;
    const optional = step.when === undefined ? '' : '<br/>(where needed)';
    lines.push(
      `  ${id}${shape(step, `<b>${step.name}</b><br/>${describe(step)}${optional}`)}`,
      `  ${before} --> ${id}`,
    );
    if (step.kind !== 'wait' && step.compensation !== undefined) {
      const undo =
        step.compensation.kind === 'command' ? step.compensation.command.contract.type : 'own change';
      lines.push(`  u${index}["${undo}"]`, `  ${id} -. undone by .-> u${index}`);
    }
    before = id;
  });
  lines.push('  done(["completed"])', `  ${before} --> done`);
  return `${lines.join('\n')}\n`;
}

function describe<D, A>(step: SagaStep<D, A>): string {
  const pivot = step.pivot ? ' · pivot' : '';
  switch (step.kind) {
    case 'command':
      return `${step.command.contract.type}${pivot}`;
    case 'local':
      return `own change${pivot}`;
    case 'wait':
      return step.events.map(({ contract }) => contract.type).join(' or ');
  }
}

function shape<D, A>(step: SagaStep<D, A>, text: string): string {
  if (step.kind === 'wait') return `>"${text}"]`;
  return step.pivot ? `[["${text}"]]` : `["${text}"]`;
}
