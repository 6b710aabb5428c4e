const secretName = /token|secret|password|authorization|cookie/i;

/** A copy of plain data in which the values of fields that are called like a secret are not shown. */
export function maskSecrets(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(maskSecrets);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, field]) => [
      name,
      secretName.test(name) && typeof field === 'string' ? '***' : maskSecrets(field),
    ]),
  );
}
