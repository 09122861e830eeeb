// Producers: events, in the transaction of the client that is given.

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

/** Puts events into the queue, in one call; returns their ids. Extra fields are not
 * taken. */
export async function insertMany(
  db: Queryable, queue: string, events: Omit<NewEvent, "extra">[],
): Promise<string[]> {
  const { rows } = await db.query(
    `select pgq.insert_event($1::pg_catalog.text, e.type, e.data) as id
     from rows from (pg_catalog.unnest($2::pg_catalog.text[]),
       pg_catalog.unnest($3::pg_catalog.text[])) with ordinality e (type, data, n)
     order by e.n`,
    [queue, events.map((e) => e.type), events.map((e) => text(e.data))]);
  return rows.map((row) => String(row.id));
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
