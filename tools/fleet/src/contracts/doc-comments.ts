import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import ts from 'typescript';
import { workspaceRoot } from '../workspace.ts';

/** What the comments in the sources say of a value on the wire. */
export interface ValueComments {
  readonly text?: string;
  readonly fields?: Readonly<Record<string, ValueComments>>;
  readonly items?: ValueComments;
}

/** What the comments say of one contract. */
export interface ContractComments {
  readonly text?: string;
  readonly payload: ValueComments;
  readonly reply: ValueComments;
  readonly errors: Readonly<Record<string, ValueComments>>;
}

/**
 * The doc comments of the contracts in `libs/contracts`, by message type. Schemas carry no words, the sources do:
 * they are read as text, without running them, following names through the contract packages. A schema that is
 * written in a way which is not followed here has no words in the documents, and nothing else is lost.
 */
export function contractComments(root: string = workspaceRoot): Map<string, ContractComments> {
  const sources = new Sources(join(root, 'libs/contracts'));
  const comments = new Map<string, ContractComments>();
  for (const file of sources.files()) {
    for (const statement of sources.parse(file).statements) {
      if (!ts.isClassDeclaration(statement)) continue;
      const spec = specOf(statement);
      if (spec === undefined) continue;
      const facts = sources.properties(spec, file);
      const [owner, name, version] = ['owner', 'name', 'version'].map((each) => literal(facts.get(each)));
      if (owner === undefined || name === undefined || version === undefined) continue;
      const text = commentOf(statement);
      const errors = facts.get('errors');
      comments.set(`${owner}.${name}.v${version}`, {
        ...(text !== undefined && { text }),
        payload: sources.value(facts.get('payload'), file),
        reply: sources.value(facts.get('reply'), file),
        errors:
          errors !== undefined && ts.isObjectLiteralExpression(errors) ? sources.fields(errors, file) : {},
      });
    }
  }
  return comments;
}

