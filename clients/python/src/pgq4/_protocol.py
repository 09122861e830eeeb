"""What the two consumers share: statements, the event, failures, pauses."""

from __future__ import annotations

import json
import logging
import os
import random
from dataclasses import dataclass, field
from datetime import datetime
from os import getpid
from socket import gethostname
from typing import Any, Literal

import psycopg
from psycopg import conninfo, pq
from psycopg.adapt import Loader

log = logging.getLogger("pgq4")

AnyConnection = psycopg.Connection[Any] | psycopg.AsyncConnection[Any]
OnError = Literal["stop", "retry", "dead"]

# Settings that guard a batch against defaults of the role or the server that would
# break it, above all limits on its time. A session of our own gets them once, a
# pooler's for each transaction.
_SETTINGS = (
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("datestyle", "ISO"),
    ("jit", "off"),
)
_SESSION_SETTINGS = (
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_deferrable", "off"),
    ("idle_session_timeout", "0"),
    ("client_connection_check_interval", "2s"),
    # the server, too, notices a host that is gone, whose share is another's then
    ("tcp_user_timeout", "120s"),
    ("tcp_keepalives_idle", "60"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "6"),
)
_BEGIN = "begin isolation level read committed read write"

# Is the session a pooler's, and does the server send notices of ticks?
PROBE = (
    "select pg_catalog.pg_backend_pid(),"
    " pg_catalog.to_regprocedure('pgq.tick_channel(pg_catalog.text)') is not null"
)
# Is what is called pgq there the extension's, and a trusted role's? Whoever owns a
# database could put code of his own there, which would run with our rights.
TRUST = (
    "with trusted as materialized (select r.oid from pg_catalog.pg_roles r"
    " where r.rolsuper or r.rolname::pg_catalog.text operator(pg_catalog.=)"
    " any (pg_catalog.regexp_split_to_array(pg_catalog.btrim(%s::pg_catalog.text), '[ ]*,[ ]*')))"
    " select not exists (select from pg_catalog.pg_namespace n"
    " where n.nspname operator(pg_catalog.=) 'pgq') or exists ("
    "select from pg_catalog.pg_extension e, pg_catalog.pg_namespace n"
    " where e.extname operator(pg_catalog.=) 'pgq'"
    " and n.nspname operator(pg_catalog.=) 'pgq'"
    " and (n.oid operator(pg_catalog.=) e.extnamespace or exists ("
    "select from pg_catalog.pg_depend d where d.objid operator(pg_catalog.=) n.oid"
    " and d.refobjid operator(pg_catalog.=) e.oid"
    " and d.deptype operator(pg_catalog.=) 'e'))"
    " and e.extowner operator(pg_catalog.=) any (select t.oid from trusted t)"
    " and n.nspowner operator(pg_catalog.=) any (select t.oid from trusted t)"
    " and not exists (select from pg_catalog.pg_proc p"
    " where p.pronamespace operator(pg_catalog.=) n.oid"
    " and not p.proowner operator(pg_catalog.=) any (select t.oid from trusted t)))"
)
REGISTER = "select pgq.register_consumer(%s::pg_catalog.text, %s::pg_catalog.text)"
CHANNEL = "select pg_catalog.quote_ident(pgq.tick_channel(%s::pg_catalog.text))"

# A consumer that is many ticks behind gets some hundred events at once.
NEXT_BATCH = (
    "select coalesce(m.batch_id, pgq.next_batch(%(queue)s::pg_catalog.text,"
    " %(consumer)s::pg_catalog.text))"
    " from pgq.next_batch_custom(%(queue)s::pg_catalog.text,"
    " %(consumer)s::pg_catalog.text, null, 500, null) m"
)
_COLUMNS = (
    "ev_id, ev_time, ev_txid, ev_retry, ev_type, ev_data,"
    " ev_extra1, ev_extra2, ev_extra3, ev_extra4"
)
FIRST_PAGE_ROWS = 10
FIRST_PAGE = (
    f"select {_COLUMNS} from pgq.get_batch_cursor(%s::pg_catalog.int8,"
    f" 'pgq_batch', {FIRST_PAGE_ROWS})"
)
_PAGE_ROWS = 1000
_PAGE_BYTES = 8 * 1024 * 1024

