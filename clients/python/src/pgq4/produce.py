"""Producers: events, in the transaction of the connection that is given."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import psycopg

Data = str | dict[str, Any] | list[Any] | None
Extra = Sequence[str | None]

INSERT = (
    "select pgq.insert_event(%s::pg_catalog.text, %s::pg_catalog.text,"
    " %s::pg_catalog.text, %s::pg_catalog.text, %s::pg_catalog.text,"
    " %s::pg_catalog.text, %s::pg_catalog.text)"
)
INSERT_MANY = (
    "select pgq.insert_event(%s::pg_catalog.text, e.type, e.data)"
    " from rows from (pg_catalog.unnest(%s::pg_catalog.text[]),"
    " pg_catalog.unnest(%s::pg_catalog.text[]))"
    " with ordinality e (type, data, n) order by e.n"
)
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


def many(queue: str, events: Iterable[tuple[str | None, Data]]) -> list[Any]:
    """The arguments of INSERT_MANY."""
    pairs = [(type, text(data)) for type, data in events]
    return [queue, [p[0] for p in pairs], [p[1] for p in pairs]]


def insert(
    conn: psycopg.Connection[Any],
    queue: str,
    type: str | None,
    data: Data,
    extra: Extra = (),
) -> int:
    """Puts an event into the queue; returns its id. What is no text becomes JSON."""
    return value(conn.execute(INSERT, one(queue, type, data, extra)).fetchone())


def insert_many(
    conn: psycopg.Connection[Any],
    queue: str,
    events: Iterable[tuple[str | None, Data]],
) -> list[int]:
    """Puts an event into the queue for each pair of type and data; returns their ids."""
    rows = conn.execute(INSERT_MANY, many(queue, events)).fetchall()
    return [value(row) for row in rows]


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


def value(row: Any) -> int:
    """The one column of a row, whatever the connection's row_factory makes of it."""
    if isinstance(row, dict):
        return int(next(iter(row.values())))
    return int(row if isinstance(row, int) else row[0])