/** The sources of the contract packages, parsed once each. */
class Sources {
  readonly #folder: string;
  readonly #parsed = new Map<string, ts.SourceFile>();
  /** Names that are being followed, so that a schema that mentions itself ends. */
  readonly #following = new Set<ts.Node>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  files(): string[] {
    return readdirSync(this.#folder)
      .sort()
      .map((name) => join(this.#folder, name, 'src'))
      .filter((folder) => existsSync(folder))
      .flatMap((folder) =>
        readdirSync(folder)
          .filter((file) => file.endsWith('.ts') && !file.endsWith('.spec.ts'))
          .sort()
          .map((file) => join(folder, file)),
      );
  }

  parse(file: string): ts.SourceFile {
    let parsed = this.#parsed.get(file);
    if (parsed === undefined) {
      parsed = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.ES2023, true);
      this.#parsed.set(file, parsed);
    }
    return parsed;
  }

  /** The properties of an object literal, those of spread constants included. */
  properties(object: ts.ObjectLiteralExpression, file: string): Map<string, ts.Expression> {
    const properties = new Map<string, ts.Expression>();
    for (const property of object.properties) {
      if (ts.isSpreadAssignment(property) && ts.isIdentifier(property.expression)) {
        const found = this.#declaration(property.expression.text, file);
        const spread = found && plain(found.declaration.initializer);
        if (found && spread && ts.isObjectLiteralExpression(spread)) {
          for (const [name, value] of this.properties(spread, found.file)) properties.set(name, value);
        }
      } else if (ts.isPropertyAssignment(property)) {
        properties.set(property.name.getText().replaceAll(/^['"]|['"]$/g, ''), property.initializer);
      } else if (ts.isShorthandPropertyAssignment(property)) {
        properties.set(property.name.text, property.name);
      }
    }
    return properties;
  }

  /** What is said of the fields that an object literal of schemas lists. */
  fields(object: ts.ObjectLiteralExpression, file: string): Record<string, ValueComments> {
    const fields: Record<string, ValueComments> = {};
    for (const property of object.properties) {
      if (ts.isSpreadAssignment(property)) {
        Object.assign(fields, this.value(property.expression, file).fields);
        continue;
      }
      const value = ts.isPropertyAssignment(property)
        ? this.value(property.initializer, file)
        : ts.isShorthandPropertyAssignment(property)
          ? this.value(property.name, file)
          : undefined;
      if (value === undefined || property.name === undefined) continue;
      const text = commentOf(property) ?? value.text;
      fields[property.name.getText().replaceAll(/^['"]|['"]$/g, '')] = {
        ...value,
        ...(text !== undefined && { text }),
      };
    }
    return fields;
  }

  /** What is said of the value that an expression of zod describes. */
  value(expression: ts.Expression | undefined, file: string): ValueComments {
    const node = plain(expression);
    if (node === undefined) return {};
    if (ts.isIdentifier(node)) return this.#named(node.text, file);
    if (ts.isPropertyAccessExpression(node)) {
      return node.name.text === 'shape' || node.name.text === 'element'
        ? this.value(node.expression, file)
        : {};
    }
    if (!ts.isCallExpression(node) || !ts.isPropertyAccessExpression(node.expression)) return {};
    const { expression: target, name } = node.expression;
    const [argument] = node.arguments;
    if (ts.isIdentifier(target) && target.text === 'z') {
      switch (name.text) {
        case 'object':
        case 'strictObject':
        case 'looseObject':
          return argument !== undefined && ts.isObjectLiteralExpression(argument)
            ? { fields: this.fields(argument, file) }
            : {};
        case 'array':
          return { items: this.value(argument, file) };
        case 'optional':
        case 'nullable':
          return this.value(argument, file);
        default:
          return {};
      }
    }
    const base = this.value(target, file);
    if (name.text === 'array') return { items: base };
    if (name.text === 'extend' && argument !== undefined && ts.isObjectLiteralExpression(argument)) {
      // What is said of the base is not said of what extends it; what is said of its fields is.
      return { fields: { ...base.fields, ...this.fields(argument, file) } };
    }
    return base;
  }

  #named(name: string, file: string): ValueComments {
    const found = this.#declaration(name, file);
    if (found === undefined || this.#following.has(found.declaration)) return {};
    this.#following.add(found.declaration);
    try {
      const value = this.value(found.declaration.initializer, found.file);
      const text = commentOf(found.declaration.parent.parent) ?? value.text;
      return { ...value, ...(text !== undefined && { text }) };
    } finally {
      this.#following.delete(found.declaration);
    }
  }

  /** Where a constant is declared: in the file itself, or where it is imported or re-exported from. */
  #declaration(
    name: string,
    file: string,
  ): { readonly declaration: ts.VariableDeclaration; readonly file: string } | undefined {
    for (const statement of this.parse(file).statements) {
      if (ts.isVariableStatement(statement)) {
        const declaration = statement.declarationList.declarations.find(
          (each) => ts.isIdentifier(each.name) && each.name.text === name,
        );
        if (declaration) return { declaration, file };
      }
      const [elements, specifier] = namesFrom(statement);
      const element = elements.find((each) => each.name.text === name);
      const from = element && specifier && this.#resolve(specifier, file);
      if (from) return this.#declaration((element.propertyName ?? element.name).text, from);
    }
    return undefined;
  }

  #resolve(specifier: string, from: string): string | undefined {
    const contracts = /^@flotilla\/contracts-([a-z0-9-]+)$/.exec(specifier)?.[1];
    const file =
      contracts !== undefined
        ? join(this.#folder, contracts, 'src/index.ts')
        : specifier.startsWith('.')
          ? join(dirname(from), specifier)
          : undefined;
    return file !== undefined && existsSync(file) ? file : undefined;
  }
}

type NamedElement = ts.ImportSpecifier | ts.ExportSpecifier;

/** The names that a statement imports or re-exports, and from where. */
function namesFrom(statement: ts.Statement): [readonly NamedElement[], string | undefined] {
  if (!ts.isImportDeclaration(statement) && !ts.isExportDeclaration(statement)) return [[], undefined];
  const bindings = ts.isImportDeclaration(statement)
    ? statement.importClause?.namedBindings
    : statement.exportClause;
  const elements =
    bindings && (ts.isNamedImports(bindings) || ts.isNamedExports(bindings)) ? bindings.elements : [];
  const { moduleSpecifier } = statement;
  return [
    elements,
    moduleSpecifier && ts.isStringLiteral(moduleSpecifier) ? moduleSpecifier.text : undefined,
  ];
}

/** What a class passes to `defineCommand`, `defineQuery` or `defineEvent`. */
function specOf(declaration: ts.ClassDeclaration): ts.ObjectLiteralExpression | undefined {
  const parent = declaration.heritageClauses?.[0]?.types[0]?.expression;
  if (!parent || !ts.isCallExpression(parent) || !/^define[A-Z]/.test(parent.expression.getText())) {
    return undefined;
  }
  const [spec] = parent.arguments;
  return spec && ts.isObjectLiteralExpression(spec) ? spec : undefined;
}

/** An expression without `as const`, `satisfies` and parentheses. */
function plain(expression: ts.Expression | undefined): ts.Expression | undefined {
  let node = expression;
  while (
    node &&
    (ts.isAsExpression(node) || ts.isSatisfiesExpression(node) || ts.isParenthesizedExpression(node))
  ) {
    node = node.expression;
  }
  return node;
}

function literal(expression: ts.Expression | undefined): string | undefined {
  const node = plain(expression);
  return node && (ts.isStringLiteralLike(node) || ts.isNumericLiteral(node)) ? node.text : undefined;
}

/** The doc comment of a node as one paragraph. */
function commentOf(node: ts.Node): string | undefined {
  const comment = ts.getJSDocCommentsAndTags(node).filter(ts.isJSDoc).at(-1)?.comment;
  const text = ts.getTextOfJSDocComment(comment)?.replaceAll(/\s+/g, ' ').trim();
  return text === undefined || text === '' ? undefined : text.replaceAll(/\{@link (\S+?)\}/g, '$1');
}
