import { at, isJson, textOf, type Json } from './schema-document.ts';

// Pages for people, made from the documents alone: plain HTML that needs no network, no server and no script. The
// script that there is filters.

/** The page with everything to go on from: the services, what they own, and the two references. */
export function indexPage(asyncApi: Json, openApi: Json, about: ReadonlyMap<string, string>): string {
  const contracts = contractsIn(asyncApi);
  const services = [...about].map(([name, text]) => {
    const own = contracts.filter(({ owner }) => owner === name);
    const received = contracts.filter(({ owner, receivedBy }) => owner !== name && receivedBy.includes(name));
    const links = (list: readonly ContractView[]): string =>
      list.length === 0
        ? '<span class="quiet">none</span>'
        : list.map(({ type }) => messageLink(type)).join(', ');
    return `<section class="card" data-find="${attribute(name)} ${attribute([...own, ...received].map(({ type }) => type).join(' '))}" id="${attribute(name)}">
<h2>${escape(name)}</h2>
<p>${inline(text)}</p>
<dl><dt>owns</dt><dd>${links(own)}</dd><dt>receives</dt><dd>${links(received)}</dd></dl>
</section>`;
  });
  const operations = Object.values(at(openApi, 'paths')).flatMap((path) => Object.keys(path as Json)).length;
  return page(
    'Flotilla reference',
    'index.html',
    `<p>What the services say to each other and to the world, as it follows from the code.</p>
<ul>
<li><a href="asyncapi.html">Messages</a>: ${contracts.length} commands, queries and events over NATS (<a href="asyncapi.json">asyncapi.json</a>, AsyncAPI 3)</li>
<li><a href="openapi.html">HTTP API</a>: ${operations} operations of the gateway (<a href="openapi.json">openapi.json</a>, OpenAPI 3.1)</li>
</ul>
${services.join('\n')}`,
    [...about.keys()].map((name) => ({ id: name, title: name })),
  );
}

/** The messages: who sends and receives each, its subjects, payload, answer and refusals. */
export function asyncApiPage(document: Json): string {
  const contracts = contractsIn(document);
  const messages = at(document, 'components', 'messages');
  const channels = at(document, 'channels');
  const sections = [...Map.groupBy(contracts, ({ owner }) => owner)].map(
    ([owner, list]) =>
      `<h2 id="${attribute(owner)}">${escape(owner)}</h2>\n${list
        .map((each) => messageCard(each, messages, channels))
        .join('\n')}`,
  );
  const schemas = at(document, 'components', 'schemas');
  return page(
    'Flotilla: messages',
    'asyncapi.html',
    `<p>${inline(textOf(at(document, 'info')['description']))}</p>
${sections.join('\n')}
<h2 id="headers">Headers</h2>
${Object.entries(schemas)
  .map(
    ([name, schema]) => `<section class="card" data-find="headers ${attribute(name)}" id="${attribute(name)}">
<h3>${escape(name)}</h3>${schemaTable(mergeAllOf(schema as Json, document))}</section>`,
  )
  .join('\n')}
<section class="card" data-find="failed" id="failed"><h3>A technical failure</h3>
${schemaTable(at(messages, 'failed', 'payload'))}</section>`,
    contracts.map(({ type, name, owner }) => ({ id: type, title: name, group: owner })),
  );
}

/** The HTTP API: each operation with its parameters, body and answers. */
export function openApiPage(document: Json): string {
  const operations = Object.entries(at(document, 'paths')).flatMap(([path, methods]) =>
    Object.entries(methods as Json).map(([method, operation]) => ({
      method: method.toUpperCase(),
      path,
      operation: operation as Json,
      id: textOf((operation as Json)['operationId']),
      tag: textOf((((operation as Json)['tags'] as unknown[]) ?? [])[0] ?? 'other'),
    })),
  );
  const sections = [...Map.groupBy(operations, ({ tag }) => tag)].map(
    ([tag, list]) =>
      `<h2 id="${attribute(tag)}">${escape(tag)}</h2>\n${list
        .map(
          ({ method, path, operation, id }) => `<section class="card" data-find="${attribute(
            `${method} ${path} ${id} ${textOf(operation['summary'])}`.toLowerCase(),
          )}" id="${attribute(id)}">
