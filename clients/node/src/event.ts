// What an event is, and what becomes of one whose handler fails.

/** One event of a queue. */
export interface Event {
  /** 64 bits, so no number. */
  readonly id: string;
  readonly time: Date;
  readonly txid: string;
  /** How often it came again, failed or postponed. */
  readonly retry: number;
  readonly type: string | null;
  readonly data: string | null;
  readonly extra: readonly (string | null)[];
}

/** Thrown by a handler: this event again, so many seconds later at the earliest. That is
 * no failure: maxRetries does not count it. */
export class Retry extends Error {
  constructor(readonly seconds = 60) {
    super(`retry in ${seconds} s`);
    this.name = "Retry";
  }
}

/** Thrown by a handler: this event can never be done. It is kept with the reason. */
export class Dead extends Error {
  constructor(reason: string) {
    super(reason);
    this.name = "Dead";
  }
}

/** The event comes again, or is dead if it has failed too often.
 * @internal */
export class Failed extends Error {
  override name = "Failed";
}

/** The batch is not ours any more: another session of this consumer finished it. */
export class BatchLost extends Error {
  constructor(id: string) {
    super(`batch ${id} is no longer open`);
    this.name = "BatchLost";
  }
}

export interface ErrorPolicy {
  /**
   * What becomes of an event whose handler fails: "stop" (default), the batch comes
   * again and the error is thrown; "retry", the event comes again after pauses that
   * double, and is dead after maxRetries failures; "dead", it is kept as a dead event.
   */
  onError?: "stop" | "retry" | "dead";
  /** Seconds before the first retry, 10. */
  retryDelay?: number;
  /** The longest pause, an hour. */
  maxRetryDelay?: number;
  /** How many failures are retried; else as many as the queue's max_retries says, which
   * holds in any case. */
  maxRetries?: number;
}

/** What becomes of the event, or null: the batch fails with the error. */
export function decide(policy: ErrorPolicy, error: unknown): Retry | Dead | Failed | null {
  if (error instanceof Retry || error instanceof Dead) return error;
  const reason = String(error);
  if (policy.onError === "retry") return new Failed(reason);
  return policy.onError === "dead" ? new Dead(reason) : null;
}
