import { z } from 'zod';
import type { Contract } from './define.ts';

/** The dialects of JSON Schema that a contract can be written in; AsyncAPI 3 documents use draft 7. */
export type SchemaDialect = 'draft-2020-12' | 'draft-7';

/** The JSON Schemas of one contract, as other languages and documents use them. */
export interface ContractSchema {
  readonly type: string;
  readonly kind: Contract['kind'];
  readonly payload: Readonly<Record<string, unknown>>;
  readonly reply?: Readonly<Record<string, unknown>>;
  readonly errors: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** Derives the JSON Schemas of a contract: the payload as a sender may write it, the reply as a caller gets it. */
export function jsonSchemaOf(contract: Contract, dialect: SchemaDialect = 'draft-2020-12'): ContractSchema {
  const schemaOf = (schema: z.ZodType, io: 'input' | 'output'): Record<string, unknown> =>
    z.toJSONSchema(schema, { io, target: dialect });
  const reply = contract.reply && schemaOf(contract.reply, 'output');
  return {
    type: contract.type,
    kind: contract.kind,
    payload: schemaOf(contract.payload, 'input'),
    ...(reply && { reply }),
    errors: Object.fromEntries(
      Object.entries(contract.errors).map(([code, schema]) => [code, schemaOf(schema, 'output')]),
    ),
  };
}
