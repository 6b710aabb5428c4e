import { Parser } from '@asyncapi/parser';
import { validate } from '@readme/openapi-parser';
import type { Json } from './schema-document.ts';

/** The severity of an error in the diagnostics of the AsyncAPI parser; warnings and hints are above. */
const ERROR = 0;

/** What the official AsyncAPI parser finds wrong with a document: empty when it is valid. */
export async function asyncApiProblems(document: Json): Promise<string[]> {
  const { diagnostics } = await new Parser().parse(JSON.stringify(document));
  return diagnostics
    .filter(({ severity }) => Number(severity) === ERROR)
    .map(({ path, message }) => `${path.join('.')}: ${message}`);
}

/** What the OpenAPI parser finds wrong with a document: empty when it is valid. */
export async function openApiProblems(document: Json): Promise<string[]> {
  // It resolves references in place: it gets a copy.
  const result = await validate(structuredClone(document) as Parameters<typeof validate>[0]);
  return result.valid ? [] : result.errors.map(({ message }) => message);
}
