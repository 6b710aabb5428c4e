import { dirname, resolve, sep } from 'node:path';

const DOMAIN = `${sep}src${sep}domain${sep}`;

/**
 * Keeps `apps/<service>/src/domain/` free of frameworks: it may import only the packages that the rule's options
 * name, and files of the same domain folder. Apply it to those files alone.
 *
 * @type {import('eslint').Rule.RuleModule}
 */
export const domainImports = {
  meta: {
    type: 'problem',
    docs: { description: 'The domain imports only the kernel, money and itself' },
    schema: [
      {
        type: 'object',
        properties: { packages: { type: 'array', items: { type: 'string' } } },
        required: ['packages'],
        additionalProperties: false,
      },
    ],
    messages: {
      foreign:
        'The domain may import only {{packages}} and its own files, not "{{source}}"; hand the rest in as plain values.',
    },
  },
  create(context) {
    const file = context.filename;
    const at = file.lastIndexOf(DOMAIN);
    if (at < 0) return {};
    const domain = file.slice(0, at + DOMAIN.length);
    /** @type {readonly string[]} */
    const packages = context.options[0].packages;

    /** @param {string} source */
    const allowed = (source) =>
      source.startsWith('.')
        ? resolve(dirname(file), source).startsWith(domain)
        : packages.some((name) => source === name || source.startsWith(`${name}/`));

    /** @param {import('estree').Node | null | undefined} node */
    const check = (node) => {
      if (node?.type !== 'Literal' || typeof node.value !== 'string' || allowed(node.value)) return;
      context.report({
        node,
        messageId: 'foreign',
        data: { source: node.value, packages: packages.join(', ') },
      });
    };

    return {
      ImportDeclaration: (node) => check(node.source),
      ImportExpression: (node) => check(node.source),
      ExportAllDeclaration: (node) => check(node.source),
      ExportNamedDeclaration: (node) => check(node.source),
    };
  },
};
