import 'reflect-metadata';
import type { Socket } from 'node:net';
import type { ServiceManifest } from '@flotilla/contracts-protocol';
import { FlotillaError } from '@flotilla/kernel';
import { Module, type DynamicModule, type InjectionToken, type Type } from '@nestjs/common';
import { MODULE_METADATA } from '@nestjs/common/constants.js';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { EntityTarget, MigrationInterface, ObjectLiteral } from 'typeorm';
import type { ChassisConfig } from './config/chassis-settings.ts';
import type { CallPolicySpec } from './cqrs/call-policies.options.ts';
import type { Projection } from './projections/projection.ts';
import type { ScheduleSpec } from './schedules/schedule.options.ts';

/** A saga of a service: injected, because its limits may come from the configuration. */
export interface SagaRegistration {
  /** The provider of the definition (`defineSaga`); all versions that still have instances are registered. */
  readonly definition: InjectionToken;
  /** The class with the saga's actions. */
  readonly actions: Type<unknown>;
  /** The reaction of the manifest that brings the events it waits for, if it waits for any. */
  readonly reaction?: string;
}

/** What a service may say of how its HTTP server is made: see Fastify and Node's `http.createServer`. */
export interface HttpServerOptions {
  /** Addresses and networks of proxies whose `X-Forwarded-*` headers are believed. Default: none. */
  readonly trustProxy?: readonly string[];
  /** How long a request may take to come in, headers and body, in milliseconds. Default 30,000. */
  readonly receiveTimeoutMs?: number;
  /** After how long without a byte in either direction a connection is cut, in milliseconds. Default 75,000. */
  readonly idleTimeoutMs?: number;
  /** Answers a request whose address cannot be read, before any hook has seen it. Default: Nest's. */
  readonly frameworkErrors?: (error: Error, request: FastifyRequest, reply: FastifyReply) => void;
  /** Answers what is not HTTP, or came in too slowly, and ends the connection. Default: Fastify's. */
  readonly clientErrorHandler?: (error: NodeJS.ErrnoException, socket: Socket) => void;
}

export interface ServiceSpec {
  readonly manifest: ServiceManifest;
  /** TypeORM entities of the service's own database. */
  readonly entities?: readonly (EntityTarget<ObjectLiteral> & (abstract new (...args: never[]) => object))[];
  /** Its migrations, in order. */
  readonly migrations?: readonly (new () => MigrationInterface)[];
  readonly sagas?: readonly SagaRegistration[];
  /**
   * How it calls others, where that differs from the defaults: `callPolicy(GetStock, {...})`,
   * `ownerPolicy('inventory', {...})`. `CALL_POLICIES` overrides their numbers.
   */
  readonly callPolicies?: readonly CallPolicySpec[];
  /** Its views of others' events; each takes the events of the reaction that has its name. */
  readonly projections?: readonly Projection[];
  /** What runs at certain times, by name; each has a class with `@Schedule('name')` among the providers. */
  readonly schedules?: Readonly<Record<string, ScheduleSpec>>;
  /**
   * How its HTTP server is made, where that differs from the chassis' defaults: limits, proxies that are trusted.
   * Given the service's configuration.
   */
  readonly httpServer?: (config: ChassisConfig) => HttpServerOptions;
  /** Adds to the HTTP server what has to be there before the routes: plugins, documentation. */
  readonly http?: (app: NestFastifyApplication) => Promise<void> | void;
}

const SERVICE_SPEC = 'flotilla:service-spec';

/** Says in a service's module what the chassis has to know: `imports: [FlotillaModule.forService({...})]`. */
@Module({})
export class FlotillaModule {
  /** Declares the service. `runService` finds it here and provides buses, database, sagas and jobs to all modules. */
  static forService(spec: ServiceSpec): DynamicModule {
    const module = { module: FlotillaModule };
    Reflect.defineMetadata(SERVICE_SPEC, spec, module);
    return module;
  }
}

/** What a service's module declares with {@link FlotillaModule.forService}. */
export function serviceSpecOf(module: Type<unknown>): ServiceSpec {
  const imports = (Reflect.getMetadata(MODULE_METADATA.IMPORTS, module) ?? []) as unknown[];
  for (const imported of imports) {
    if (typeof imported !== 'object' || imported === null) continue;
    const spec = Reflect.getMetadata(SERVICE_SPEC, imported) as ServiceSpec | undefined;
    if (spec) return spec;
  }
  throw new FlotillaError(
    'NOT_A_SERVICE',
    `${module.name} does not say which service it is: add FlotillaModule.forService({ manifest, ... }) to its imports`,
    { retry: 'never' },
  );
}
