import { z } from 'zod';
import type { Contract } from './define.ts';

/** The JSON Schemas (draft 2020-12) of one contract, as other languages and documents use them. */
export interface ContractSchema {
  readonly type: string;
  readonly kind: Contract['kind'];
  readonly payload: Readonly<Record<string, unknown>>;
  readonly reply?: Readonly<Record<string, unknown>>;
  readonly errors: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** Derives the JSON Schemas of a contract: the payload as a sender may write it, the reply as a caller gets it. */
export function jsonSchemaOf(contract: Contract): ContractSchema {
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

function schemaOf(schema: z.ZodType, io: 'input' | 'output'): Record<string, unknown> {
  return z.toJSONSchema(schema, { io });
}
