import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';

export type JsonSchema = Readonly<Record<string, unknown>>;

export interface Parameter {
  readonly name: string;
  readonly in: 'path' | 'query' | 'header';
  readonly required: boolean;
  readonly schema: JsonSchema;
}

interface Content {
  readonly content?: Readonly<Record<string, { readonly schema?: JsonSchema }>>;
}

interface OperationObject {
  readonly operationId: string;
  readonly security?: readonly object[];
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: Content & { readonly required?: boolean };
  readonly responses: Readonly<Record<string, Content>>;
}

interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, OperationObject>>>>;
  readonly components?: { readonly schemas?: Readonly<Record<string, JsonSchema>> };
}

/** What is known of an answer that is to be checked. */
export interface Answer {
  readonly status: number;
  readonly contentType: string | undefined;
  readonly text: string;
}

/** One operation of an OpenAPI 3.1 document. */
export class Operation {
  readonly id: string;
  readonly method: string;
  /** With `{name}` for a parameter. */
  readonly path: string;
  readonly secured: boolean;
  readonly parameters: readonly Parameter[];
  /** The schema of its JSON body, if it takes one. */
  readonly body: JsonSchema | undefined;
  readonly #responses: Readonly<Record<string, Content>>;
  readonly #document: OpenApiDocument;
  readonly #bodyFits: ValidateFunction | undefined;

  constructor(document: OpenApiDocument, path: string, method: string, operation: OperationObject) {
    this.#document = document;
    this.path = path;
    this.method = method.toUpperCase();
    this.id = operation.operationId;
    this.secured = (operation.security ?? []).length > 0;
    this.parameters = operation.parameters ?? [];
    this.body = operation.requestBody?.content?.['application/json']?.schema;
    this.#responses = operation.responses;
    this.#bodyFits = this.body && document.compile(this.body);
  }

  parametersIn(place: Parameter['in']): readonly Parameter[] {
    return this.parameters.filter((each) => each.in === place);
  }

  /** Whether the document allows the body. */
  takes(body: unknown): boolean {
    return this.#bodyFits?.(body) ?? true;
  }

  /** How an answer differs from what the document says of it; empty where it does not. */
  problemsOf({ status, contentType, text }: Answer): string[] {
    const described = this.#responses[String(status)];
    if (!described) return [`${status} is not documented: ${Object.keys(this.#responses).join(', ')}`];
    const type = contentType?.split(';', 1)[0]?.trim() ?? '';
    const media = described.content?.[type];
    if (!media)
      return [`${status} as "${type}", documented: ${Object.keys(described.content ?? {}).join(', ')}`];
    if (!type.includes('json')) return [];
    let body: unknown;
    try {
      body = JSON.parse(text);
    } catch {
      return [`${status} is no JSON: ${text.slice(0, 100)}`];
    }
    const fits = this.#document.compile(media.schema ?? {});
    if (fits(body)) return [];
    return (fits.errors ?? []).map(
      ({ instancePath, message }) => `${status}: ${instancePath} ${message ?? ''}`,
    );
  }
}

/** An OpenAPI 3.1 document, as a client gets it from the server. */
export class OpenApiDocument {
  readonly operations: readonly Operation[];
  readonly #ajv = new Ajv2020({ strict: false, allErrors: true });
  readonly #compiled = new Map<JsonSchema, ValidateFunction>();
  readonly #schemas: Readonly<Record<string, JsonSchema>>;

  private constructor(document: Document) {
    // An interop default: the package is CommonJS.
    (addFormats as unknown as (ajv: Ajv2020) => void)(this.#ajv);
    this.#schemas = document.components?.schemas ?? {};
    this.operations = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => new Operation(this, path, method, operation)),
    );
  }

  static async load(url: string): Promise<OpenApiDocument> {
    const response = await fetch(`${url}/openapi.json`);
    return new OpenApiDocument((await response.json()) as Document);
  }

  operation(id: string): Operation {
    const found = this.operations.find((each) => each.id === id);
    if (!found) throw new Error(`The document has no operation ${id}`);
    return found;
  }

  /** Validates by a schema of the document, whose references it knows. */
  compile(schema: JsonSchema): ValidateFunction {
    let compiled = this.#compiled.get(schema);
    if (!compiled) {
      compiled = this.#ajv.compile({ ...schema, components: { schemas: this.#schemas } });
      this.#compiled.set(schema, compiled);
    }
    return compiled;
  }
}