<h3><span class="kind">${method}</span> <code>${escape(path)}</code> ${anchor(id)}</h3>
<p>${inline(textOf(operation['summary']))}</p>
${operation['description'] === undefined ? '' : `<p>${inline(textOf(operation['description']))}</p>`}
${parametersTable(operation)}${bodyOf(operation)}${responsesOf(operation)}
</section>`,
        )
        .join('\n')}`,
  );
  const scopes = at(document, 'components', 'securitySchemes', 'token')['description'];
  return page(
    `${textOf(at(document, 'info')['title'])}: HTTP API ${textOf(at(document, 'info')['version'])}`,
    'openapi.html',
    `<p>${inline(textOf(at(document, 'info')['description']))}</p>
${sections.join('\n')}
<h2 id="scopes">Scopes</h2>
<ul>${textOf(scopes)
      .split('\n')
      .map((line) => `<li>${inline(line.replace(/^- /, ''))}</li>`)
      .join('')}</ul>
<section class="card" data-find="problem" id="problem"><h2>Problem</h2>
<p>Every error is one (RFC 9457).</p>
${schemaTable(at(document, 'components', 'schemas', 'Problem'))}</section>`,
    operations.map(({ id, method, path, tag }) => ({ id, title: `${method} ${path}`, group: tag })),
  );
}

interface ContractView {
  readonly type: string;
  readonly name: string;
  readonly owner: string;
  readonly kind: string;
  readonly sentBy: readonly string[];
  readonly receivedBy: readonly string[];
  readonly message: Json;
}

function contractsIn(document: Json): ContractView[] {
  return Object.entries(at(document, 'components', 'messages')).flatMap(([type, message]) => {
    const facts = at(message, 'x-flotilla');
    if (facts['kind'] === undefined) return [];
    return {
      type,
      name: textOf((message as Json)['title']),
      owner: type.slice(0, type.indexOf('.')),
      kind: textOf(facts['kind']),
      sentBy: facts['sentBy'] as string[],
      receivedBy: facts['receivedBy'] as string[],
      message: message as Json,
    };
  });
}

function messageCard(contract: ContractView, messages: Json, channels: Json): string {
  const { type, name, kind, sentBy, receivedBy, message } = contract;
  const facts = at(message, 'x-flotilla');
  const subjects = ['rpc', 'cmd', 'evt'].flatMap((prefix) => {
    const { address } = at(channels, `${prefix}.${type}`);
    return typeof address === 'string' ? [`<code>${escape(address)}</code>`] : [];
  });
  const services = (names: readonly string[]): string =>
    names.length === 0
      ? '<span class="quiet">nobody</span>'
      : names.map((each) => `<a href="index.html#${attribute(each)}">${escape(each)}</a>`).join(', ');
  const refusals = Object.entries(messages).filter(([id]) => id.startsWith(`${type}.refused.`));
  const reply = at(messages, `${type}.ok`);
  const key =
    facts['key'] === undefined ? "the message's own id" : `<code>${escape(textOf(facts['key']))}</code>`;
  return `<section class="card" data-find="${attribute(
    [type, kind, ...sentBy, ...receivedBy, ...refusals.map(([id]) => id)].join(' ').toLowerCase(),
  )}" id="${attribute(type)}">
<h3>${escape(name)} <span class="kind">${escape(kind)}</span> <code class="quiet">${escape(type)}</code> ${anchor(type)}</h3>
${message['summary'] === undefined ? '' : `<p>${inline(textOf(message['summary']))}</p>`}
<dl>
<dt>from</dt><dd>${services(sentBy)}</dd>
<dt>to</dt><dd>${services(receivedBy)}</dd>
<dt>subject</dt><dd>${subjects.join('<br>')}</dd>
${kind === 'query' ? '' : `<dt>key</dt><dd>${key}</dd>`}
${facts['timeoutMs'] === undefined ? '' : `<dt>answered within</dt><dd>${Number(facts['timeoutMs']) / 1_000} s, unless the caller says otherwise</dd>`}
</dl>
<h4>Payload</h4>${schemaTable(at(message, 'payload'))}
${kind === 'event' ? '' : `<h4>Answer</h4>${schemaTable(at(reply, 'payload'))}`}
${
  refusals.length === 0
    ? ''
    : `<h4>Refusals</h4>${refusals
        .map(
          ([id, refusal]) =>
            `<p><code>${escape(id.slice(`${type}.refused.`.length))}</code> ${inline(
              textOf((refusal as Json)['summary']),
            )}</p>${schemaTable(at(refusal, 'payload', 'properties', 'data'))}`,
        )
        .join('')}`
}
</section>`;
}

