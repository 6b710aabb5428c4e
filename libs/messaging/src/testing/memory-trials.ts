import { Trials } from '../trials.ts';

/** Trials whose record is in `records`: give the same to two of them, and they are two processes of one service. */
export function memoryTrials(records = new Map<string, string>()): Trials {
  return new Trials('pad', {
    read: async (subject) => records.get(subject),
    write: async (subject, text) => void records.set(subject, text),
  });
}
