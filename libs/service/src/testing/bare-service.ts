import 'reflect-metadata';
import type { DynamicModule, InjectionToken, Provider, Type } from '@nestjs/common';
import { ModuleRef, ModulesContainer } from '@nestjs/core';
import { InstanceWrapper } from '@nestjs/core/injector/instance-wrapper.js';
import { FlotillaError } from '@flotilla/kernel';
import { ChassisModule } from '../chassis.module.ts';
import type { ServiceParts } from '../service-parts.ts';
import { ServiceRuntime } from '../service-runtime.ts';

// The keys under which the decorators of @nestjs/common keep what they were given; its package does not export them.
const PARAMETER_TYPES = 'design:paramtypes';
const INJECTED = 'self:paramtypes';
const OPTIONAL = 'optional:paramtypes';

/** Serves HTTP only. */
const LEFT_OUT: ReadonlySet<string> = new Set(['HealthModule']);

export interface BareServiceOptions {
  /** Called with each part as it is made, and answers what takes its place: the part itself, or another around it. */
  readonly wrap?: (token: InjectionToken, part: unknown) => unknown;
}

/** A service without HTTP and without Nest's own container, which takes longer to start than a simulation may. */
export interface BareService {
  get<T>(token: InjectionToken): T;
  /** Starts to handle messages. */
  start(): Promise<void>;
}

/**
 * Makes a service of the providers that `ChassisModule` and the service's module list, and calls their hooks as Nest
 * would: the same parts, wired the same way. Request scope, property injection and circular dependencies are not
 * supported, and said so.
 */
export async function makeBareService(
  parts: ServiceParts,
  { wrap = (_, part) => part }: BareServiceOptions = {},
): Promise<BareService> {
  const container = new BareContainer(wrap);
  container.add(ChassisModule.forRoot(parts));
  await container.makeAll();
  return {
    get: (token) => container.get(token),
    start: () => container.get<ServiceRuntime>(ServiceRuntime).start(),
  };
}

interface Definition {
  /** What `HandlerRegistry` looks at. */
  readonly metatype: unknown;
  readonly dependencies: readonly { readonly token: InjectionToken; readonly optional: boolean }[];
  readonly make: (...dependencies: never[]) => unknown;
  readonly isFactory: boolean;
}

class BareContainer {
  readonly #wrap: NonNullable<BareServiceOptions['wrap']>;
  readonly #definitions = new Map<InjectionToken, Definition>();
  /** The tokens of each module, imported ones first: the order of their hooks. */
  readonly #modules: InjectionToken[][] = [];
  readonly #made = new Map<InjectionToken, unknown>();
  readonly #making = new Set<InjectionToken>();

  constructor(wrap: NonNullable<BareServiceOptions['wrap']>) {
    this.#wrap = wrap;
    const moduleRef = { get: (token: InjectionToken) => this.get(token) };
    this.#made.set(ModuleRef, moduleRef);
  }

  add(module: DynamicModule | Type<unknown>): void {
    const type = 'module' in module ? module.module : module;
    if (LEFT_OUT.has(type.name)) return;
    const listed = (key: string): unknown[] => (Reflect.getMetadata(key, type) ?? []) as unknown[];
    const dynamic = 'module' in module ? module : undefined;
    for (const imported of [...listed('imports'), ...(dynamic?.imports ?? [])])
      this.add(imported as DynamicModule);
    const providers = [...listed('providers'), ...(dynamic?.providers ?? [])] as Provider[];
    const tokens: InjectionToken[] = [];
    for (const provider of providers) {
      const token = typeof provider === 'function' ? provider : provider.provide;
      this.#definitions.set(token, definitionOf(provider));
      tokens.push(token);
    }
    this.#modules.push(tokens);
  }

