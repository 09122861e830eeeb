"""For tests of your own consumers: what pgqd does otherwise, at once."""

from __future__ import annotations

from typing import Any

import psycopg


def tick(conn: psycopg.Connection[Any], queue: str) -> None:
    """Makes what is committed in the queue until now a batch. Needs role pgq_admin.

    After it ``Consumer.drain(handler)`` handles all events that are there.
    """
    # each in a transaction of its own: a tick shows what is committed before it
    if not conn.autocommit:
        raise ValueError("tick() needs a connection in autocommit mode")
    conn.execute("select pgq.force_tick(%s::pg_catalog.text)", (queue,))
    conn.execute("select pgq.ticker(%s::pg_catalog.text)", (queue,))


def retry_now(conn: psycopg.Connection[Any]) -> None:
    """Puts retried events whose time has come back into their queues. tick() then
    makes them a batch. Needs role pgq_admin."""
    conn.execute("select pgq.maint_retry_events()")