EVENT_FAILED = (
    "select pgq.event_failed(%s::pg_catalog.int8, %s::pg_catalog.int8,"
    " %s::pg_catalog.text, pg_catalog.make_interval(secs => %s::pg_catalog.float8),"
    " pg_catalog.make_interval(secs => %s::pg_catalog.float8), %s::pg_catalog.int4)"
)
EVENT_POSTPONE = (
    "select pgq.event_postpone(%s::pg_catalog.int8, %s::pg_catalog.int8,"
    " pg_catalog.make_interval(secs => %s::pg_catalog.float8))"
)
EVENT_DEAD = (
    "select pgq.event_dead(%s::pg_catalog.int8, %s::pg_catalog.int8,"
    " %s::pg_catalog.text)"
)
FINISH = "select pgq.finish_batch(%s::pg_catalog.int8)"

# A part of a batch, when several workers do it together.
NEXT_SHARE = (
    "select s.batch_id, s.share_id from pgq.next_share(%(queue)s::pg_catalog.text,"
    " %(consumer)s::pg_catalog.text, %(worker)s::pg_catalog.text,"
    " pg_catalog.make_interval(secs => %(lease)s::pg_catalog.float8),"
    " %(key)s::pg_catalog.text) s"
)
SHARE_CURSOR = (
    f"declare pgq_batch no scroll cursor for select {_COLUMNS}"
    " from pgq.get_share_events({})"
)
# Keeps it from others as long as the transaction lasts, however long that is.
KEEP_SHARE = "select pgq.renew_share({}, pg_catalog.make_interval(secs => {}))"
FINISH_SHARE = "select 1 from pgq.finish_share(%s::pg_catalog.int8)"

# The longest wait on a server that sends notices, and on one that does not.
WAIT_NOTIFIED = 10.0
WAIT_POLL = 1.0
# While other workers are at the last shares of a batch.
WAIT_SHARE = 0.1

_BACKOFF_MIN = 0.2
_BACKOFF_MAX = 15.0


@dataclass(frozen=True)
class Event:
    """One event of a queue. None is SQL NULL.

    In a database of encoding SQL_ASCII, bytes that are no UTF-8 come as surrogates:
    ``event.data.encode("utf-8", "surrogateescape")`` gives them back.
    """

    id: int
    time: datetime
    txid: int
    retry: int | None
    """How often the event came again, failed or postponed; None for never."""
    type: str | None
    data: str | None
    extra1: str | None
    extra2: str | None
    extra3: str | None
    extra4: str | None

    def json(self) -> Any:
        """``data``, read as JSON."""
        return None if self.data is None else json.loads(self.data)


class Retry(Exception):
    """Raised by a handler: this event again, so many seconds later at the earliest. That
    is no failure: ``max_retries`` does not count it."""

    def __init__(self, seconds: float = 60) -> None:
        super().__init__(f"retry in {seconds} s")
        self.seconds = seconds


class Dead(Exception):
    """Raised by a handler: this event can never be done. It is kept with the reason."""


class Failed(Exception):
    """The event comes again, or is dead if it has failed too often."""


class NotTrusted(Exception):
    """Schema pgq of the database, or a function in it, is not the extension's, or belongs
    to a role that is neither a superuser nor named in PGQ_DATABASE_OWNERS."""

    def __init__(self) -> None:
        super().__init__(
            "schema pgq of this database, or a function in it, is not the extension's, or"
            " belongs to a role that is not trusted; environment variable"
            " PGQ_DATABASE_OWNERS names roles that may own it"
        )


class BatchLost(Exception):
    """The batch is not ours any more: another session of this consumer finished it."""


class EventText(Loader):
    """Text of events, whatever bytes a SQL_ASCII database has for it."""

    def load(self, data: Any) -> str:
        return bytes(data).decode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class ErrorPolicy:
    """What is done about an event whose handler fails."""

    on_error: OnError = "stop"
    retry_delay: float = 10.0
    max_retry_delay: float = 3600.0
    max_retries: int | None = None

    def decide(self, error: Exception) -> Retry | Dead | Failed | None:
        """What becomes of the event; None: the batch fails with the error."""
        if isinstance(error, (Retry, Dead)):
            return error
        if self.on_error == "stop":
            return None
        reason = f"{type(error).__name__}: {error}".strip()
        return Dead(reason) if self.on_error == "dead" else Failed(reason)


