"""The consumer: its batches, one after the other, and all that may come between."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any

import psycopg
from psycopg.rows import args_row, tuple_row

from . import _protocol as proto
from ._protocol import BatchLost, ErrorPolicy, Event, Failed, OnError, Retry, log

Connection = psycopg.Connection[Any]
Handler = Callable[[Event, Connection], object]


class Batch:
    """What came between two ticks: an iterable of events, maybe of none.

    ``with batch:`` finishes it at the block's end. When the block raises, the batch
    comes again; so it does when the connection is lost, which ends the block without
    an exception. Events that were not read count as done when it is finished.
    """

    def __init__(
        self, consumer: Consumer, conn: Connection, id: int, share: int | None
    ) -> None:
        self.id = id
        self._share = share
        self.conn = conn
        """The connection, in the transaction that finishes the batch: what is done
        here is done exactly once. Leave its transaction alone."""
        self._consumer = consumer
        self._open = True

    def __iter__(self) -> Iterator[Event]:
        asked = proto.FIRST_PAGE_ROWS
        if self._share is None:
            rows = self._page(proto.FIRST_PAGE, (self.id,))
        else:
            self.conn.execute(proto.SHARE_CURSOR.format(self._share))
            rows = self._page(f"fetch {asked} from pgq_batch")
        while True:
            yield from rows
            if len(rows) < asked:
                return
            asked = proto.next_page_rows(rows, asked)
            rows = self._page(f"fetch {asked} from pgq_batch")

    def work(self, handler: Handler) -> None:
        """Gives each event to the handler, and does what the consumer's ``on_error``
        says about those that fail. What the handler did in the transaction for an
        event that failed is undone."""
        again = ""
        for event in self:
            self.conn.execute(f"{again}savepoint pgq_event")
            again = "release savepoint pgq_event;"
            try:
                handler(event, self.conn)
                if proto.in_failed_transaction(self.conn):
                    raise RuntimeError("a statement failed, and the handler hid it")
            except Exception as error:
                self._failed(event, error)

    def retry(self, event: Event, seconds: float = 60) -> None:
        """This event again, so many seconds from now at the earliest. That is no
        failure: ``max_retries`` does not count it."""
        self.conn.execute(proto.EVENT_POSTPONE, (self.id, event.id, seconds))

    def failed(self, event: Event, reason: str) -> None:
        """This event failed: again after a pause, or dead if it has failed too often,
        as with ``on_error="retry"``."""
        policy = self._consumer._policy
        reason = proto.clean_reason(self.conn, reason)
        self.conn.execute(
            proto.EVENT_FAILED,
            (self.id, event.id, reason, policy.retry_delay, policy.max_retry_delay,
             policy.max_retries),
        )

    def dead(self, event: Event, reason: str) -> None:
        """This event can never be done: it is kept, with the reason."""
        reason = proto.clean_reason(self.conn, reason)
        self.conn.execute(proto.EVENT_DEAD, (self.id, event.id, reason))

    def finish(self) -> None:
        """Commits: the batch's events will not come again."""
        if not proto.in_transaction(self.conn):
            raise RuntimeError("the batch's transaction was ended by somebody else")
        cur = self.conn.cursor(row_factory=tuple_row)
        if self._share is None:
            cur.execute(proto.FINISH, (self.id,))
        else:
            cur.execute(proto.FINISH_SHARE, (self._share,))
        row = cur.fetchone()
        if row is None or row[0] != 1:
            raise BatchLost(f"batch {self.id} is no longer open")
        self.conn.execute("commit")
        self._open = False

    def abandon(self) -> None:
        """Rolls back: the batch comes again."""
        self._open = False
        if not proto.is_lost(self.conn) and proto.in_transaction(self.conn):
            with contextlib.suppress(psycopg.Error):
                self.conn.execute("rollback")

    def __enter__(self) -> Batch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is None:
            try:
                self.finish()
            except (psycopg.Error, BatchLost) as failure:
                self.abandon()
                if not self._consumer._goes_on(failure):
                    raise
            else:
                self._consumer._backoff.reset()
            return False
        self.abandon()
        return self._consumer._goes_on(error)

    def _page(self, sql: str, params: tuple[int, ...] | None = None) -> list[Event]:
        cur = self.conn.cursor(row_factory=args_row(Event))
        cur.adapters.register_loader("text", proto.EventText)
        cur.execute(sql, params)
        return cur.fetchall()

    def _failed(self, event: Event, error: Exception) -> None:
        if proto.is_lost(self.conn) or proto.passes(error):
            raise error
        decision = self._consumer._policy.decide(error)
        if decision is None:
            raise error
        self.conn.execute("rollback to savepoint pgq_event")
        log.warning("event %d: %s (%s)", event.id, error, type(decision).__name__)
        if isinstance(decision, Retry):
            self.retry(event, decision.seconds)
        elif isinstance(decision, Failed):
            self.failed(event, str(decision))
        else:
            self.dead(event, str(decision))


