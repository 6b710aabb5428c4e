/**
 * Collects what is submitted while a batch is under way into the next one, so that many callers share a round trip
 * and a commit, and a single caller waits for nobody. Requests with the same `lane` never share a batch and keep
 * their order.
 */
export class Batches<Request, Answer> {
  readonly #limit: number;
  readonly #laneOf: (request: Request) => string;
  readonly #run: (requests: readonly Request[]) => Promise<readonly Answer[]>;
  #waiting: Submission<Request, Answer>[] = [];
  #underWay = false;

  constructor(options: {
    readonly limit: number;
    readonly laneOf: (request: Request) => string;
    /** Answers in the order of the requests; a rejection is the answer to all of them. */
    readonly run: (requests: readonly Request[]) => Promise<readonly Answer[]>;
  }) {
    this.#limit = options.limit;
    this.#laneOf = options.laneOf;
    this.#run = options.run;
  }

  submit(request: Request): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ request, resolve, reject });
      if (!this.#underWay) void this.#runAll();
    });
  }

  async #runAll(): Promise<void> {
    this.#underWay = true;
    while (this.#waiting.length > 0) {
      const batch = this.#take();
      try {
        const answers = await this.#run(batch.map(({ request }) => request));
        batch.forEach(({ resolve }, index) => resolve(answers[index] as Answer));
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    this.#underWay = false;
  }

  #take(): Submission<Request, Answer>[] {
    const batch: Submission<Request, Answer>[] = [];
    const left: Submission<Request, Answer>[] = [];
    const lanes = new Set<string>();
    for (const submission of this.#waiting) {
      const lane = this.#laneOf(submission.request);
      const taken = batch.length < this.#limit && !lanes.has(lane);
      (taken ? batch : left).push(submission);
      lanes.add(lane);
    }
    this.#waiting = left;
    return batch;
  }
}

interface Submission<Request, Answer> {
  readonly request: Request;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
}