@dataclass(frozen=True)
class Share:
    """How several workers of a consumer share its batches."""

    key: str
    lease: float
    worker: str = field(
        default_factory=lambda: f"{gethostname()}-{getpid()}-{random.getrandbits(32):x}"
    )


class Backoff:
    """Pauses that grow and differ: many lose a server at once, and must not come
    back at once."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._longest = _BACKOFF_MIN

    def next(self) -> float:
        pause = random.uniform(self._longest / 2, self._longest)
        self._longest = min(self._longest * 2, _BACKOFF_MAX)
        return pause


def connect_args(dsn: str, consumer: str) -> dict[str, Any]:
    """The parameters of the connection: what dsn does not say has our defaults."""
    args: dict[str, Any] = {
        "fallback_application_name": f"pgq consumer {consumer}",
        "keepalives_idle": 60,
        "keepalives_interval": 10,
        "keepalives_count": 6,
        "tcp_user_timeout": 120000,
    }
    if "PGCONNECT_TIMEOUT" not in os.environ:
        args["connect_timeout"] = 10
    if "PGTARGETSESSIONATTRS" not in os.environ:
        args["target_session_attrs"] = "primary"
    args.update(conninfo.conninfo_to_dict(dsn))
    args["client_encoding"] = "UTF8"
    args["autocommit"] = True
    return args


def accepts_connections(dsn: str) -> bool:
    """Whoever cannot connect to a server that does accept connections was refused."""
    return pq.PGconn.ping(dsn.encode()) == pq.Ping.OK


def database_owners() -> str | None:
    """Roles that may own the extension, besides superusers."""
    return os.environ.get("PGQ_DATABASE_OWNERS")


def is_standby(conn: AnyConnection) -> bool:
    return conn.pgconn.parameter_status(b"in_hot_standby") == b"on"


def _settings(conn: AnyConnection) -> list[str]:
    settings = [f"{name} = '{value}'" for name, value in _SETTINGS]
    if conn.pgconn.server_version >= 170000:
        settings.append("transaction_timeout = '0'")
    # such a database has bytes that are no UTF-8, and could not send them as that
    if conn.pgconn.parameter_status(b"server_encoding") == b"SQL_ASCII":
        settings.append("client_encoding = 'SQL_ASCII'")
    return settings


def begin_sql(
    conn: AnyConnection, pooled: bool
) -> str:
    """Begins a transaction, in a pooler's session with its settings."""
    local = _settings(conn) if pooled else []
    return ";".join([_BEGIN] + [f"set local {s}" for s in local])


def keep_share_sql(share: int, lease: float) -> str:
    return ";" + KEEP_SHARE.format(share, float(lease))


def session_sql(conn: AnyConnection) -> str:
    """The settings of a session of our own."""
    session = [f"{name} = '{value}'" for name, value in _SESSION_SETTINGS]
    return ";".join(f"set {s}" for s in _settings(conn) + session)


def clean_reason(conn: AnyConnection, reason: str) -> str:
    """A reason that the server takes: it must not keep an event from being put aside."""
    utf8 = conn.pgconn.parameter_status(b"server_encoding") == b"UTF8"
    encoding = "utf-8" if utf8 else "ascii"
    return reason.replace("\0", "").encode(encoding, "replace").decode(encoding)


def next_page_rows(rows: list[Event], asked: int) -> int:
    """How many rows the next page may have, so that it takes some megabytes at most."""
    size = sum(len(e.data or "") + 200 for e in rows)
    return max(1, min(asked * 4, _PAGE_ROWS, _PAGE_BYTES * len(rows) // max(size, 1)))


def is_lost(conn: AnyConnection | None) -> bool:
    return conn is None or conn.closed or conn.broken


def passes(error: BaseException) -> bool:
    """Does it help to do the batch again? Deadlocks, serialization failures, a full
    disk or memory, a server that goes down or became a standby, a share that another
    worker has taken over."""
    state = getattr(error, "sqlstate", None) or ""
    return (
        state[:2] in ("40", "53") or state[:3] == "57P" or state in ("25006", "PQ002")
    )


def in_failed_transaction(
    conn: AnyConnection,
) -> bool:
    return conn.pgconn.transaction_status == pq.TransactionStatus.INERROR


def in_transaction(
    conn: AnyConnection,
) -> bool:
    return conn.pgconn.transaction_status != pq.TransactionStatus.IDLE
