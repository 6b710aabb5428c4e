import type { SeedResult } from '../run-seed.ts';

/** What a simulating process is asked for. */
export interface SeedRequest {
  readonly seed: number;
  readonly trace: boolean;
  readonly bug?: string;
}

/** What it answers; `ready` once, when it has loaded the services and made the databases. */
export type WorkerAnswer =
  { readonly type: 'ready' } | { readonly type: 'result'; readonly result: SeedResult };
