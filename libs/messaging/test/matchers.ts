/** A text that fits the pattern, inside an object that is matched; Jest's own is typed `any`. */
export function matching(pattern: RegExp): unknown {
  return expect.stringMatching(pattern);
}

/** A list that has these among others. */
export function containing(items: readonly unknown[]): unknown {
  return expect.arrayContaining([...items]);
}