function parametersTable(operation: Json): string {
  const parameters = (operation['parameters'] ?? []) as Json[];
  if (parameters.length === 0) return '';
  return `<h4>Parameters</h4>${tableOf(
    parameters.map((each) => ({
      field: textOf(each['name']),
      type: `${typeText(at(each, 'schema'))} (${textOf(each['in'])})`,
      required: each['required'] === true,
      text: [textOf(each['description'] ?? at(each, 'schema')['description']), ...limits(at(each, 'schema'))],
    })),
  )}`;
}

function bodyOf(operation: Json): string {
  const schema = at(operation, 'requestBody', 'content', 'application/json', 'schema');
  return operation['requestBody'] === undefined ? '' : `<h4>Body</h4>${schemaTable(schema)}`;
}

function responsesOf(operation: Json): string {
  const responses = Object.entries(at(operation, 'responses'));
  const good = responses.filter(([status]) => status.startsWith('2'));
  const bad = responses.filter(([status]) => !status.startsWith('2'));
  return `${good
    .map(([status, response]) => {
      const [[type, content] = ['', {}]] = Object.entries(at(response, 'content'));
      return `<h4>${escape(status)} <code>${escape(type)}</code></h4><p>${inline(
        textOf((response as Json)['description']),
      )}</p>${schemaTable(at(content, 'schema'))}`;
    })
    .join('')}<h4>Errors</h4><p>${bad
    .map(
      ([status, response]) =>
        `<abbr title="${attribute(textOf((response as Json)['description']))}">${escape(status)}</abbr>`,
    )
    .join(', ')} (<a href="#problem">problem</a>)</p>`;
}

interface Row {
  readonly field: string;
  readonly type: string;
  readonly required: boolean;
  readonly text: readonly string[];
}

function schemaTable(schema: Json): string {
  const rows = rowsOf(schema, '', true);
  if (rows.length === 1 && rows[0]?.field === '') {
    const [{ type, text }] = rows as [Row];
    return `<p>${escape(type)} ${inOneLine(text)}</p>`;
  }
  return rows.length === 0 ? '<p class="quiet">no fields</p>' : tableOf(rows);
}

/** A schema as rows: one per field, nested ones with their path. */
function rowsOf(schema: Json, field: string, required: boolean): Row[] {
  const properties = Object.entries(at(schema, 'properties'));
  const needed = (schema['required'] ?? []) as string[];
  const inner = properties.flatMap(([name, each]) =>
    rowsOf(each as Json, field === '' ? name : `${field}.${name}`, needed.includes(name)),
  );
  if (field === '' && schema['type'] === 'object' && !isJson(schema['additionalProperties'])) return inner;
  const text = [
    textOf(schema['description'] ?? at(schema, 'items')['description']),
    ...limits(schema),
  ].filter((each) => each !== '');
  const element = schema['items'];
  const elements =
    isJson(element) && element['type'] === 'object' ? rowsOf(element, `${field}[]`, true).slice(1) : [];
  return [{ field, type: typeText(schema), required, text }, ...inner, ...elements];
}

