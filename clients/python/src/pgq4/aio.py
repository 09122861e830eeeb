"""The consumer of consumer.py for asyncio, and producers.

Each line has its like there; only waiting and signals differ."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any

import psycopg
from psycopg.rows import args_row, tuple_row

from . import _protocol as proto
from . import produce
from ._protocol import BatchLost, ErrorPolicy, Event, Failed, OnError, Retry, log
from .produce import Data, Extra, NewEvent

Connection = psycopg.AsyncConnection[Any]
Handler = Callable[[Event, Connection], Awaitable[object]]


class AsyncBatch:
    """What came between two ticks: an iterable of events, maybe of none.

    ``async with batch:`` finishes it at the block's end. When the block raises, the batch
    comes again; so it does when the connection is lost, which ends the block without
    an exception. Events that were not read count as done when it is finished.
    """

    def __init__(
        self, consumer: AsyncConsumer, conn: Connection, id: int, share: int | None
    ) -> None:
        self.id = id
        self._share = share
        self.conn = conn
        """The connection, in the transaction that finishes the batch: what is done
        here is done exactly once. Leave its transaction alone."""
        self._consumer = consumer
        self._open = True

    async def __aiter__(self) -> AsyncIterator[Event]:
        asked = proto.FIRST_PAGE_ROWS
        if self._share is None:
            rows = await self._page(proto.FIRST_PAGE, (self.id,))
        else:
            await self.conn.execute(proto.SHARE_CURSOR.format(self._share))
            rows = await self._page(f"fetch {asked} from pgq_batch")
        while True:
            for row in rows:
                yield row
            if len(rows) < asked:
                return
            asked = proto.next_page_rows(rows, asked)
            rows = await self._page(f"fetch {asked} from pgq_batch")

    async def work(self, handler: Handler) -> None:
        """Gives each event to the handler, and does what the consumer's ``on_error``
        says about those that fail. What the handler did in the transaction for an
        event that failed is undone."""
        again = ""
        async for event in self:
            await self.conn.execute(f"{again}savepoint pgq_event")
            again = "release savepoint pgq_event;"
            try:
                await handler(event, self.conn)
                if proto.in_failed_transaction(self.conn):
                    raise RuntimeError("a statement failed, and the handler hid it")
            except Exception as error:
                await self._failed(event, error)

    async def retry(self, event: Event, seconds: float = 60) -> None:
        """This event again, so many seconds from now at the earliest. That is no
        failure: ``max_retries`` does not count it."""
        await self.conn.execute(proto.EVENT_POSTPONE, (self.id, event.id, seconds))

    async def failed(self, event: Event, reason: str) -> None:
        """This event failed: again after a pause, or dead if it has failed too often,
        as with ``on_error="retry"``."""
        policy = self._consumer._policy
        reason = proto.clean_reason(self.conn, reason)
        await self.conn.execute(
            proto.EVENT_FAILED,
            (self.id, event.id, reason, policy.retry_delay, policy.max_retry_delay,
             policy.max_retries),
        )

    async def dead(self, event: Event, reason: str) -> None:
        """This event can never be done: it is kept, with the reason."""
        reason = proto.clean_reason(self.conn, reason)
        await self.conn.execute(proto.EVENT_DEAD, (self.id, event.id, reason))

    async def finish(self) -> None:
        """Commits: the batch's events will not come again."""
        if not proto.in_transaction(self.conn):
            raise RuntimeError("the batch's transaction was ended by somebody else")
        cur = self.conn.cursor(row_factory=tuple_row)
        if self._share is None:
            await cur.execute(proto.FINISH, (self.id,))
        else:
            await cur.execute(proto.FINISH_SHARE, (self._share,))
        row = await cur.fetchone()
        if row is None or row[0] != 1:
            raise BatchLost(f"batch {self.id} is no longer open")
        await self.conn.execute("commit")
        self._open = False

    async def abandon(self) -> None:
        """Rolls back: the batch comes again."""
        self._open = False
        if not proto.is_lost(self.conn) and proto.in_transaction(self.conn):
            with contextlib.suppress(psycopg.Error):
                await self.conn.execute("rollback")

    async def __aenter__(self) -> AsyncBatch:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is None:
            try:
                await self.finish()
            except (psycopg.Error, BatchLost) as failure:
                await self.abandon()
                if not await self._consumer._goes_on(failure):
                    raise
            else:
                self._consumer._backoff.reset()
            return False
        await self.abandon()
        return await self._consumer._goes_on(error)

    async def _page(self, sql: str, params: tuple[int, ...] | None = None) -> list[Event]:
        cur = self.conn.cursor(row_factory=args_row(Event))
        cur.adapters.register_loader("text", proto.EventText)
        await cur.execute(sql, params)
        return await cur.fetchall()

    async def _failed(self, event: Event, error: Exception) -> None:
        if proto.is_lost(self.conn) or proto.passes(error):
            raise error
        decision = self._consumer._policy.decide(error)
        if decision is None:
            raise error
        await self.conn.execute("rollback to savepoint pgq_event")
        log.warning("event %d: %s (%s)", event.id, error, type(decision).__name__)
        if isinstance(decision, Retry):
            await self.retry(event, decision.seconds)
        elif isinstance(decision, Failed):
            await self.failed(event, str(decision))
        else:
            await self.dead(event, str(decision))


