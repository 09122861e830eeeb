// One connection: where to, its settings, its statements, its loss.

import pg from "pg";

// Settings that guard a batch against defaults of the role or the server that would
// break it, above all limits on its time. A session of our own gets them once, a
// pooler's for each transaction.
const BATCH_SETTINGS = [
  "statement_timeout = 0",
  "lock_timeout = 0",
  "idle_in_transaction_session_timeout = 0",
  "datestyle = ISO",
  "jit = off",
];
const SESSION_SETTINGS = [
  "default_transaction_isolation = 'read committed'",
  "default_transaction_read_only = off",
  "default_transaction_deferrable = off",
  "idle_session_timeout = 0",
  "client_connection_check_interval = '2s'",
  // the server, too, notices a host that is gone, whose share is another's then
  "tcp_user_timeout = '120s'",
  "tcp_keepalives_idle = 60",
  "tcp_keepalives_interval = 10",
  "tcp_keepalives_count = 6",
];
const BEGIN = "begin isolation level read committed read write";

// Is the session a pooler's, is the server a standby, does it send notices of ticks?
const PROBE = `select pg_catalog.pg_backend_pid(), pg_catalog.pg_is_in_recovery(),
  pg_catalog.current_setting('server_version_num'),
  pg_catalog.current_setting('server_encoding'),
  pg_catalog.to_regprocedure('pgq.tick_channel(pg_catalog.text)') is not null`;
// Is what is called pgq there the extension's, and a trusted role's? Whoever owns a
// database could put code of his own there, which would run with our rights.
const TRUST = `
  with trusted as materialized (select r.oid from pg_catalog.pg_roles r
  where r.rolsuper or r.rolname::pg_catalog.text operator(pg_catalog.=)
  any (pg_catalog.regexp_split_to_array(pg_catalog.btrim($1::pg_catalog.text), '[ ]*,[ ]*')))
  select not exists (select from pg_catalog.pg_namespace n
  where n.nspname operator(pg_catalog.=) 'pgq') or exists (
  select from pg_catalog.pg_extension e, pg_catalog.pg_namespace n
  where e.extname operator(pg_catalog.=) 'pgq'
  and n.nspname operator(pg_catalog.=) 'pgq'
  and (n.oid operator(pg_catalog.=) e.extnamespace or exists (
  select from pg_catalog.pg_depend d where d.objid operator(pg_catalog.=) n.oid
  and d.refobjid operator(pg_catalog.=) e.oid
  and d.deptype operator(pg_catalog.=) 'e'))
  and e.extowner operator(pg_catalog.=) any (select t.oid from trusted t)
  and n.nspowner operator(pg_catalog.=) any (select t.oid from trusted t)
  and not exists (select from pg_catalog.pg_proc p
  where p.pronamespace operator(pg_catalog.=) n.oid
  and not p.proowner operator(pg_catalog.=) any (select t.oid from trusted t)))`;
const REGISTER = `select pgq.register_consumer($1::pg_catalog.text, $2::pg_catalog.text)`;
const CHANNEL = `select pg_catalog.quote_ident(pgq.tick_channel($1::pg_catalog.text))`;

// Values as the server writes them, whatever parsers the program has set for pg.
const RAW = { getTypeParser: () => (value: string) => value } as unknown as pg.CustomTypesConfig;

export type Row = (string | null)[];

/** The server is a standby, or another one may be the primary: this may pass. */
export class NoConnection extends Error {}

/**
 * Schema pgq of the database, or a function in it, is not the extension's, or belongs to a
 * role that is neither a superuser nor named in PGQ_DATABASE_OWNERS.
 */
export class NotTrusted extends Error {
  override name = "NotTrusted";
  constructor() {
    super("schema pgq of this database, or a function in it, is not the extension's, or"
      + " belongs to a role that is not trusted; environment variable PGQ_DATABASE_OWNERS"
      + " names roles that may own it");
  }
}

