"""The worker of the behaviours, on pgq4. README.md has the contract.

With twin=async it is the asyncio consumer's.
"""

import asyncio
import contextlib
import hashlib
import logging
import os
import sys
import time

import psycopg
import pgq4
from pgq4 import AsyncConsumer, Consumer, Dead, Retry

INSERT = """insert into public.done (consumer, ev_id, ev_type, retry, md5)
    values (%s, %s, %s, %s, %s)"""


def say(*words):
    print(*words, flush=True)


def held(event):
    if event.type == "hold":
        say("hold", event.id)
        while not os.path.exists(event.data):
            yield


def row(event):
    data = (event.data or "").encode("utf-8", "surrogateescape")
    return (consumer, event.id, event.type, event.retry, hashlib.md5(data).hexdigest())


def statement(event):
    """What the handler is to execute besides."""
    return {
        "badsql": "select 1 / 0",
        "hidesql": "select 1 / 0",
        "again": "select public.fail_once()",
    }.get(event.type)


def hides(event):
    hidden = event.type == "hidesql"
    return contextlib.suppress(psycopg.Error) if hidden else contextlib.nullcontext()


def end(event):
    if event.type == "fail":
        raise RuntimeError("told to fail €\0")
    if event.type == "retry" and not event.retry:
        raise Retry(0)
    if event.type == "dead":
        raise Dead("told to")


def handle(event, conn):
    for _ in held(event):
        time.sleep(0.01)
    conn.execute(INSERT, row(event))
    if sql := statement(event):
        with hides(event):
            conn.execute(sql)
    end(event)


async def handle_async(event, conn):
    for _ in held(event):
        await asyncio.sleep(0.01)
    await conn.execute(INSERT, row(event))
    if sql := statement(event):
        with hides(event):
            await conn.execute(sql)
    end(event)


def work(mode, options):
    with Consumer(dsn, queue=queue, consumer=consumer, **options) as c:
        if mode == "drain":
            c.drain(handle)
        elif mode == "iterate":
            for batch in c:
                with batch:
                    for event in batch:
                        if event.type == "stop":
                            c.stop()
                        handle(event, batch.conn)
        else:
            c.run(handle)


async def work_async(mode, options):
    async with AsyncConsumer(dsn, queue=queue, consumer=consumer, **options) as c:
        if mode == "drain":
            await c.drain(handle_async)
        elif mode == "iterate":
            async for batch in c:
                async with batch:
                    async for event in batch:
                        if event.type == "stop":
                            c.stop()
                        await handle_async(event, batch.conn)
        else:
            await c.run(handle_async)


def seek(tick):
    with psycopg.connect(dsn) as conn:
        pgq4.seek(conn, queue, consumer, tick)


async def seek_async(tick):
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        await pgq4.aio.seek(conn, queue, consumer, tick)


def produce():
    with psycopg.connect(dsn) as conn:
        pgq4.insert(conn, queue, "one", {"key": "é"}, ["x", None, "z"])
        pgq4.insert_many(conn, queue, [("many", str(n), "x") for n in range(1000)])
        for _ in range(2):
            pgq4.insert_once(conn, queue, "the key", "once", "only")
        pgq4.emit(conn, queue, "emitted", "through the WAL")


async def produce_async():
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        await pgq4.aio.insert(conn, queue, "one", {"key": "é"}, ["x", None, "z"])
        many = [("many", str(n), "x") for n in range(1000)]
        await pgq4.aio.insert_many(conn, queue, many)
        for _ in range(2):
            await pgq4.aio.insert_once(conn, queue, "the key", "once", "only")
        await pgq4.aio.emit(conn, queue, "emitted", "through the WAL")


logging.basicConfig(level=logging.INFO)
dsn, queue, consumer = sys.argv[1:4]
options = dict(word.split("=", 1) for word in sys.argv[4:])
mode = options.pop("mode", "run")
is_async = options.pop("twin", "") == "async"
for name in ("max_retries", "retry_delay", "lease"):
    if name in options:
        options[name] = int(options[name])
options["register"] = options.pop("register", "no") == "yes"
try:
    if mode == "produce":
        asyncio.run(produce_async()) if is_async else produce()
    elif mode == "seek":
        tick = int(options["to"])
        asyncio.run(seek_async(tick)) if is_async else seek(tick)
    elif is_async:
        asyncio.run(work_async(mode, options))
    else:
        work(mode, options)
except Exception as error:
    say("error", getattr(error, "sqlstate", None) or "-", str(error).strip())
    sys.exit(1)
