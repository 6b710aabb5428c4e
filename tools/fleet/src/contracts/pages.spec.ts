import { contractsOf, defineCommand, defineService } from '@flotilla/contracts-protocol';
import { z } from 'zod';
import { asyncApiDocument } from './asyncapi.ts';
import { asyncApiPage, indexPage, openApiPage } from './pages.ts';

class Pay extends defineCommand({
  owner: 'till',
  name: 'Pay',
  version: 1,
  payload: z.object({
    id: z.uuid(),
    lines: z.array(z.object({ sku: z.string().max(64), kind: z.enum(['a', 'b']).optional() })),
    note: z.string().describe('a < b & "c"').optional(),
  }),
  errors: { Broke: z.object({ left: z.int() }) },
}) {}

const asyncApi = asyncApiDocument({
  version: '1',
  manifests: [defineService({ name: 'till', handles: [Pay] }), defineService({ name: 'shop', sends: [Pay] })],
  contracts: contractsOf([Pay]),
  comments: new Map(),
});
const openApi = {
  openapi: '3.1.0',
  info: { title: 'API', version: '1' },
  paths: {
    '/a/{id}': {
      get: {
        operationId: 'readA',
        tags: ['a'],
        summary: 'Read <it>',
        description: 'Scope: `a:read`',
        parameters: [{ name: 'id', in: 'path', required: true, schema: { type: 'string', maxLength: 9 } }],
        responses: {
          200: {
            description: 'It',
            content: {
              'application/json': { schema: { type: 'object', properties: { a: { type: 'integer' } } } },
            },
          },
          404: { description: 'Not there' },
        },
      },
    },
  },
};
const pages = {
  'index.html': indexPage(asyncApi, openApi, new Map([['till', 'Takes `money`.']])),
  'asyncapi.html': asyncApiPage(asyncApi),
  'openapi.html': openApiPage(openApi),
};

describe('the pages', () => {
  it.each(Object.entries(pages))('%s needs no network, and its tags are closed', (_, html) => {
    expect(html).not.toMatch(/(?:src|href)="(?:https?:)?\/\//);
    expect(html).not.toMatch(/@import|url\(|fetch\(/);
    const open: string[] = [];
    const body = html.replaceAll(/<(style|script)>[^]*?<\/\1>/g, '');
    for (const [, slash, tag = ''] of body.matchAll(/<(\/?)([a-z0-9]+)[^>]*>/g)) {
      if (['meta', 'br', 'input'].includes(tag)) continue;
      if (slash === '') open.push(tag);
      else expect(open.pop()).toBe(tag);
    }
    expect(open).toEqual([]);
  });

  it('link only to what there is', () => {
    for (const [name, html] of Object.entries(pages)) {
      for (const [, file = '', id = ''] of html
        .replace(/<script>[^]*/, '')
        .matchAll(/href="([a-z]*\.?[a-z]*)#([^"]+)"/g)) {
        const target = pages[(file === '' ? name : file) as keyof typeof pages];
        if (id === 'shop') continue; // it has no README in this example
        expect({ id, found: target.includes(`id="${id}"`) }).toEqual({ id, found: true });
      }
    }
  });

  it('show a message with its fields, its users and its refusals', () => {
    const html = pages['asyncapi.html'];
    expect(html).toContain('<code>cmd.till.Pay.v1.{partition}.{key}</code>');
    expect(html).toContain('<a href="index.html#shop">shop</a>');
    expect(html).toContain('<code>lines[].sku</code></th><td>string</td><td>length up to 64');
    expect(html).toContain('<code>lines[].kind</code> <span class="quiet">optional</span>');
    expect(html).toContain('<code>a</code>, <code>b</code>');
    expect(html).toContain('a &lt; b &amp; "c"');
    expect(html).toContain('<code>Broke</code>');
  });

  it('show an operation with its parameters and answers', () => {
    const html = pages['openapi.html'];
    expect(html).toContain('<span class="kind">GET</span> <code>/a/{id}</code>');
    expect(html).toContain('Read &lt;it&gt;');
    expect(html).toContain('string (path)');
    expect(html).toContain('<abbr title="Not there">404</abbr>');
  });
});
