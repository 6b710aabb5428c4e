/** Where two parts of the fleet say different things, and for how long it may be that something is only on its way. */
export type DivergenceKind =
  /** In an outbox and not published. */
  | 'unpublished'
  /** Published by an outbox, and not in its stream. */
  | 'lost'
  /** In a stream, and waiting in a consumer. */
  | 'waiting'
  /** In a stream, acknowledged by a consumer, and not handled by its service. */
  | 'unhandled'
  /** Given up by a consumer. */
  | 'dead letter'
  /** A view that is not what the events say. */
  | 'view'
  /** A saga whose timer should have fired. */
  | 'timer';

/** What the owner is asked to do about it. */
export type RepairStep =
  | { readonly action: 'republish'; readonly position: string }
  | { readonly action: 'redeliver'; readonly position: string; readonly consumer: string }
  | { readonly action: 'mend' }
  | { readonly action: 'fire'; readonly saga: string };

/** One thing that has come apart. */
export interface Divergence {
  /** The same as long as it is the same divergence. */
  readonly id: string;
  readonly kind: DivergenceKind;
  /** The service that repairs it. */
  readonly service: string;
  readonly aggregate: string;
  /** A sentence. */
  readonly what: string;
  /** How it can be repaired; without one, `advice` says why not, and what to do. */
  readonly repair?: RepairStep;
  readonly advice?: string;
  /** Of a message: its place in the outbox of `origin`, to look at it again. */
  readonly position?: string;
  readonly origin?: string;
}

/** What to do about it, for a person. */
export function adviceOn({ aggregate, repair, advice }: Divergence): string {
  return repair === undefined ? (advice ?? 'look at it') : `fleet repair --aggregate ${aggregate}`;
}