class AsyncConsumer:
    """A consumer of a queue.

    dsn is libpq's connection string or URI. With ``register`` (the default) a
    consumer that is new is registered, and gets what comes from then on. A server
    that is away is waited for, with pauses that grow to 15 s; what lasts until
    somebody mends it (a wrong password, an unknown queue) raises.

    ``on_error`` says what becomes of an event whose handler fails: ``"stop"``, the
    exception leaves ``run`` and the batch comes again; ``"retry"``, the event comes
    again after ``retry_delay`` seconds, twice that the next time, and so on, and is
    dead after ``max_retries`` failures, of the queue's setting or given here;
    ``"dead"``, it is kept as a dead event.

    With ``share`` any number of processes do the batches of this consumer together, and
    events of the same key come in order: those of one row (``share="key"``), of the same
    type (``"type"``), with the same text in ``"extra1"`` to ``"extra4"``; or none
    (``"none"``). A share is its worker's as long as its work takes; if the worker is gone,
    it is given to another, after ``lease`` seconds at the latest where the server does
    not see that.
    """

    def __init__(
        self,
        dsn: str = "",
        *,
        queue: str,
        consumer: str,
        register: bool = True,
        on_error: OnError = "stop",
        retry_delay: float = 10.0,
        max_retry_delay: float = 3600.0,
        max_retries: int | None = None,
        share: str | None = None,
        lease: float = 60.0,
    ) -> None:
        self.queue = queue
        self.consumer = consumer
        self._dsn = dsn
        self._register = register
        self._policy = ErrorPolicy(on_error, retry_delay, max_retry_delay, max_retries)
        self._conn: Connection | None = None
        self._share = None if share is None else proto.Share(share, lease)
        self._others = False       # are at work on the batch that we wait for
        self._pooled = False
        self._was_connected = False
        self._listening = False
        self._notified = False     # since the last question for a batch
        self._sends_notices = False
        self._backoff = proto.Backoff()
        self._pause = 0.0
        self._stopping = False
        self._signals: set[signal.Signals] = set()
        self._woken = asyncio.Event()

    # ---- what a program calls ----

    async def run(self, handler: Handler) -> None:
        """Gives each event to ``await handler(event, conn)`` until stop(), SIGTERM or
        SIGINT; the batch at hand is finished first."""
        if threading.current_thread() is threading.main_thread():
            self.stop_on_signals()
        async for batch in self:
            async with batch:
                await batch.work(handler)

    def stop_on_signals(
        self, signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT)
    ) -> None:
        """Lets these signals call stop(), until close(). A second one does what it did
        before."""
        loop = asyncio.get_running_loop()

        def on_signal(number: signal.Signals) -> None:
            self._signals.discard(number)
            loop.remove_signal_handler(number)
            self.stop()

        for number in signals:
            self._signals.add(number)
            loop.add_signal_handler(number, on_signal, number)

    async def __aiter__(self) -> AsyncIterator[AsyncBatch]:
        """Batches, as they come, until stop(). Use each one by ``async with batch:``."""
        while not self._stopping:
            batch = await self._ask()
            if batch is not None:
                yield batch
                await self._check_used(batch)
            elif self._pause:
                await self._sleep(self._pause)
                self._pause = 0.0
            else:
                await self._wait()

    async def drain(self, handler: Handler) -> int:
        """Gives each event that is there to the handler, and returns the number of
        batches when there are no more. For tests, and for jobs that run now and
        then."""
        count = 0
        while not self._stopping:
            batch = await self._ask()
            if batch is not None:
                async with batch:
                    await batch.work(handler)
                count += 1
            elif not self._pause:
                break
            if self._pause:
                await self._sleep(self._pause)
                self._pause = 0.0
        return count

    def stop(self) -> None:
        """Ends run() or the loop after the batch at hand. To be called in the event
        loop's thread; cancelling the task gives the batch up instead."""
        self._stopping = True
        self._woken.set()

    @property
    def is_pooled(self) -> bool:
        """Does the connection lead through a pooler? Then there is no session to
        listen in, and new batches are looked for once a second."""
        return self._pooled

    async def close(self) -> None:
        """Disconnects. A batch that is open comes again."""
        if self._conn is not None:
            await self._conn.close()
            self._conn = None
        while self._signals:
            asyncio.get_running_loop().remove_signal_handler(self._signals.pop())

    async def __aenter__(self) -> AsyncConsumer:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    # ---- the connection ----

    async def _connect(self) -> Connection:
        if self._conn is not None:
            return self._conn
        try:
            conn = await psycopg.AsyncConnection.connect(
                **proto.connect_args(self._dsn, self.consumer)
            )
        except psycopg.OperationalError as error:
            if self._was_connected or not proto.accepts_connections(self._dsn):
                raise
            standby = "read-only" in str(error) or "standby" in str(error)
            if standby or "too many" in str(error) or "starting up" in str(error):
                raise
            raise psycopg.ProgrammingError(str(error)) from error
        try:
            await self._set_up(conn)
        except BaseException:
            await conn.close()
            raise
        self._conn = conn
        self._was_connected = True
        return conn

    async def _set_up(self, conn: Connection) -> None:
        if proto.is_standby(conn):
            raise psycopg.OperationalError("the server is a standby")
        cur = conn.cursor(row_factory=tuple_row)
        await cur.execute("begin read only;set local statement_timeout = 0")
        await cur.execute(proto.PROBE)
        pid, has_channel = await cur.fetchone() or (0, False)
        await cur.execute(proto.TRUST, (proto.database_owners(),))
        (trusted,) = await cur.fetchone() or (False,)
        if not trusted:
            raise proto.NotTrusted
        await cur.execute("commit")
        self._pooled = pid != conn.pgconn.backend_pid
        self._listening = self._sends_notices = self._notified = False
        if self._pooled:
            conn.prepare_threshold = None
        else:
            await cur.execute(proto.session_sql(conn))
        if self._register:
            await self._query(conn, proto.REGISTER, (self.queue, self.consumer))
            self._register = False
        if has_channel and not self._pooled:
            conn.add_notify_handler(self._on_notice)
            (channel,) = await self._query(conn, proto.CHANNEL, (self.queue,))
            if channel is not None:
                await cur.execute(f"listen {channel}")
                self._listening = True

    async def _query(self, conn: Connection, sql: str, params: Any) -> Any:
        """One row, from a statement of its own."""
        cur = conn.cursor(row_factory=tuple_row)
        cur.adapters.register_loader("text", proto.EventText)
        if self._pooled:
            await cur.execute(proto.begin_sql(conn, True))
        try:
            await cur.execute(sql, params)
            row = await cur.fetchone()
        except psycopg.Error:
            if self._pooled and not proto.is_lost(conn):
                await cur.execute("rollback")
            raise
        if self._pooled:
            await cur.execute("commit")
        return row

    async def _goes_on(self, error: BaseException) -> bool:
        """After a failure: True, with a pause set, if it may pass by itself."""
        lost = self._conn is not None and proto.is_lost(self._conn)
        no_answer = (
            isinstance(error, psycopg.OperationalError) and error.sqlstate is None
        )
        if isinstance(error, BatchLost):
            self._pause = self._backoff.next()
        elif isinstance(error, Exception) and (
            lost or proto.passes(error) or (self._conn is None and no_answer)
        ):
            self._pause = self._backoff.next()
            if lost or getattr(error, "sqlstate", None) == "25006":
                await self._drop()
        else:
            return False
        log.warning("%s; trying again in %.1f s", str(error).strip(), self._pause)
        return True

    async def _drop(self) -> None:
        if self._conn is not None:
            await self._conn.close()
            self._conn = None

    # ---- batches ----

    async def _ask(self) -> AsyncBatch | None:
        """The next batch, with its transaction begun. None: there is none, or the
        question failed in a way that passes, and _pause is set."""
        try:
            conn = await self._connect()
            self._notified = False
            batch_id, share = await self._next(conn)
            if batch_id is None or (self._share and share is None):
                self._others = batch_id is not None
                self._backoff.reset()
                return None
            begin = proto.begin_sql(conn, self._pooled)
            if self._share and share is not None:
                begin += proto.keep_share_sql(share, self._share.lease)
            await conn.execute(begin)
            return AsyncBatch(self, conn, batch_id, share)
        except psycopg.Error as error:
            if not await self._goes_on(error):
                raise
            return None

    async def _next(self, conn: Connection) -> tuple[int | None, int | None]:
        """Ids of the next batch and of our share of it."""
        args = {"queue": self.queue, "consumer": self.consumer}
        if self._share is None:
            row = await self._query(conn, proto.NEXT_BATCH, args)
            return row[0], None
        row = await self._query(conn, proto.NEXT_SHARE, args | vars(self._share))
        return row[0], row[1]

    async def _check_used(self, batch: AsyncBatch) -> None:
        if batch._open:
            await batch.abandon()
            raise RuntimeError("use each batch by 'async with batch:', which finishes it")

    # ---- waiting ----

    def _on_notice(self, notice: object) -> None:
        self._notified = self._sends_notices = True

    async def _wait(self) -> None:
        """Until a tick, or until it is time to look without one. A notice may have
        come with the answer to the last question: then it is not on the socket any
        more, and there is no need to sleep."""
        conn = self._conn
        longest = proto.WAIT_NOTIFIED if self._sends_notices else proto.WAIT_POLL
        if self._others:
            longest = proto.WAIT_SHARE
        until = asyncio.get_running_loop().time() + longest
        while conn is not None and not self._stopping:
            while conn.pgconn.notifies():
                self._on_notice(None)
            left = until - asyncio.get_running_loop().time()
            if self._notified or left <= 0:
                return
            if await self._readable(conn.pgconn.socket, left):
                try:
                    conn.pgconn.consume_input()
                except psycopg.OperationalError as error:
                    await self._goes_on(error)
                    return

    async def _readable(self, sock: int, seconds: float) -> bool:
        """Sleeps until there is something to be read, stop(), or the time is up."""
        loop = asyncio.get_running_loop()
        readable = False

        def on_readable() -> None:
            nonlocal readable
            readable = True
            self._woken.set()

        loop.add_reader(sock, on_readable)
        try:
            await self._sleep(seconds)
        finally:
            loop.remove_reader(sock)
            if not self._stopping:
                self._woken.clear()
        return readable

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._woken.wait(), seconds)


