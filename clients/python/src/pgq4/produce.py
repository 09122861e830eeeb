"""Producers: events, in the transaction of the connection that is given; and seek."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg

Data = str | dict[str, Any] | list[Any] | None
Extra = Sequence[str | None]
NewEvent = tuple[str | None, Data] | tuple[Any, ...]

INSERT = (
    "select pgq.insert_event(%s::pg_catalog.text, %s::pg_catalog.text,"
    " %s::pg_catalog.text, %s::pg_catalog.text, %s::pg_catalog.text,"
    " %s::pg_catalog.text, %s::pg_catalog.text)"
)
INSERT_MANY = (
    "select pgq.insert_events(%s::pg_catalog.text, %s::pg_catalog.text[],"
    " %s::pg_catalog.text[], %s::pg_catalog.text[], %s::pg_catalog.text[],"
    " %s::pg_catalog.text[], %s::pg_catalog.text[])"
)
INSERT_ONCE = (
    "select pgq.insert_event_once(%s::pg_catalog.text, %s::pg_catalog.text,"
    " %s::pg_catalog.text, %s::pg_catalog.text,"
    " pg_catalog.make_interval(secs => %s::pg_catalog.float8), %s::pg_catalog.text,"
    " %s::pg_catalog.text, %s::pg_catalog.text, %s::pg_catalog.text)"
)
SEEK = "select pgq.seek_consumer(%s::pg_catalog.text, %s::pg_catalog.text, {})"
EMIT = INSERT.replace("insert_event", "emit_event")


def text(data: Data) -> str | None:
    """What becomes ev_data: text as it is, anything else as JSON."""
    if data is None or isinstance(data, str):
        return data
    return json.dumps(data, ensure_ascii=False)


def one(queue: str, type: str | None, data: Data, extra: Extra) -> list[str | None]:
    """The arguments of INSERT and EMIT."""
    if len(extra) > 4:
        raise ValueError("an event has four extra fields")
    return [queue, type, text(data), *extra, *[None] * (4 - len(extra))]


def many(queue: str, events: Iterable[NewEvent]) -> list[Any]:
    """The arguments of INSERT_MANY."""
    rows = [one(queue, event[0], event[1], event[2:]) for event in events]
    columns = [list(column) for column in zip(*rows, strict=True)][1:]
    return [queue, *(columns or [[]] * 6)]


def once(
    queue: str, key: str, type: str | None, data: Data, keep: timedelta, extra: Extra
) -> list[Any]:
    """The arguments of INSERT_ONCE."""
    args: list[Any] = one(queue, type, data, extra)
    return [queue, key, *args[1:3], keep.total_seconds(), *args[3:]]


def seek_sql(to: datetime | int) -> str:
    return SEEK.format(f"%s::pg_catalog.{'int8' if isinstance(to, int) else 'timestamptz'}")


def insert(
    conn: psycopg.Connection[Any],
    queue: str,
    type: str | None,
    data: Data,
    extra: Extra = (),
) -> int:
    """Puts an event into the queue; returns its id. What is no text becomes JSON."""
    return int(value(conn.execute(INSERT, one(queue, type, data, extra)).fetchone()))


def insert_many(
    conn: psycopg.Connection[Any], queue: str, events: Iterable[NewEvent]
) -> list[int]:
    """Puts events into the queue in one call: (type, data), or (type, data, extra1 …).
    Returns their ids."""
    return list(value(conn.execute(INSERT_MANY, many(queue, events)).fetchone()))


def insert_once(
    conn: psycopg.Connection[Any],
    queue: str,
    key: str,
    type: str | None,
    data: Data,
    extra: Extra = (),
    keep: timedelta = timedelta(days=1),
) -> int:
    """Puts an event into the queue, unless one with this key was put there in the time
    that keys are kept. Returns the id of the first."""
    args = once(queue, key, type, data, keep, extra)
    return int(value(conn.execute(INSERT_ONCE, args).fetchone()))


def emit(
    conn: psycopg.Connection[Any],
    queue: str,
    type: str | None,
    data: Data,
    extra: Extra = (),
) -> None:
    """Puts an event into the queue through the WAL alone, without writing a table. The
    database must have a capture slot."""
    conn.execute(EMIT, one(queue, type, data, extra))


def seek(
    conn: psycopg.Connection[Any], queue: str, consumer: str, to: datetime | int
) -> int:
    """Moves a consumer, forwards or back, to a time or to a tick; returns the tick. It is
    refused while a batch is open."""
    return int(value(conn.execute(seek_sql(to), (queue, consumer, to)).fetchone()))


def value(row: Any) -> Any:
    """The one column of a row, whatever the connection's row_factory makes of it."""
    if isinstance(row, dict):
        return next(iter(row.values()))
    return row[0] if isinstance(row, tuple) else row
