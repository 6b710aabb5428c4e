import { contractsOf, jsonSchemaOf, type Contract, type ServiceManifest } from '@flotilla/contracts-protocol';
import { errorMessage } from '@flotilla/kernel';

export interface ContractFindings {
  /** What would not work: a command that nobody answers, an event that nobody publishes. */
  readonly problems: readonly string[];
  /** What is allowed and perhaps forgotten. */
  readonly remarks: readonly string[];
}

/** Compares what the services say of themselves with each other and with the published contracts. Pure. */
export function checkContracts(
  manifests: readonly ServiceManifest[],
  published: readonly Contract[],
): ContractFindings {
  const services = new Set(manifests.map(({ name }) => name));
  const answering = whoHas(manifests, ({ answers }) => answers);
  const owning = whoHas(manifests, ({ handles }) => handles);
  const publishing = whoHas(manifests, ({ publishes }) => publishes);
  const calling = whoHas(manifests, ({ calls, sends }) => [...new Set([...calls, ...sends])]);
  const reacting = whoHas(manifests, ({ reacts }) => [
    ...new Set(Object.values(reacts).flatMap(({ events }) => events)),
  ]);
  const problems: string[] = [];
  const remarks: string[] = [];

  for (const [type, callers] of calling) {
    if (!answering.has(type))
      problems.push(`${type}: ${callers.join(', ')} asks for it, and no service answers`);
  }
  for (const [type, answerers] of answering) {
    if (answerers.length === 1) continue;
    const owner = owning.get(type)?.[0];
    const why = owner === undefined ? '' : `; ${owner} owns it, so nobody has to stand in for it any more`;
    problems.push(`${type}: answered by ${answerers.join(' and ')}${why}`);
  }
  for (const [type, reactors] of reacting) {
    if (!publishing.has(type))
      problems.push(`${type}: ${reactors.join(', ')} reacts to it, and no service publishes it`);
  }
  for (const contract of published) {
    const { type, kind, owner } = contract;
    try {
      jsonSchemaOf(contract);
    } catch (error) {
      problems.push(`${type}: no JSON Schema can be made of it: ${errorMessage(error)}`);
    }
    const offered = kind === 'event' ? publishing : answering;
    if (!offered.has(type)) {
      const text = `${type}: published as ${owner}'s, and ${owner} does not ${kind === 'event' ? 'publish' : 'answer'} it`;
      (services.has(owner) ? problems : remarks).push(text);
    } else if (!(kind === 'event' ? reacting : calling).has(type)) {
      remarks.push(`${type}: nobody ${kind === 'event' ? 'reacts to' : 'asks for'} it`);
    }
  }
  for (const [type, count] of Map.groupBy(published, ({ type }) => type)) {
    if (count.length > 1) problems.push(`${type}: defined ${count.length} times`);
  }
  return { problems, remarks };
}

/** The services that have each message type in one of their lists. */
function whoHas(
  manifests: readonly ServiceManifest[],
  list: (manifest: ServiceManifest) => ServiceManifest['answers'],
): Map<string, string[]> {
  const who = new Map<string, string[]>();
  for (const manifest of manifests) {
    for (const { type } of contractsOf(list(manifest)))
      who.set(type, [...(who.get(type) ?? []), manifest.name]);
  }
  return who;
}