async def insert(
    conn: Connection, queue: str, type: str | None, data: Data, extra: Extra = ()
) -> int:
    """As pgq4.insert()."""
    return int(await _value(conn, produce.INSERT, produce.one(queue, type, data, extra)))


async def insert_many(
    conn: Connection, queue: str, events: Iterable[NewEvent]
) -> list[int]:
    """As pgq4.insert_many()."""
    return list(await _value(conn, produce.INSERT_MANY, produce.many(queue, events)))


async def insert_once(
    conn: Connection,
    queue: str,
    key: str,
    type: str | None,
    data: Data,
    extra: Extra = (),
    keep: timedelta = timedelta(days=1),
) -> int:
    """As pgq4.insert_once()."""
    args = produce.once(queue, key, type, data, keep, extra)
    return int(await _value(conn, produce.INSERT_ONCE, args))


async def emit(
    conn: Connection, queue: str, type: str | None, data: Data, extra: Extra = ()
) -> None:
    """As pgq4.emit()."""
    await conn.execute(produce.EMIT, produce.one(queue, type, data, extra))


async def seek(
    conn: Connection, queue: str, consumer: str, to: datetime | int
) -> int:
    """As pgq4.seek()."""
    return int(await _value(conn, produce.seek_sql(to), (queue, consumer, to)))


async def _value(conn: Connection, sql: str, args: Sequence[Any]) -> Any:
    cur = await conn.execute(sql, args)
    return produce.value(await cur.fetchone())