function typeText(schema: Json): string {
  const { type, items, format } = schema;
  const variants = schema['anyOf'] ?? schema['oneOf'];
  if (Array.isArray(variants)) return variants.map((each) => typeText(each as Json)).join(' or ');
  if (schema['const'] !== undefined) return JSON.stringify(schema['const']);
  if (type === 'array') return `list of ${isJson(items) ? typeText(items) : 'anything'}`;
  if (Array.isArray(schema['enum'])) return 'one of';
  if (type === undefined) return 'anything';
  return typeof format === 'string' ? `${textOf(type)} (${format})` : textOf(type);
}

function limits(schema: Json): string[] {
  const said: string[] = [];
  const say = (keyword: string, words: string): void => {
    if (schema[keyword] !== undefined) said.push(`${words} ${textOf(schema[keyword])}`);
  };
  if (Array.isArray(schema['enum']))
    said.push(schema['enum'].map((each) => `\`${String(each)}\``).join(', '));
  say('minimum', 'from');
  say('exclusiveMinimum', 'above');
  say('maximum', 'up to');
  say('exclusiveMaximum', 'below');
  say('minLength', 'length from');
  say('maxLength', 'length up to');
  say('minItems', 'entries from');
  say('maxItems', 'entries up to');
  if (schema['pattern'] !== undefined) said.push(`\`${textOf(schema['pattern'])}\``);
  if (schema['default'] !== undefined) said.push(`default \`${JSON.stringify(schema['default'])}\``);
  if (Array.isArray(schema['examples'])) {
    said.push(`such as ${schema['examples'].map((each) => `\`${JSON.stringify(each)}\``).join(', ')}`);
  }
  return said;
}

function mergeAllOf(schema: Json, document: Json): Json {
  const parts = schema['allOf'];
  if (!Array.isArray(parts)) return schema;
  const own = parts.filter((each): each is Json => isJson(each) && each['$ref'] === undefined);
  const names = parts.flatMap((each) => (isJson(each) ? textOf(each['$ref']).split('/').slice(-1) : []));
  const bases = names.map((name) => at(document, 'components', 'schemas', name));
  const all = [...bases, ...own];
  return {
    type: 'object',
    required: all.flatMap((each) => (each['required'] ?? []) as string[]),
    properties: Object.assign({}, ...all.map((each) => at(each, 'properties'))) as Json,
  };
}

/** A description and what else is known of a field, one after the other; the description's full stop goes. */
function inOneLine(text: readonly string[]): string {
  const parts = text.filter((each) => each !== '');
  return parts
    .map((each, index) => inline(index < parts.length - 1 ? each.replace(/\.$/, '') : each))
    .join('; ');
}

function tableOf(rows: readonly Row[]): string {
  return `<div class="scroll"><table><thead><tr><th scope="col">field</th><th scope="col">type</th><th scope="col"></th></tr></thead><tbody>
${rows
  .map(
    ({ field, type, required, text }) =>
      `<tr><th scope="row"><code>${escape(field)}</code>${required ? '' : ' <span class="quiet">optional</span>'}</th><td>${escape(type)}</td><td>${inOneLine(text)}</td></tr>`,
  )
  .join('\n')}
</tbody></table></div>`;
}

interface Entry {
  readonly id: string;
  readonly title: string;
  readonly group?: string;
}

function page(title: string, current: string, body: string, entries: readonly Entry[]): string {
  const links = [
    ['index.html', 'Overview'],
    ['asyncapi.html', 'Messages'],
    ['openapi.html', 'HTTP API'],
  ] as const;
  const groups = [...Map.groupBy(entries, ({ group = '' }) => group)].map(
    ([group, list]) =>
      `${group === '' ? '' : `<h2>${escape(group)}</h2>`}<ul>${list
        .map(({ id, title: text }) => `<li><a href="#${attribute(id)}">${escape(text)}</a></li>`)
        .join('')}</ul>`,
  );
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header><nav aria-label="Pages">${links
    .map(
      ([href, text]) =>
        `<a href="${href}"${href === current ? ' aria-current="page"' : ''}>${escape(text)}</a>`,
    )
    .join(' ')}</nav>
<label>Filter <input type="search" id="filter" autocomplete="off"></label> <span id="count" role="status"></span></header>
<div class="columns">
<nav class="contents" aria-label="On this page">${groups.join('\n')}</nav>
<main id="main"><h1>${escape(title)}</h1>
${body}
</main>
</div>
<script>${SCRIPT}</script>
</body>
</html>
`;
}