  get<T>(token: InjectionToken): T {
    if (!this.#made.has(token)) throw new NotProvidedError(token);
    return this.#made.get(token) as T;
  }

  async makeAll(): Promise<void> {
    this.#made.set(ModulesContainer, this.#modulesContainer());
    for (const token of this.#definitions.keys()) await this.#make(token);
    for (const hook of ['onModuleInit', 'onApplicationBootstrap'] as const) {
      for (const tokens of this.#modules) {
        await Promise.all(
          [...new Set(tokens.map((token) => this.#made.get(token)))].map((part) => callHook(part, hook)),
        );
      }
    }
  }

  async #make(token: InjectionToken): Promise<unknown> {
    if (this.#made.has(token)) return this.#made.get(token);
    const definition = this.#definitions.get(token);
    if (definition === undefined) throw new NotProvidedError(token);
    if (this.#making.has(token))
      throw new FlotillaError('CIRCULAR_DEPENDENCY', `${nameOf(token)} needs itself`, { retry: 'never' });
    this.#making.add(token);
    const dependencies: unknown[] = [];
    for (const { token: needed, optional } of definition.dependencies) {
      const known = this.#made.has(needed) || this.#definitions.has(needed);
      dependencies.push(!known && optional ? undefined : await this.#make(needed));
    }
    const part: unknown = await (definition.make as (...all: unknown[]) => unknown)(...dependencies);
    this.#making.delete(token);
    const wrapped = this.#wrap(token, part);
    this.#made.set(token, wrapped);
    return wrapped;
  }

  /** What Nest knows of its modules, as far as the chassis reads it. */
  #modulesContainer(): ModulesContainer {
    const wrappers = (): Map<InjectionToken, InstanceWrapper> =>
      new Map(
        [...this.#definitions].map(([token, { metatype, isFactory }]) => [
          token,
          new InstanceWrapper({
            token,
            name: nameOf(token),
            metatype: metatype as Type<unknown>,
            instance: this.#made.get(token),
            isResolved: true,
            ...(isFactory && { inject: [] }),
          }),
        ]),
      );
    const module = {
      get providers() {
        return wrappers();
      },
    };
    return new Map([['service', module]]) as unknown as ModulesContainer;
  }
}

function definitionOf(provider: Provider): Definition {
  if (typeof provider === 'function') return classDefinition(provider);
  if ('useClass' in provider) return classDefinition(provider.useClass);
  if ('useValue' in provider)
    return { metatype: null, dependencies: [], make: () => provider.useValue as unknown, isFactory: false };
  if ('useExisting' in provider) {
    return {
      metatype: null,
      dependencies: [{ token: provider.useExisting as InjectionToken, optional: false }],
      make: (existing: unknown) => existing,
      isFactory: true,
    };
  }
  const { useFactory, inject = [] } = provider;
  return {
    metatype: useFactory,
    dependencies: inject.map((each) =>
      typeof each === 'object' && 'token' in each
        ? { token: each.token, optional: each.optional }
        : { token: each, optional: false },
    ),
    make: useFactory,
    isFactory: true,
  };
}

function classDefinition(type: Type<unknown>): Definition {
  const read = <T>(key: string): T[] => (Reflect.getMetadata(key, type) ?? []) as T[];
  const types = read<InjectionToken>(PARAMETER_TYPES);
  const injected = new Map(
    read<{ index: number; param: InjectionToken }>(INJECTED).map(({ index, param }) => [index, param]),
  );
  const optional = new Set(read<number>(OPTIONAL));
  return {
    metatype: type,
    dependencies: types.map((token, index) => ({
      token: injected.get(index) ?? token,
      optional: optional.has(index),
    })),
    make: (...dependencies: never[]) => new type(...dependencies),
    isFactory: false,
  };
}

async function callHook(part: unknown, hook: 'onModuleInit' | 'onApplicationBootstrap'): Promise<void> {
  if (typeof part !== 'object' || part === null || !(hook in part)) return;
  const method = (part as Record<string, unknown>)[hook];
  if (typeof method === 'function') await Reflect.apply(method, part, []);
}

function nameOf(token: InjectionToken): string {
  return typeof token === 'function' ? token.name : String(token);
}

/** Thrown when a part needs something that no module provides. Code `NOT_PROVIDED`. */
export class NotProvidedError extends FlotillaError {
  constructor(token: InjectionToken) {
    super('NOT_PROVIDED', `Nothing provides ${nameOf(token)}: list it among the providers of a module`, {
      retry: 'never',
    });
  }
}
