// For tests of your own consumers: what pgqd does otherwise, at once.

import type { Queryable } from "./produce.js";

/**
 * Makes what is committed in the queue until now a batch; consumer.drain() then does all
 * that is there. The client must not be in a transaction. Needs role pgq_admin.
 */
export async function tick(db: Queryable, queue: string): Promise<void> {
  await db.query("select pgq.force_tick($1::pg_catalog.text)", [queue]);
  await db.query("select pgq.ticker($1::pg_catalog.text)", [queue]);
}

/** Puts retried events whose time has come back into their queues. tick() then makes
 * them a batch. */
export async function retryNow(db: Queryable): Promise<void> {
  await db.query("select pgq.maint_retry_events()", []);
}