const STYLE = `
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--accent:light-dark(#0a5a9c,#7ab8f5);--quiet:light-dark(#5b6470,#a0a8b4)}
*{box-sizing:border-box}body{margin:0;font:16px/1.5 system-ui,sans-serif;background:light-dark(#fff,#14171c);color:light-dark(#1b1f24,#e4e7eb)}
a{color:var(--accent)}code{font:.9em ui-monospace,monospace;overflow-wrap:anywhere}.quiet{color:var(--quiet);font-weight:normal}
.skip{position:absolute;left:-99em}.skip:focus{left:1em;top:1em}
header{position:sticky;top:0;z-index:1;display:flex;flex-wrap:wrap;gap:.5em 1.5em;align-items:center;padding:.6em 1.2em;border-bottom:1px solid var(--line);background:inherit}
header nav a{margin-right:1em}[aria-current]{font-weight:bold;text-decoration:none}
input{font:inherit;padding:.2em .5em;width:min(22em,60vw)}
.columns{display:grid;grid-template-columns:16em minmax(0,1fr)}
.contents{position:sticky;top:3.2em;align-self:start;max-height:calc(100vh - 3.2em);overflow:auto;padding:1em 1.2em;font-size:.9em}
.contents h2{font-size:1em;margin:.8em 0 .2em}.contents ul{list-style:none;margin:0;padding:0}.contents li{overflow-wrap:anywhere}
main{padding:1em 1.2em 4em;max-width:70em}
.card{border:1px solid var(--line);border-radius:8px;padding:.4em 1.2em 1em;margin:1em 0;scroll-margin-top:4em}h2[id]{scroll-margin-top:4em}
.card h2,.card h3{margin:.4em 0}.card h4{margin:1em 0 .3em}.kind{font-size:.75em;padding:.1em .5em;border:1px solid var(--line);border-radius:1em;background:var(--soft)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1em 1em;margin:.5em 0}dt{color:var(--quiet)}dd{margin:0}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.92em}th,td{text-align:left;vertical-align:top;padding:.25em .8em .25em 0;border-top:1px solid var(--line)}thead th{color:var(--quiet);font-weight:normal;border:0}tbody th{font-weight:normal;min-width:12em}tbody td:nth-child(2){white-space:nowrap}
@media(max-width:50em){.columns{display:block}.contents{position:static;max-height:none}}
`;

/** Hides the cards that do not have every word of the filter, and the entries of the contents that lead to them. */
const SCRIPT = `
const filter=document.getElementById('filter'),count=document.getElementById('count'),cards=[...document.querySelectorAll('[data-find]')];
const apply=()=>{const words=filter.value.toLowerCase().split(/\\s+/).filter(Boolean);let shown=0;
for(const card of cards){const hit=words.every(word=>card.dataset.find.toLowerCase().includes(word));card.hidden=!hit;if(hit)shown++;
for(const link of document.querySelectorAll('.contents a[href="#'+CSS.escape(card.id)+'"],.contents a[href="#'+card.id+'"]'))link.parentElement.hidden=!hit}
count.textContent=words.length?shown+' of '+cards.length:''};
filter.addEventListener('input',apply);apply();
`;

function messageLink(type: string): string {
  return `<a href="asyncapi.html#${attribute(type)}">${escape(type)}</a>`;
}

function anchor(id: string): string {
  return `<a class="quiet" href="#${attribute(id)}" aria-label="Link to ${attribute(id)}">#</a>`;
}

/** Text with its \`code\` marked. */
function inline(text: string): string {
  return escape(text)
    .replaceAll(/`([^`]+)`/g, '<code>$1</code>')
    .replaceAll(/\[([^\]]+)\]\([^)]*\)/g, '$1');
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

function attribute(text: string): string {
  return escape(text).replaceAll('"', '&quot;');
}
