// A batch: its events, read page by page; what becomes of each; its end.

import type pg from "pg";
import { BatchLost, decide, type ErrorPolicy, type Event, Failed, Retry } from "./event.js";
import { passes, type Row, type Session } from "./session.js";

const COLUMNS = `ev_id, ev_time, ev_txid, ev_retry, ev_type, ev_data,
  ev_extra1, ev_extra2, ev_extra3, ev_extra4`;
const FIRST_PAGE_ROWS = 10;
const FIRST_PAGE = `select ${COLUMNS} from pgq.get_batch_cursor($1::pg_catalog.int8,
  'pgq_batch', ${FIRST_PAGE_ROWS})`;
const PAGE_ROWS = 1000;
const PAGE_BYTES = 8 * 1024 * 1024;
const FAILED = `select pgq.event_failed($1::pg_catalog.int8, $2::pg_catalog.int8,
  $3::pg_catalog.text, pg_catalog.make_interval(secs => $4::pg_catalog.float8),
  pg_catalog.make_interval(secs => $5::pg_catalog.float8), $6::pg_catalog.int4)`;
const POSTPONE = `select pgq.event_postpone($1::pg_catalog.int8, $2::pg_catalog.int8,
  pg_catalog.make_interval(secs => $3::pg_catalog.float8))`;
const DEAD = `select pgq.event_dead($1::pg_catalog.int8, $2::pg_catalog.int8,
  $3::pg_catalog.text)`;
const FINISH = `select pgq.finish_batch($1::pg_catalog.int8)`;
// of a part of a batch, when several workers do it together
const FINISH_SHARE = `select 1 from pgq.finish_share($1::pg_catalog.int8)`;

/**
 * Does the work of one event. What it does on the client is in the transaction that
 * finishes the batch, so that it is done exactly once; it is undone if the handler fails.
 */
export type Handler = (event: Event, client: pg.Client) => unknown;

/** What came between two ticks: any number of events, maybe none. */
export class Batch implements AsyncIterable<Event> {
  #share: string | null;
  #session: Session;
  #policy: ErrorPolicy;
  #warn: (message: string) => void;

  /** @internal */
  constructor(
    readonly id: string, share: string | null, session: Session, policy: ErrorPolicy,
    warn: (message: string) => void,
  ) {
    this.#share = share;
    this.#session = session;
    this.#policy = policy;
    this.#warn = warn;
  }

  /**
   * The connection, in the transaction that finishes the batch: what is done here is done
   * exactly once. Leave its transaction alone.
   */
  get client(): pg.Client {
    return this.#session.client;
  }

  /** Its events, in their order. Those that are not read count as done. */
  async *[Symbol.asyncIterator](): AsyncIterator<Event> {
    let asked = FIRST_PAGE_ROWS;
    let rows = await this.#firstPage(asked);
    for (;;) {
      let size = 1;
      for (const row of rows) {
        size += (row[5]?.length ?? 0) + 200;
        yield event(row);
      }
      if (rows.length < asked) return;
      asked = Math.max(1, Math.min(asked * 4, PAGE_ROWS,
        Math.floor((PAGE_BYTES * rows.length) / size)));
      rows = await this.#session.rows(`fetch ${asked} from pgq_batch`);
    }
  }

  /**
   * Gives each event to the handler, in a savepoint, and does what onError says about
   * those that fail.
   */
  async work(handler: Handler): Promise<void> {
    for await (const event of this) {
      await this.client.query("savepoint pgq_event");
      try {
        await handler(event, this.client);
        // fails if a statement did and the handler hid it
        await this.client.query("release savepoint pgq_event");
      } catch (error) {
        await this.#failed(event, error);
      }
    }
  }

  /** This event again, so many seconds from now at the earliest. That is no failure:
   * maxRetries does not count it. */
  async retry(event: Event, seconds = 60): Promise<void> {
    await this.#session.rows(POSTPONE, [this.id, event.id, seconds]);
  }

  /** This event failed: again after a pause, or dead if it has failed too often, as with
   * onError "retry". */
  async failed(event: Event, reason: string): Promise<void> {
    const { retryDelay = 10, maxRetryDelay = 3600, maxRetries = null } = this.#policy;
    await this.#session.rows(FAILED,
      [this.id, event.id, this.#session.clean(reason), retryDelay, maxRetryDelay, maxRetries]);
  }

  /** This event can never be done: it is kept, with the reason. */
  async dead(event: Event, reason: string): Promise<void> {
    await this.#session.rows(DEAD, [this.id, event.id, this.#session.clean(reason)]);
  }

  /** @internal */
  async finish(): Promise<void> {
    const rows = this.#share === null
      ? await this.#session.rows(FINISH, [this.id])
      : await this.#session.rows(FINISH_SHARE, [this.#share]);
    if (rows[0]?.[0] !== "1") throw new BatchLost(this.id);
    const { command } = await this.client.query("commit");
    if (command !== "COMMIT") throw new Error("a statement of the batch failed");
  }

  async #firstPage(rows: number): Promise<Row[]> {
    if (this.#share === null) return this.#session.rows(FIRST_PAGE, [this.id]);
    await this.client.query(`declare pgq_batch no scroll cursor for select ${COLUMNS}
      from pgq.get_share_events(${BigInt(this.#share)})`);
    return this.#session.rows(`fetch ${rows} from pgq_batch`);
  }

  async #failed(event: Event, error: unknown): Promise<void> {
    await new Promise(setImmediate); // a lost connection is told a little later
    if (this.#session.lost || passes(error)) throw error;
    const decision = decide(this.#policy, error);
    if (decision === null) throw error;
    await this.client.query("rollback to savepoint pgq_event; release savepoint pgq_event");
    this.#warn(`event ${event.id}: ${error} (${decision.name})`);
    if (decision instanceof Retry) await this.retry(event, decision.seconds);
    else if (decision instanceof Failed) await this.failed(event, decision.message);
    else await this.dead(event, decision.message);
  }
}

function event(row: Row): Event {
  const [id, time, txid, retry, type, data, ...extra] = row;
  return {
    id: id!,
    // "2026-11-23 10:15:00.123456+00" is nearly what Date reads
    time: new Date(time!.replace(" ", "T").replace(/([+-]\d\d)$/, "$1:00")),
    txid: txid!,
    retry: Number(retry ?? 0),
    type: type!,
    data: data!,
    extra,
  };
}
