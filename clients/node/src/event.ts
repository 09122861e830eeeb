// What an event is, and what becomes of one whose handler fails.

/** One event of a queue. */
export interface Event {
  /** 64 bits, so no number. */
  readonly id: string;
  readonly time: Date;
  readonly txid: string;
  /** How often it was retried. */
  readonly retry: number;
  readonly type: string | null;
  readonly data: string | null;
  readonly extra: readonly (string | null)[];
}

/** Thrown by a handler: this event again, so many seconds later at the earliest. */
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
   * double, and is dead after maxRetries; "dead", it is kept as a dead event.
   */
  onError?: "stop" | "retry" | "dead";
  /** Seconds before the first retry, 10. */
  retryDelay?: number;
  /** The longest pause, an hour. */
  maxRetryDelay?: number;
  /** No limit unless it is set. */
  maxRetries?: number;
}

/** Retry or Dead, or null: the batch fails with the error. */
export function decide(policy: ErrorPolicy, event: Event, error: unknown): Retry | Dead | null {
  if (error instanceof Retry || error instanceof Dead) return error;
  if ((policy.onError ?? "stop") === "stop") return null;
  if (policy.onError === "dead" || event.retry >= (policy.maxRetries ?? Infinity)) {
    return new Dead(String(error));
  }
  const delay = (policy.retryDelay ?? 10) * 2 ** event.retry;
  return new Retry(Math.min(delay, policy.maxRetryDelay ?? 3600));
}
