/** One thing that is not as it has to be. */
export interface Violation {
  /** The aggregate, or the place: an order's id, a SKU, a stream, a consumer. */
  readonly about: string;
  /** A sentence. */
  readonly what: string;
}

/** What one check found. */
export interface CheckOutcome {
  readonly name: string;
  /** What has to hold. */
  readonly meaning: string;
  readonly ok: boolean;
  /** How many things were looked at; a check that has looked at nothing has shown nothing. */
  readonly counted: number;
  /** How many violations there are; at most {@link KEPT} of them are kept. */
  readonly violated: number;
  readonly violations: readonly Violation[];
}

/** What the checker says of a whole fleet. */
export interface CheckReport {
  readonly ok: boolean;
  /** ISO 8601, when it began to read. */
  readonly at: string;
  readonly tookMs: number;
  readonly orders: {
    /** Those that the API accepted, as the caller has told. */
    readonly accepted: number;
    readonly found: number;
    readonly completed: number;
    readonly rejected: number;
    readonly cancelled: number;
    /** Found, and in none of these. */
    readonly open: number;
  };
  /** Accepted orders that are not there, or have not ended. */
  readonly lost: number;
  /** Orders, or effects of orders, that there are twice. */
  readonly duplicated: number;
  readonly checks: readonly CheckOutcome[];
  /** What is allowed and worth knowing. */
  readonly notes: readonly string[];
}

/** Violations of one check that are kept, so that a fleet in ruins fits into memory. */
export const KEPT = 100;

/** The checks, by name: what each means. */
export const meanings = {
  'accepted orders': 'every order that the API accepted is there as it was asked for, and has ended',
  'one order per key': 'one idempotency key made one order',
  'terminal states': 'each order reaches one terminal state, once, and nothing but returns comes after it',
  'audit trail':
    "the versions of each aggregate's events are 1, 2, 3 ... without a gap and without a repetition",
  'orders and their events': 'the row of each order is what its events say, and costs what its lines do',
  sagas: 'each order and each return has one process, which ended as it did',
  compensations: 'what was undone had been done, or may have been',
  'money of orders':
    'completed orders are paid once and in full, less what came back; all others have paid nothing',
  'money adds up': 'authorised = captured + voided, and captured - refunded = the worth of completed orders',
  'money effects': 'the provider did each thing once per business key, and its books equal ours',
  ledger: 'every posting balances, is there once, and the accounts say what the payments do',
  'goods of orders': 'completed orders have left the warehouse once; all others hold nothing of it',
  'stock is conserved': 'no level is below zero, and every piece that came in is somewhere',
  shipments: 'each completed order with goods was delivered once, and no other was',
  returns: 'no more comes back than was delivered; it is booked in once and paid back once',
  'messages to customers': 'customers were told each fact once, and of nothing that did not happen',
  'read model': 'the views of orders, payments and returns are what the events say',
  'copied products': 'the copies of the catalogue are what the catalogue is',
  outboxes: 'everything that was committed is published',
  streams:
    'the streams hold what was published, where it was published, and nothing that nobody has published',
  consumers: 'no consumer has anything left to do, and no queue anything left in it',
  'dead letters': 'the dead letters are exactly the poison',
  timers: 'no timer is overdue',
  'nothing waits for ever': 'whatever has not ended has a timer, and nothing waits for a person',
} as const;

export type CheckName = keyof typeof meanings;

/** What else a violation means. */
export interface Consequence {
  readonly lost?: boolean;
  readonly duplicated?: boolean;
}

/** Collects what the checks find. */
export class Findings {
  readonly #counted = new Map<CheckName, number>();
  readonly #violations = new Map<CheckName, Violation[]>();
  readonly #violated = new Map<CheckName, number>();
  readonly notes: string[] = [];
  lost = 0;
  duplicated = 0;

  /** So many more things were looked at. */
  count(check: CheckName, by = 1): void {
    this.#counted.set(check, (this.#counted.get(check) ?? 0) + by);
  }

  violate(check: CheckName, about: string, what: string, { lost, duplicated }: Consequence = {}): void {
    this.#violated.set(check, (this.#violated.get(check) ?? 0) + 1);
    const kept = this.#violations.get(check) ?? [];
    if (kept.length < KEPT) kept.push({ about, what });
    this.#violations.set(check, kept);
    if (lost === true) this.lost += 1;
    if (duplicated === true) this.duplicated += 1;
  }

  outcomes(): CheckOutcome[] {
    return Object.entries(meanings).map(([name, meaning]) => {
      const violated = this.#violated.get(name as CheckName) ?? 0;
      return {
        name,
        meaning,
        ok: violated === 0,
        counted: this.#counted.get(name as CheckName) ?? 0,
        violated,
        violations: this.#violations.get(name as CheckName) ?? [],
      };
    });
  }
}
