import type { ValueTransformer } from 'typeorm';

/** The driver gives a bigint as text, to lose nothing; amounts are safe integers by their column's check. */
export const minorUnits: ValueTransformer = {
  to: (amount: number) => amount,
  from: (text: string) => Number(text),
};