/** Each host of a URI, or of pg's configuration, as a configuration of its own. */
export function hostsOf(connection: string | pg.ClientConfig): pg.ClientConfig[] {
  if (typeof connection !== "string") return [connection];
  const parts = /^(postgres(?:ql)?:\/\/)([^/?#@]*@)?([^/?#]*)([^?#]*)(?:\?(.*))?$/s.exec(connection);
  if (parts === null) {
    if (connection === "") return [{}];
    throw new TypeError("a connection is a URI, postgresql://..., or an object");
  }
  const [, scheme, user = "", authority = "", path, query = ""] = parts;
  const given = new URLSearchParams(query);
  const hosts = given.get("host")?.split(",");
  const ports = given.get("port")?.split(",");
  const places = hosts ?? authority.split(",");
  return places.map((place, i) => {
    const own = new URLSearchParams(given);
    if (hosts) own.set("host", place);
    const port = ports?.[i] ?? ports?.[0];
    if (port) own.set("port", port);
    own.delete("target_session_attrs"); // always the primary
    return { connectionString: `${scheme}${user}${hosts ? authority : place}${path}?${own}` };
  });
}

export class Session {
  /** Its session is a pooler's, ours for a transaction only. */
  pooled = false;
  lost = false;
  /** A notice came since the last question for a batch. */
  notified = false;
  /** One came at all. */
  sendsNotices = false;
  /** Called when there is something to see to. */
  onEvent: () => void = () => undefined;

  #settings = BATCH_SETTINGS;
  #utf8 = true; // the database's encoding

  private constructor(readonly client: pg.Client) {
    client.on("error", () => this.#lose());
    client.on("end", () => this.#lose());
    client.on("notification", () => {
      this.notified = this.sendsNotices = true;
      this.onEvent();
    });
  }

  /** Connects to the first of the hosts that is no standby. */
  static async open(
    hosts: pg.ClientConfig[], queue: string, consumer: string, register: boolean,
  ): Promise<Session> {
    let failure: unknown;
    for (const host of hosts) {
      const session = new Session(new pg.Client({
        fallback_application_name: `pgq consumer ${consumer}`,
        connectionTimeoutMillis: 10_000,
        keepAlive: true,
        keepAliveInitialDelayMillis: 60_000,
        ...host,
      }));
      try {
        await session.client.connect();
        await session.#setUp(queue, consumer, register);
        return session;
      } catch (error) {
        await session.close();
        // what another host says counts no more than a refusal
        if (failure === undefined || !passes(error)) failure = error;
        if (error instanceof NotTrusted) break;
        if (error instanceof pg.DatabaseError && !passes(error)) break;
      }
    }
    throw failure;
  }

  async #setUp(queue: string, consumer: string, register: boolean): Promise<void> {
    await this.client.query("begin read only; set local statement_timeout = 0");
    const probe = await this.#rows(PROBE);
    const [trust] = await this.#rows(TRUST, [process.env["PGQ_DATABASE_OWNERS"] ?? null]);
    if (trust![0] !== "t") throw new NotTrusted();
    await this.client.query("commit");
    const [pid, standby, version, encoding, hasChannel] = probe[0]!;
    if (standby === "t") throw new NoConnection("the server is a standby");
    const processID = (this.client as unknown as { processID: number }).processID;
    this.pooled = Number(pid) !== processID;
    this.#settings = [...BATCH_SETTINGS];
    if (Number(version) >= 170000) this.#settings.push("transaction_timeout = 0");
    this.#utf8 = encoding === "UTF8";
    // such a database has bytes that are no UTF-8, and could not send them as that
    if (encoding === "SQL_ASCII") this.#settings.push("client_encoding = 'SQL_ASCII'");
    if (!this.pooled) {
      await this.client.query(
        [...this.#settings, ...SESSION_SETTINGS].map((s) => `set ${s}`).join("; "));
    }
    if (register) await this.row(REGISTER, [queue, consumer]);
    if (hasChannel === "t" && !this.pooled) {
      const [channel] = await this.row(CHANNEL, [queue]);
      if (channel) await this.client.query(`listen ${channel}`);
    }
  }

  /** Begins a transaction, in a pooler's session with its settings. */
  async begin(): Promise<void> {
    const local = this.pooled ? this.#settings.map((s) => `; set local ${s}`) : [];
    await this.client.query(BEGIN + local.join(""));
  }

  async rollback(): Promise<void> {
    if (!this.lost) await this.client.query("rollback").catch(() => undefined);
  }

  /** One row, from a statement of its own. */
  async row(sql: string, values: unknown[]): Promise<Row> {
    if (!this.pooled) return (await this.#rows(sql, values))[0]!;
    await this.begin();
    try {
      const rows = await this.#rows(sql, values);
      await this.client.query("commit");
      return rows[0]!;
    } catch (error) {
      await this.rollback();
      throw error;
    }
  }

  /** Rows of a statement in the open transaction. */
  rows(sql: string, values: unknown[] = []): Promise<Row[]> {
    return this.#rows(sql, values);
  }

  /** A reason that the server takes: it must not keep an event from being put aside. */
  clean(reason: string): string {
    const text = reason.replaceAll("\0", "");
    return this.#utf8 ? text : text.replace(/[^\x01-\x7f]/g, "?");
  }

  async close(): Promise<void> {
    this.lost = true;
    await this.client.end().catch(() => undefined);
  }

  async #rows(text: string, values?: unknown[]): Promise<Row[]> {
    const result = await this.client.query<Row>({ text, values, rowMode: "array", types: RAW });
    return result.rows;
  }

  #lose(): void {
    this.lost = true;
    this.onEvent();
  }
}

/** Does it help to do it again? */
export function passes(error: unknown): boolean {
  if (error instanceof NoConnection) return true;
  // deadlocks, serialization failures; a full disk or memory; a server that goes down,
  // or became a standby; a share that another worker has taken over
  return error instanceof pg.DatabaseError
    && /^(40|53|57P|25006|PQ002)/.test(error.code ?? "");
}

/** Pauses that grow and differ: many lose a server at once, and must not come back at
 * once. In milliseconds. */
export class Backoff {
  #longest = 200;

  reset(): void {
    this.#longest = 200;
  }

  next(): number {
    const pause = this.#longest * (0.5 + Math.random() / 2);
    this.#longest = Math.min(this.#longest * 2, 15_000);
    return pause;
  }
}
