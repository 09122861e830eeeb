// The consumer: its batches, one after the other, and all that may come between.

import { hostname } from "node:os";
import pg from "pg";
import { Batch, type Handler } from "./batch.js";
import { BatchLost, type ErrorPolicy } from "./event.js";
import { Backoff, hostsOf, NotTrusted, passes, Session } from "./session.js";

// A consumer that is many ticks behind gets some hundred events at once.
const NEXT_BATCH = `select coalesce(m.batch_id, pgq.next_batch($1::pg_catalog.text,
    $2::pg_catalog.text))
  from pgq.next_batch_custom($1::pg_catalog.text, $2::pg_catalog.text, null, 500, null) m`;

const NEXT_SHARE = `select s.batch_id, s.share_id from pgq.next_share(
    $1::pg_catalog.text, $2::pg_catalog.text, $3::pg_catalog.text,
    pg_catalog.make_interval(secs => $4::pg_catalog.float8), $5::pg_catalog.text) s`;
// Keeps it from others as long as the transaction lasts, however long that is.
const KEEP_SHARE = `select pgq.renew_share($1::pg_catalog.int8,
  pg_catalog.make_interval(secs => $2::pg_catalog.float8))`;

// The longest wait on a server that sends notices, on one that does not, and while other
// workers are at the last shares of a batch; in ms.
const WAIT_NOTIFIED = 10_000;
const WAIT_POLL = 1_000;
const WAIT_SHARE = 100;

export interface ConsumerOptions extends ErrorPolicy {
  /**
   * A URI, maybe with several hosts, of which the primary is used, or pg's configuration.
   * What is left out is in PGHOST, PGDATABASE and so on.
   */
  connection?: string | pg.ClientConfig;
  queue: string;
  consumer: string;
  /** false refuses a consumer that is not registered; else it is registered, and gets
   * what comes from then on. */
  register?: boolean;
  /**
   * Any number of processes do the batches of this consumer together, so that events of
   * the same key come in order: "key", those of one row; "type", of the same type; "extra1"
   * to "extra4", with the same text there; "none". A share is its worker's as long as
   * its work takes; if the worker is gone, it is given to another, after lease seconds (60)
   * at the latest where the server does not see that.
   */
  share?: "key" | "type" | "extra1" | "extra2" | "extra3" | "extra4" | "none";
  lease?: number;
  /** Gets what the consumer has to say: a failure that it tries again after. */
  warn?: (message: string) => void;
}

/** A consumer of a queue. */
export class Consumer implements AsyncIterable<Batch> {
  #options: ConsumerOptions;
  #hosts: pg.ClientConfig[];
  #session: Session | null = null;
  #register: boolean;
  #wasConnected = false;
  #stopping = false;
  #worker = `${hostname()}-${process.pid}-${Math.random().toString(36).slice(2)}`;
  #others = false; // are at work on the batch that we wait for
  #backoff = new Backoff();
  #wake: () => void = () => undefined;
  #signals = new Map<NodeJS.Signals, () => void>();

  constructor(options: ConsumerOptions) {
    this.#options = options;
    this.#hosts = hostsOf(options.connection ?? "");
    this.#register = options.register ?? true;
  }

  /**
   * Gives each event to the handler until stop(), SIGTERM or SIGINT; the batch at hand is
   * finished first. A lost connection is made again, after pauses that grow to 15 s; what
   * lasts until somebody mends it, such as an unknown queue, is thrown.
   */
  async run(handler: Handler): Promise<void> {
    await this.runBatches((batch) => batch.work(handler));
  }