class Consumer:
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
        self._signals: dict[int, Any] = {}
        self._wake_r, self._wake_w = socket.socketpair()
        self._wake_w.setblocking(False)

    # ---- what a program calls ----

    def run(self, handler: Handler) -> None:
        """Gives each event to ``handler(event, conn)`` until stop(), SIGTERM or SIGINT;
        the batch at hand is finished first."""
        if threading.current_thread() is threading.main_thread():
            self.stop_on_signals()
        for batch in self:
            with batch:
                batch.work(handler)

    def stop_on_signals(
        self, signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT)
    ) -> None:
        """Lets these signals call stop(), until close(). A second one does what it did
        before."""

        def on_signal(number: int, frame: object) -> None:
            signal.signal(number, self._signals.pop(number))
            self.stop()

        for number in signals:
            if number not in self._signals:
                self._signals[number] = signal.signal(number, on_signal)

    def __iter__(self) -> Iterator[Batch]:
        """Batches, as they come, until stop(). Use each one by ``with batch:``."""
        while not self._stopping:
            batch = self._ask()
            if batch is not None:
                yield batch
                self._check_used(batch)
            elif self._pause:
                self._sleep(self._pause)
                self._pause = 0.0
            else:
                self._wait()

    def drain(self, handler: Handler) -> int:
        """Gives each event that is there to the handler, and returns the number of
        batches when there are no more. For tests, and for jobs that run now and
        then."""
        count = 0
        while not self._stopping:
            batch = self._ask()
            if batch is not None:
                with batch:
                    batch.work(handler)
                count += 1
            elif not self._pause:
                break
            if self._pause:
                self._sleep(self._pause)
                self._pause = 0.0
        return count

    def stop(self) -> None:
        """Ends run() or the loop after the batch at hand. May be called from other
        threads and from signal handlers."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self._wake_w.send(b"x")

    @property
    def is_pooled(self) -> bool:
        """Does the connection lead through a pooler? Then there is no session to
        listen in, and new batches are looked for once a second."""
        return self._pooled

    def close(self) -> None:
        """Disconnects. A batch that is open comes again."""
        if self._conn is not None:
            self._conn.close()
            self._conn = None
        while self._signals:
            signal.signal(*self._signals.popitem())
        self._wake_r.close()
        self._wake_w.close()

    def __enter__(self) -> Consumer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # ---- the connection ----

    def _connect(self) -> Connection:
        if self._conn is not None:
            return self._conn
        try:
            conn = psycopg.connect(**proto.connect_args(self._dsn, self.consumer))
        except psycopg.OperationalError as error:
            if self._was_connected or not proto.accepts_connections(self._dsn):
                raise
            standby = "read-only" in str(error) or "standby" in str(error)
            if standby or "too many" in str(error) or "starting up" in str(error):
                raise
            raise psycopg.ProgrammingError(str(error)) from error
        try:
            self._set_up(conn)
        except BaseException:
            conn.close()
            raise
        self._conn = conn
        self._was_connected = True
        return conn

    def _set_up(self, conn: Connection) -> None:
        if proto.is_standby(conn):
            raise psycopg.OperationalError("the server is a standby")
        cur = conn.cursor(row_factory=tuple_row)
        cur.execute("begin read only;set local statement_timeout = 0")
        cur.execute(proto.PROBE)
        pid, has_channel = cur.fetchone() or (0, False)
        cur.execute(proto.TRUST, (proto.database_owners(),))
        (trusted,) = cur.fetchone() or (False,)
        if not trusted:
            raise proto.NotTrusted
        cur.execute("commit")
        self._pooled = pid != conn.pgconn.backend_pid
        self._listening = self._sends_notices = self._notified = False
        if self._pooled:
            conn.prepare_threshold = None
        else:
            cur.execute(proto.session_sql(conn))
        if self._register:
            self._query(conn, proto.REGISTER, (self.queue, self.consumer))
            self._register = False
        if has_channel and not self._pooled:
            conn.add_notify_handler(self._on_notice)
            (channel,) = self._query(conn, proto.CHANNEL, (self.queue,))
            if channel is not None:
                cur.execute(f"listen {channel}")
                self._listening = True

    def _query(self, conn: Connection, sql: str, params: Any) -> Any:
        """One row, from a statement of its own."""
        cur = conn.cursor(row_factory=tuple_row)
        cur.adapters.register_loader("text", proto.EventText)
        if self._pooled:
            cur.execute(proto.begin_sql(conn, True))
        try:
            cur.execute(sql, params)
            row = cur.fetchone()
        except psycopg.Error:
            if self._pooled and not proto.is_lost(conn):
                cur.execute("rollback")
            raise
        if self._pooled:
            cur.execute("commit")
        return row

    def _goes_on(self, error: BaseException) -> bool:
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
                self._drop()
        else:
            return False
        log.warning("%s; trying again in %.1f s", str(error).strip(), self._pause)
        return True

    def _drop(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None

    # ---- batches ----

    def _ask(self) -> Batch | None:
        """The next batch, with its transaction begun. None: there is none, or the
        question failed in a way that passes, and _pause is set."""
        try:
            conn = self._connect()
            self._notified = False
            batch_id, share = self._next(conn)
            if batch_id is None or (self._share and share is None):
                self._others = batch_id is not None
                self._backoff.reset()
                return None
            begin = proto.begin_sql(conn, self._pooled)
            if self._share and share is not None:
                begin += proto.keep_share_sql(share, self._share.lease)
            conn.execute(begin)
            return Batch(self, conn, batch_id, share)
        except psycopg.Error as error:
            if not self._goes_on(error):
                raise
            return None

    def _next(self, conn: Connection) -> tuple[int | None, int | None]:
        """Ids of the next batch and of our share of it."""
        args = {"queue": self.queue, "consumer": self.consumer}
        if self._share is None:
            row = self._query(conn, proto.NEXT_BATCH, args)
            return row[0], None
        row = self._query(conn, proto.NEXT_SHARE, args | vars(self._share))
        return row[0], row[1]

    def _check_used(self, batch: Batch) -> None:
        if batch._open:
            batch.abandon()
            raise RuntimeError("use each batch by 'with batch:', which finishes it")

    # ---- waiting ----

    def _on_notice(self, notice: object) -> None:
        self._notified = self._sends_notices = True

    def _wait(self) -> None:
        """Until a tick, or until it is time to look without one. A notice may have
        come with the answer to the last question: then it is not on the socket any
        more, and there is no need to sleep."""
        conn = self._conn
        longest = proto.WAIT_NOTIFIED if self._sends_notices else proto.WAIT_POLL
        if self._others:
            longest = proto.WAIT_SHARE
        until = time.monotonic() + longest
        while conn is not None and not self._stopping:
            while conn.pgconn.notifies():
                self._on_notice(None)
            left = until - time.monotonic()
            if self._notified or left <= 0:
                return
            sock = conn.pgconn.socket
            ready, _, _ = select.select([sock, self._wake_r.fileno()], [], [], left)
            if sock in ready:
                try:
                    conn.pgconn.consume_input()
                except psycopg.OperationalError as error:
                    self._goes_on(error)
                    return

    def _sleep(self, seconds: float) -> None:
        if not self._stopping:
            select.select([self._wake_r], [], [], seconds)
