import { schemaChanges, type Change, type Position } from './schema-changes.ts';
import { at, isJson, textOf, type Json } from './schema-document.ts';

export interface ContractChange extends Change {
  /** The message type, or method and path of the HTTP API. */
  readonly of: string;
  /** Of the message or operation: where in it the path is. */
  readonly part: string;
}

/** How the messages of two AsyncAPI documents differ. The rules are in docs/adr/0030. Pure. */
export function messageChanges(before: Json, after: Json): ContractChange[] {
  const [was, is] = [before, after].map(contractsIn) as [Map<string, Published>, Map<string, Published>];
  const changes: ContractChange[] = [];
  for (const [type, now] of is) {
    const old = was.get(type);
    if (old === undefined) {
      changes.push({ of: type, part: '', path: '', text: `a new ${now.kind}`, breaking: false });
      continue;
    }
    changes.push(...contractChanges(type, old, now));
  }
  for (const [type, { kind }] of was) {
    if (is.has(type)) continue;
    const successor = successorOf(type, was);
    changes.push({
      of: type,
      part: '',
      path: '',
      text: `the ${kind} is gone${successor === undefined ? '' : `, ${successor} was beside it before`}`,
      breaking: successor === undefined,
    });
  }
  return changes.sort((a, b) => (a.of < b.of ? -1 : a.of > b.of ? 1 : 0));
}

/** How the HTTP API of two OpenAPI documents differs. Pure. */
export function apiChanges(before: Json, after: Json): ContractChange[] {
  const [was, is] = [before, after].map(operationsIn) as [Map<string, Json>, Map<string, Json>];
  const changes: ContractChange[] = [];
  for (const [of, now] of is) {
    const old = was.get(of);
    if (old === undefined) {
      changes.push({ of, part: '', path: '', text: 'a new operation', breaking: false });
      continue;
    }
    changes.push(...operationChanges(of, old, now));
  }
  for (const of of was.keys()) {
    if (!is.has(of)) changes.push({ of, part: '', path: '', text: 'the operation is gone', breaking: true });
  }
  return changes.sort((a, b) => (a.of < b.of ? -1 : a.of > b.of ? 1 : 0));
}

/** One message as its document publishes it. */
interface Published {
  readonly kind: string;
  readonly addresses: string;
  readonly facts: Json;
  readonly payload: Json;
  readonly reply: Json | undefined;
  readonly errors: ReadonlyMap<string, Json>;
}

function contractChanges(of: string, old: Published, now: Published): ContractChange[] {
  const changes: ContractChange[] = [];
  const say = (text: string, breaking: boolean, part = ''): void => {
    changes.push({ of, part, path: '', text, breaking });
  };
  const compare = (part: string, was: Json, is: Json, position: Position): void => {
    changes.push(...schemaChanges(was, is, position).map((change) => ({ ...change, of, part })));
  };
  if (old.kind !== now.kind) {
    say(`the ${old.kind} became a ${now.kind}`, true);
    return changes;
  }
  if (old.addresses !== now.addresses) say(`the subject ${old.addresses} became ${now.addresses}`, true);
  const [key, wasKey] = [now.facts['key'], old.facts['key']].map((each) =>
    textOf(each ?? "the message's own id"),
  );
  // Messages of one aggregate would be in two places, and overtake each other.
  if (key !== wasKey) say(`the key ${wasKey} became ${key}`, true);
  const [version, wasVersion] = [now.facts['aggregateVersion'], old.facts['aggregateVersion']];
  if (version !== wasVersion)
    say('the aggregate version that its header carries changed', wasVersion !== undefined);
  if (old.facts['timeoutMs'] !== now.facts['timeoutMs']) {
    say(`callers wait ${textOf(now.facts['timeoutMs'])} ms, not ${textOf(old.facts['timeoutMs'])} ms`, false);
  }
  compare('payload', old.payload, now.payload, now.kind === 'event' ? 'stored' : 'request');
  if (old.reply && now.reply) {
    // Who asked for nothing reads nothing.
    if (old.reply['type'] === 'null' && now.reply['type'] !== 'null') say('it answers now', false, 'reply');
    else compare('reply', old.reply, now.reply, 'stored');
  }
  for (const [code, data] of now.errors) {
    const before = old.errors.get(code);
    // A refusal of any code is final for the caller, known or not: sagas compensate, requests fail with the code.
    if (before === undefined) say(`a new refusal ${code}`, false);
    else compare(`refusal ${code}`, before, data, 'stored');
  }
  for (const code of old.errors.keys()) {
    if (!now.errors.has(code)) say(`the refusal ${code} is gone`, false);
  }
  return changes;
}