  /** run() for batches: each one is finished when the handler returns. */
  async runBatches(handler: (batch: Batch) => unknown): Promise<void> {
    this.stopOnSignals();
    try {
      while (!this.#stopping) {
        if (!(await this.#turn(handler))) await this.#wait();
      }
    } finally {
      await this.close();
    }
  }

  /**
   * Gives each event that is there to the handler, and returns when there are no more.
   * For tests, and for jobs that run now and then.
   */
  async drain(handler: Handler): Promise<void> {
    try {
      while (!this.#stopping && (await this.#turn((batch) => batch.work(handler))));
    } finally {
      await this.close();
    }
  }

  /**
   * Batches, as they come, until stop(). One is finished when the loop asks for the next;
   * an exception or break in the loop's body gives it up. A connection that is lost in the
   * body is such an exception: runBatches() goes on by itself.
   */
  async *[Symbol.asyncIterator](): AsyncIterator<Batch> {
    try {
      while (!this.#stopping) {
        const batch = await this.#attempt(() => this.#ask());
        if (batch === undefined) continue;
        if (batch === null) {
          await this.#wait();
          continue;
        }
        let done = false;
        try {
          yield batch;
          done = true;
        } finally {
          if (!done) await this.#session?.rollback();
        }
        await this.#attempt(() => this.#finish(batch));
      }
    } finally {
      await this.close();
    }
  }

  /** Ends run() or the loop after the batch at hand. */
  stop(): void {
    this.#stopping = true;
    this.#wake();
  }

  /** Lets these signals call stop(), until close(). A second one does what it did
   * before. */
  stopOnSignals(signals: NodeJS.Signals[] = ["SIGTERM", "SIGINT"]): void {
    for (const signal of signals) {
      if (this.#signals.has(signal)) continue;
      const listener = (): void => this.stop();
      process.once(signal, listener);
      this.#signals.set(signal, listener);
    }
  }

  /** Does the connection lead through a pooler? Then there is no session to listen in,
   * and new batches are looked for once a second. */
  get pooled(): boolean {
    return this.#session?.pooled ?? false;
  }

  /** Disconnects; a batch that is open comes again. run() and the loops do so. */
  async close(): Promise<void> {
    for (const [signal, listener] of this.#signals) process.off(signal, listener);
    this.#signals.clear();
    await this.#drop();
  }

  /** The next batch from its beginning to its end; false if there is none. */
  async #turn(handler: (batch: Batch) => unknown): Promise<boolean> {
    const found = await this.#attempt(async () => {
      const batch = await this.#ask();
      if (batch === null) return false;
      await handler(batch);
      await this.#finish(batch);
      return true;
    });
    return found ?? true; // it failed, and is tried again
  }

  /** The next batch, with its transaction begun. */
  async #ask(): Promise<Batch | null> {
    const { queue, consumer, warn } = this.#options;
    if (this.#session === null) {
      this.#session = await Session.open(this.#hosts, queue, consumer, this.#register);
      this.#session.onEvent = () => this.#wake();
      this.#register = false;
      this.#wasConnected = true;
    }
    const session = this.#session;
    session.notified = false;
    const { share: key, lease = 60 } = this.#options;
    const [id = null, share = null] = key === undefined
      ? await session.row(NEXT_BATCH, [queue, consumer])
      : await session.row(NEXT_SHARE, [queue, consumer, this.#worker, lease, key]);
    if (id === null || (key !== undefined && share === null)) {
      this.#others = id !== null;
      this.#backoff.reset();
      return null;
    }
    await session.begin();
    if (share !== null) await session.rows(KEEP_SHARE, [share, lease]);
    return new Batch(id, share, session, this.#options, warn ?? console.warn);
  }

  async #finish(batch: Batch): Promise<void> {
    await batch.finish();
    this.#backoff.reset();
  }

  /** undefined: it failed in a way that passes, and a pause has been made. */
  async #attempt<T>(action: () => Promise<T>): Promise<T | undefined> {
    try {
      return await action();
    } catch (error) {
      await new Promise(setImmediate); // a lost connection is told a little later
      await this.#session?.rollback();
      if (!this.#goesOn(error)) throw error;
      if (this.#session?.lost || (error as pg.DatabaseError).code === "25006") await this.#drop();
      const pause = this.#backoff.next();
      (this.#options.warn ?? console.warn)(
        `${(error as Error).message || (error as { code?: string }).code}; trying again in ${(pause / 1000).toFixed(1)} s`);
      if (!this.#stopping) await this.#sleep(pause);
      return undefined;
    }
  }

  #goesOn(error: unknown): boolean {
    if (passes(error) || error instanceof BatchLost) return true;
    if (this.#session !== null) return this.#session.lost;
    if (error instanceof NotTrusted) return false;
    return this.#wasConnected || !(error instanceof pg.DatabaseError);
  }

  /** Until a tick, or until it is time to look without a notice of one. It may have come
   * with the answer to the last question. */
  async #wait(): Promise<void> {
    const session = this.#session;
    if (session === null || session.notified || session.lost || this.#stopping) return;
    await this.#sleep(this.#others ? WAIT_SHARE : session.sendsNotices ? WAIT_NOTIFIED : WAIT_POLL);
  }

  /** Until something happens, or so many milliseconds. */
  async #sleep(ms: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      timer = setTimeout(resolve, ms);
    });
    clearTimeout(timer);
    this.#wake = () => undefined;
  }

  async #drop(): Promise<void> {
    const session = this.#session;
    this.#session = null;
    await session?.close();
  }
}
