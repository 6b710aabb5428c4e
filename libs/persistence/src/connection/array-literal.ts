/** What JSON would write in another way than Postgres reads it: control characters, and halves of surrogate pairs. */
// eslint-disable-next-line no-control-regex
const NOT_AS_JSON = /[\u0000-\u001f\ud800-\udfff]/;

/**
 * An array as Postgres' text for it. The driver's own conversion takes two regular expressions and a copy for each of
 * them per element, which for bodies of messages, full of quotes, is a fifth of what a service allocates; a JSON string
 * is quoted and escaped as an element is, in one native step. Undefined for what only the driver converts: elements
 * that are neither text, number, boolean nor null.
 */
export function arrayLiteral(elements: readonly unknown[]): string | undefined {
  let literal = '{';
  for (let index = 0; index < elements.length; index += 1) {
    const element = elements[index];
    if (index > 0) literal += ',';
    switch (typeof element) {
      case 'string':
        literal += NOT_AS_JSON.test(element) ? escaped(element) : JSON.stringify(element);
        break;
      case 'number':
      case 'bigint':
      case 'boolean':
        literal += String(element);
        break;
      default:
        if (element !== null && element !== undefined) return undefined;
        literal += 'NULL';
    }
  }
  return `${literal}}`;
}

function escaped(text: string): string {
  return `"${text.replace(/["\\]/g, '\\$&')}"`;
}
