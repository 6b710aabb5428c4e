// Jest may load setup and teardown as separate copies of this module: what they share lies on globalThis.
const key = Symbol.for('flotilla.testing.teardown');

interface Keeper {
  [key]?: () => Promise<void>;
}

const keeper = globalThis as typeof globalThis & Keeper;

export function keepForTeardown(action: () => Promise<void>): void {
  keeper[key] = action;
}

export async function tearDown(): Promise<void> {
  const action = keeper[key];
  delete keeper[key];
  await action?.();
}
