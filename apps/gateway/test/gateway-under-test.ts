import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newId } from '@flotilla/kernel';
import { startTestService, type TestService } from '@flotilla/service/testing';
import { EmbeddedIssuer } from '../src/auth/embedded-issuer.ts';
import { customerScopes, scopes, type Scope } from '../src/auth/scopes.ts';
import type { SigningKey, SigningKeys } from '../src/auth/signing-keys.ts';
import { GatewayConfig } from '../src/gateway.config.ts';
import { GatewayModule } from '../src/gateway.module.ts';
import { FakeServices } from './fake-services.ts';
import { FleetBehind } from './fleet-behind.ts';

export interface Call {
  readonly token?: string | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Sent as it is, with whatever content type `headers` say. */
  readonly raw?: string;
}

export interface HttpAnswer<T> {
  readonly status: number;
  readonly headers: Headers;
  readonly body: T;
  readonly text: string;
}

export const issuerName = 'flotilla';
export const everyScope = Object.keys(scopes) as Scope[];

/** A running gateway, the fleet behind it played by the test. */
export class GatewayUnderTest implements AsyncDisposable {
  readonly service: TestService;
  readonly fakes: FakeServices;
  readonly fleet: FleetBehind;
  readonly keyFile: string;
  readonly #issuer: EmbeddedIssuer;
  readonly #folder: string;

  private constructor(
    service: TestService,
    fakes: FakeServices,
    fleet: FleetBehind,
    issuer: EmbeddedIssuer,
    folder: string,
  ) {
    this.service = service;
    this.fakes = fakes;
    this.fleet = fleet;
    this.keyFile = join(folder, 'key.json');
    this.#issuer = issuer;
    this.#folder = folder;
  }

  static async start(env: Readonly<Record<string, string>> = {}): Promise<GatewayUnderTest> {
    const folder = await mkdtemp(join(tmpdir(), 'gateway-'));
    const keyFile = join(folder, 'key.json');
    const issuer = await EmbeddedIssuer.create({ issuer: issuerName, audience: 'flotilla', keyFile });
    const service = await startTestService({
      module: GatewayModule,
      config: GatewayConfig,
      env:
        env['AUTH_JWKS_URL'] === undefined
          ? { AUTH_EMBEDDED_ISSUER: 'true', AUTH_SIGNING_KEY_FILE: keyFile, ...env }
          : env,
    });
    const fakes = new FakeServices(service.broker);
    const fleet = new FleetBehind(fakes);
    await fleet.start();
    return new GatewayUnderTest(service, fakes, fleet, issuer, folder);
  }

  /** A token of the embedded issuer. */
  token(subject = 'c-1', scope: readonly Scope[] = customerScopes, ttlSeconds = 60): Promise<string> {
    return this.#issuer.issue({ subject, scope: scope.join(' '), ttlSeconds });
  }

  /** The key with which tokens are signed now, for tokens that the issuer would not make. */
  async signingKey(): Promise<SigningKey> {
    const { keys } = JSON.parse(await readFile(this.keyFile, 'utf8')) as { keys: SigningKeys };
    return keys[0];
  }

  operator(): Promise<string> {
    return this.token('operator', everyScope);
  }

  /** Makes a request; a POST gets an idempotency key of its own unless it brings one. */
  async call<T = unknown>(method: string, path: string, call: Call = {}): Promise<HttpAnswer<T>> {
    const response = await fetch(`${this.service.url}${path}`, {
      method,
      headers: {
        ...(call.token !== undefined && { authorization: `Bearer ${call.token}` }),
        ...(call.body !== undefined && { 'content-type': 'application/json' }),
        ...(method === 'POST' && { 'idempotency-key': newId() }),
        ...call.headers,
      },
      ...(call.body !== undefined && { body: JSON.stringify(call.body) }),
      ...(call.raw !== undefined && { body: call.raw }),
    });
    const text = await response.text();
    const type = response.headers.get('content-type') ?? '';
    const body = (type.includes('json') && text !== '' ? JSON.parse(text) : undefined) as T;
    return { status: response.status, headers: response.headers, body, text };
  }

  async stop(): Promise<void> {
    await this.service.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

/** The body of an order that the fleet behind takes. */
export const anOrder = (more: object = {}): object => ({
  lines: [
    { sku: 'LAMP', quantity: 6 },
    { sku: 'POST', quantity: 1 },
  ],
  payment: { token: 'tok_ok' },
  shipTo: { name: 'Ada', country: 'United Kingdom' },
  ...more,
});

/** What every problem has, with what this one has besides. */
export const aProblem = (status: number, code: string, more: object = {}): object =>
  expect.objectContaining({
    type: `urn:flotilla:problem:${code}`,
    status,
    title: expect.any(String) as string,
    detail: expect.any(String) as string,
    instance: expect.any(String) as string,
    correlationId: expect.any(String) as string,
    ...more,
  }) as object;
