// Producers: events, in the transaction of the client that is given; and seek.

/** A pg.Client, a client of a pool, or the pool itself. */
export interface Queryable {
  query(text: string, values: unknown[]): Promise<{ rows: Record<string, unknown>[] }>;
}

export interface NewEvent {
  type: string | null;
  /** A string as it is; anything else becomes JSON; null and undefined are SQL NULL. */
  data?: unknown;
  /** Up to four. */
  extra?: (string | null)[];
}

const ARGUMENTS = `$1::pg_catalog.text, $2::pg_catalog.text, $3::pg_catalog.text,
  $4::pg_catalog.text, $5::pg_catalog.text, $6::pg_catalog.text, $7::pg_catalog.text`;

/** Puts an event into the queue; returns its id. */
export async function insert(db: Queryable, queue: string, event: NewEvent): Promise<string> {
  const { rows } = await db.query(`select pgq.insert_event(${ARGUMENTS}) as id`,
    values(queue, event));
  return String(rows[0]!.id);
}

/** Puts events into the queue, in one call; returns their ids. */
export async function insertMany(
  db: Queryable, queue: string, events: NewEvent[],
): Promise<string[]> {
  const all = events.map((event) => values(queue, event));
  const columns = [1, 2, 3, 4, 5, 6].map((i) => all.map((row) => row[i]));
  const { rows } = await db.query(
    `select id from pg_catalog.unnest(pgq.insert_events($1::pg_catalog.text,
       $2::pg_catalog.text[], $3::pg_catalog.text[], $4::pg_catalog.text[],
       $5::pg_catalog.text[], $6::pg_catalog.text[], $7::pg_catalog.text[])) id`,
    [queue, ...columns]);
  return rows.map((row) => String(row.id));
}

/**
 * Puts an event into the queue, unless one with this key was put there in the time that
 * keys are kept, in seconds. Returns the id of the first.
 */
export async function insertOnce(
  db: Queryable, queue: string, key: string, event: NewEvent, keep = 86_400,
): Promise<string> {
  const [, type, data, ...extra] = values(queue, event);
  const { rows } = await db.query(
    `select pgq.insert_event_once($1::pg_catalog.text, $2::pg_catalog.text,
       $3::pg_catalog.text, $4::pg_catalog.text,
       pg_catalog.make_interval(secs => $5::pg_catalog.float8), $6::pg_catalog.text,
       $7::pg_catalog.text, $8::pg_catalog.text, $9::pg_catalog.text) as id`,
    [queue, key, type, data, keep, ...extra]);
  return String(rows[0]!.id);
}

/** Moves a consumer, forwards or back, to a time or to a tick (its number as text). It is
 * refused while a batch is open. */
export async function seek(
  db: Queryable, queue: string, consumer: string, to: Date | string,
): Promise<void> {
  const type = to instanceof Date ? "timestamptz" : "int8";
  await db.query(`select pgq.seek_consumer($1::pg_catalog.text, $2::pg_catalog.text,
    $3::pg_catalog.${type})`, [queue, consumer, to]);
}

/** Puts an event into the queue through the WAL alone, without writing a table. The
 * database must have a capture slot. */
export async function emit(db: Queryable, queue: string, event: NewEvent): Promise<void> {
  await db.query(`select pgq.emit_event(${ARGUMENTS})`, values(queue, event));
}

function values(queue: string, { type, data, extra = [] }: NewEvent): unknown[] {
  if (extra.length > 4) throw new RangeError("an event has four extra fields");
  return [queue, type, text(data), ...extra, ...Array(4 - extra.length).fill(null)];
}

function text(data: unknown): string | null {
  if (data === null || data === undefined) return null;
  return typeof data === "string" ? data : JSON.stringify(data);
}
