"""Consumers and producers of PgQ queues, on psycopg 3.

    from pgq4 import Consumer

    def mail(event, conn):
        conn.execute("insert into mail (body) values (%s)", (event.data,))

    with Consumer("dbname=shop", queue="orders", consumer="mailer") as consumer:
        consumer.run(mail)
"""

from ._protocol import BatchLost, Dead, Event, NotTrusted, OnError, Retry
from .aio import AsyncBatch, AsyncConsumer
from .consumer import Batch, Consumer
from .produce import emit, insert, insert_many, insert_once, seek

__all__ = [
    "AsyncBatch",
    "AsyncConsumer",
    "Batch",
    "BatchLost",
    "Consumer",
    "Dead",
    "Event",
    "NotTrusted",
    "OnError",
    "Retry",
    "emit",
    "insert",
    "insert_many",
    "insert_once",
    "seek",
]