function contractsIn(document: Json): Map<string, Published> {
  const messages = at(document, 'components', 'messages');
  return new Map(
    Object.entries(messages).flatMap(([type, message]): [string, Published][] => {
      const facts = at(message, 'x-flotilla');
      if (facts['kind'] === undefined) return [];
      const reply = messages[`${type}.ok`];
      const refused = `${type}.refused.`;
      const addresses = ['rpc', 'cmd', 'evt']
        .map((prefix) => at(document, 'channels', `${prefix}.${type}`)['address'])
        .filter((address) => typeof address === 'string');
      return [
        [
          type,
          {
            kind: textOf(facts['kind']),
            addresses: addresses.join(' and '),
            facts,
            payload: at(message, 'payload'),
            reply: reply === undefined ? undefined : at(reply, 'payload'),
            errors: new Map(
              Object.entries(messages)
                .filter(([id]) => id.startsWith(refused))
                .map(([id, each]) => [id.slice(refused.length), at(each, 'payload', 'properties', 'data')]),
            ),
          },
        ],
      ];
    }),
  );
}

/** A newer version of a message that was published beside it: then its users had the time to move. */
function successorOf(type: string, published: ReadonlyMap<string, unknown>): string | undefined {
  const [name, version] = splitVersion(type);
  return [...published.keys()].find((each) => {
    const [otherName, otherVersion] = splitVersion(each);
    return otherName === name && otherVersion > version;
  });
}

function splitVersion(type: string): [string, number] {
  const at = type.lastIndexOf('.v');
  return [type.slice(0, at), Number(type.slice(at + 2))];
}

function operationsIn(document: Json): Map<string, Json> {
  return new Map(
    Object.entries(at(document, 'paths')).flatMap(([path, methods]) =>
      Object.entries(at(methods)).map(([method, each]): [string, Json] => [
        `${method.toUpperCase()} ${path}`,
        at(each),
      ]),
    ),
  );
}

function operationChanges(of: string, old: Json, now: Json): ContractChange[] {
  const changes: ContractChange[] = [];
  const say = (part: string, text: string, breaking: boolean): void => {
    changes.push({ of, part, path: '', text, breaking });
  };
  const compare = (part: string, was: Json, is: Json, position: Position): void => {
    changes.push(...schemaChanges(was, is, position).map((change) => ({ ...change, of, part })));
  };
  // The scope that a caller needs is in the description.
  if (old['description'] !== now['description']) {
    const [was, is] = [old, now].map(({ description }) => textOf(description ?? 'public'));
    say('', `the access ${was} became ${is}`, now['description'] !== undefined);
  }

  const [was, is] = [old, now].map(parametersOf) as [Map<string, Json>, Map<string, Json>];
  for (const [name, parameter] of is) {
    const before = was.get(name);
    if (before === undefined) {
      const required = parameter['required'] === true;
      say(name, `a new ${required ? 'required' : 'optional'} parameter`, required);
      continue;
    }
    if (before['required'] !== parameter['required']) {
      const required = parameter['required'] === true;
      say(name, `the parameter became ${required ? 'required' : 'optional'}`, required);
    }
    compare(name, at(before, 'schema'), at(parameter, 'schema'), 'request');
  }
  for (const name of was.keys()) {
    if (!is.has(name)) say(name, 'the parameter is gone', true);
  }

  const bodies = [old, now].map((each) => at(each, 'requestBody')) as [Json, Json];
  const schemas = bodies.map((each) => at(each, 'content', 'application/json', 'schema')) as [Json, Json];
  if (bodies[0]['content'] === undefined && bodies[1]['content'] !== undefined) {
    say('body', 'it takes a body', bodies[1]['required'] === true);
  } else if (bodies[0]['content'] !== undefined && bodies[1]['content'] === undefined) {
    say('body', 'it takes no body any more', true);
  } else {
    if (bodies[0]['required'] !== true && bodies[1]['required'] === true)
      say('body', 'it became required', true);
    compare('body', schemas[0], schemas[1], 'request');
  }

  const answers = [old, now].map((each) => at(each, 'responses')) as [Json, Json];
  for (const status of new Set(answers.flatMap((each) => Object.keys(each)))) {
    const [before, after] = answers.map((each) => each[status]);
    const good = status.startsWith('2');
    if (before === undefined) say(status, 'a new answer', good);
    else if (after === undefined) say(status, 'the answer is gone', good);
    else {
      const contents = [before, after].map((each) => at(each, 'content')) as [Json, Json];
      for (const type of Object.keys(contents[0])) {
        if (isJson(contents[1][type])) {
          compare(status, at(contents[0], type, 'schema'), at(contents[1], type, 'schema'), 'answer');
        } else say(status, `it is no ${type} any more`, true);
      }
    }
  }
  return changes;
}

function parametersOf(operation: Json): Map<string, Json> {
  const parameters = (operation['parameters'] ?? []) as Json[];
  return new Map(parameters.map((each) => [`${textOf(each['in'])} ${textOf(each['name'])}`, each]));
}
