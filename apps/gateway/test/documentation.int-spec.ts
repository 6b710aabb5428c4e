import { PATH_METADATA } from '@nestjs/common/constants.js';
import { ModulesContainer } from '@nestjs/core';
import { routeOf, type Route } from '../src/http/route.ts';
import { routes } from '../src/http/routes.ts';
import { GatewayUnderTest } from './gateway-under-test.ts';

interface Operation {
  readonly operationId: string;
  readonly security?: readonly object[];
  readonly parameters?: readonly { readonly name: string; readonly in: string; readonly required: boolean }[];
  readonly requestBody?: { readonly required: boolean };
  readonly responses: Readonly<Record<string, { readonly content: Readonly<Record<string, unknown>> }>>;
}

interface OpenApi {
  readonly openapi: string;
  readonly info: { readonly title: string; readonly version: string };
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: object; readonly securitySchemes: object };
}

let gateway: GatewayUnderTest;
let openApi: OpenApi;
beforeAll(async () => {
  gateway = await GatewayUnderTest.start();
  openApi = (await gateway.call<OpenApi>('GET', '/openapi.json')).body;
});
afterAll(() => gateway.stop());

const operations = () =>
  Object.entries(openApi.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      name: `${method.toUpperCase()} ${path}`,
      path,
      operation,
    })),
  );

describe('the OpenAPI document', () => {
  it('is 3.1, and its parts are where they must be', () => {
    expect(openApi.openapi).toMatch(/^3\.1\.\d$/);
    expect(openApi.info).toMatchObject({
      title: expect.any(String) as string,
      version: expect.any(String) as string,
    });
    const ids = operations().map(({ operation }) => operation.operationId);
    expect(new Set(ids).size).toBe(ids.length);
    for (const { name, path, operation } of operations()) {
      const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, parameter]) => parameter);
      const declared = (operation.parameters ?? []).filter((each) => each.in === 'path');
      expect([name, declared.map((each) => each.name)]).toEqual([name, inPath]);
      expect(declared.every(({ required }) => required)).toBe(true);
      const statuses = Object.keys(operation.responses);
      expect([name, statuses.some((status) => status.startsWith('2'))]).toEqual([name, true]);
      for (const status of statuses.filter((each) => /^[45]/.test(each))) {
        expect(Object.keys(operation.responses[status]?.content ?? {})).toEqual(['application/problem+json']);
      }
    }
  });

  it('refers only to what is in it', () => {
    const text = JSON.stringify(openApi);
    for (const [, reference = ''] of text.matchAll(/"\$ref":"([^"]+)"/g)) {
      expect(reference).toMatch(/^#\//);
      const target = reference
        .slice(2)
        .split('/')
        .reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], openApi);
      expect([reference, target]).toEqual([reference, expect.any(Object)]);
    }
    expect(text).not.toContain('$schema');
  });

  it('has every route that is served, and no other', () => {
    const server = gateway.service.app.getHttpAdapter().getInstance();
    const documented = operations().map(({ name }) => name);
    expect(documented.sort()).toEqual(
      Object.values<Route>(routes)
        .map(({ method, path }) => `${method} ${path}`)
        .sort(),
    );
    for (const { method, path } of Object.values<Route>(routes)) {
      expect([path, server.hasRoute({ method, url: path.replaceAll(/\{(\w+)\}/g, ':$1') })]).toEqual([
        path,
        true,
      ]);
    }
  });

  it('has every method of every controller, but for the probes', () => {
    const served = [...gateway.service.get(ModulesContainer).values()]
      .flatMap(({ controllers }) => [...controllers.values()])
      .flatMap(({ metatype }) => {
        const { prototype } = metatype as { prototype: Record<string, object> };
        const methods = Object.getOwnPropertyNames(prototype).filter((name) => name !== 'constructor');
        return methods.map((name) => prototype[name] as object);
      })
      .filter((handler) => Reflect.hasMetadata(PATH_METADATA, handler));
    const documented = new Set<Route | undefined>(Object.values(routes));
    const others = served.filter((handler) => !documented.has(routeOf(handler)));
    expect(others.map((handler) => Reflect.getMetadata(PATH_METADATA, handler) as string).sort()).toEqual([
      'health/live',
      'health/ready',
      'metrics',
    ]);
    expect(served).toHaveLength(documented.size + 3);
  });

  it('says who may, what must be sent, and what comes back', () => {
    const place = openApi.paths['/v1/orders']?.['post'];
    expect(place?.security).toEqual([{ token: [] }]);
    expect(place?.requestBody?.required).toBe(true);
    expect(place?.parameters).toEqual([
      expect.objectContaining({ name: 'Idempotency-Key', in: 'header', required: true }),
    ]);
    expect(Object.keys(place?.responses ?? {})).toEqual(
      expect.arrayContaining(['202', '400', '401', '403', '409', '413', '415', '422', '429', '503']),
    );
    expect(openApi.paths['/v1/orders/{id}/cancel']?.['post']?.requestBody?.required).toBe(false);
    expect(openApi.paths['/v1/products']?.['get']?.security).toBeUndefined();
    expect(
      Object.keys(openApi.paths['/v1/orders/{id}/events']?.['get']?.responses['200']?.content ?? {}),
    ).toEqual(['text/event-stream']);
  });

  it('is there as YAML too', async () => {
    const { status, text } = await gateway.call('GET', '/openapi.yaml');
    expect(status).toBe(200);
    expect(text).toMatch(/^openapi: 3\.1\.\d/);
  });
});

describe('the documentation', () => {
  it('is a page that loads nothing from elsewhere', async () => {
    const page = await gateway.call('GET', '/docs');
    expect([page.status, page.headers.get('content-type')]).toEqual([
      200,
      expect.stringContaining('text/html'),
    ]);
    const assets = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, asset = '']) => asset);
    expect(assets.some((asset) => asset.includes('swagger-ui-bundle.js'))).toBe(true);
    for (const asset of assets) {
      const url = new URL(asset, `${gateway.service.url}/docs`);
      expect([asset, url.origin]).toEqual([asset, gateway.service.url]);
      expect([asset, (await fetch(url)).status]).toEqual([asset, 200]);
    }
    expect(page.text.replaceAll('http://www.w3.org/', '')).not.toMatch(/https?:\/\//);
    const settings = (await gateway.call('GET', '/docs/swagger-ui-init.js')).text;
    expect(settings).toContain('"validatorUrl": null');
    expect(settings).toContain('/v1/orders/{id}/events');
  });
});
