"""One connection of the request path: opened when needed, thrown away when it fails or takes too long."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import psycopg
from psycopg import errors

from tollkeeper.domain.errors import StoreUnavailable
from tollkeeper.storage.database import way_to

T = TypeVar("T")
Connection = psycopg.AsyncConnection[dict[str, Any]]
Work = Callable[[psycopg.AsyncConnection[Any]], Awaitable[T]]

REST_SECONDS = 0.5
"""After a failure the store is left alone for this long, and everybody is told at once that it is away."""

CONFLICT_TRIES = 4
"""Times that work is done before a deadlock or a serialization failure counts as the store being away."""

# Every statement here reaches for a few rows by their keys. PostgreSQL takes a JSON list for a hundred rows whatever its
# length, and would now and then rather read a whole table: 2,060 us against 212 us for the gate with 10,000 customers.
_BY_KEY = ("-c enable_seqscan=off", "-c enable_hashjoin=off", "-c enable_mergejoin=off")
_NOT_DURABLE = "-c synchronous_commit=off"

_AWAY = (psycopg.OperationalError, psycopg.InterfaceError, errors.ReadOnlySqlTransaction, OSError)
_TRY_AGAIN = (errors.DeadlockDetected, errors.SerializationFailure)


class Wire:
    """A single connection that mends itself. Use it for one thing at a time; `Grouped` sees to that."""

    def __init__(
        self,
        url: str,
        schema: str | None,
        *,
        budget_seconds: float,
        durable: bool,
        on_connect: Callable[[], None] = lambda: None,
    ) -> None:
        self._way = way_to(url, schema, *_BY_KEY, *(() if durable else (_NOT_DURABLE,)))
        self._budget = budget_seconds
        self._on_connect = on_connect
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._rest_until = 0.0
        self._lost: set[asyncio.Task[Any]] = set()

    async def run(self, work: Work[T]) -> T:
        """What `work` returns, given a live connection.

        A connection that turns out dead is replaced and the work done once more, so `work` must be repeatable. Raises
        `StoreUnavailable` when the budget is used up or PostgreSQL refuses; while it rests after that, at once.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        if began < self._rest_until:
            raise StoreUnavailable("PostgreSQL is away")
        connection = self._connection
        if connection is not None and not connection.closed:
            alarm = loop.call_later(self._budget, self._cut, connection)
            try:
                return await self._done(work, connection)
            except _AWAY as error:
                cut = connection is not self._connection
                self._discard(connection)
                if cut:
                    raise self._away() from error
            finally:
                alarm.cancel()
        return await self._on_a_new_one(work, began + self._budget - loop.time())

    async def _on_a_new_one(self, work: Work[T], seconds: float) -> T:
        """The work on a connection that is yet to be made."""
        attempt = asyncio.ensure_future(self._attempt(work))
        done, _ = await asyncio.wait({attempt}, timeout=max(seconds, 0))
        if not done:
            self._abandon(attempt)
            raise self._away()
        try:
            return attempt.result()
        except _AWAY as error:
            raise self._away(error) from error

    async def _attempt(self, work: Work[T]) -> T:
        connection = await self._connected()
        try:
            return await self._done(work, connection)
        except _AWAY:
            self._discard(connection)
            raise

    def _away(self, error: Exception | None = None) -> StoreUnavailable:
        """What is raised now, and at once for a while: that it refused, or did not answer in time."""
        self._rest_until = asyncio.get_running_loop().time() + REST_SECONDS
        if error is None:
            return StoreUnavailable(f"PostgreSQL did not answer within {self._budget:g} s")
        return StoreUnavailable(f"PostgreSQL is away: {type(error).__name__}")

    async def _done(self, work: Work[T], connection: psycopg.AsyncConnection[Any]) -> T:
        """The work, begun anew where another transaction crossed it."""
        for tries_left in range(CONFLICT_TRIES - 1, -1, -1):
            try:
                return await work(connection)
            except _TRY_AGAIN:
                await self._reset(connection)
                if not tries_left:
                    raise
                await asyncio.sleep(random.uniform(0.001, 0.02))  # noqa: S311 # two that crossed once should not meet again
            except _AWAY:
                raise
            except BaseException:
                await self._reset(connection)
                raise
        raise AssertionError("the last try returns or raises")

    async def _connected(self) -> psycopg.AsyncConnection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(
                self._way.url,
                autocommit=True,
                connect_timeout=max(1, int(self._budget)),
                application_name="tollkeeper request path",
                **self._way.arguments,
            )
            self._on_connect()
        return self._connection

    async def _reset(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Leave no transaction open behind work that failed for a reason of its own."""
        try:
            await connection.rollback()
        except _AWAY:
            self._discard(connection)

    def _abandon(self, attempt: asyncio.Task[Any]) -> None:
        """Let a late attempt die on its own; waiting for its cancellation could take psycopg seconds."""
        connection = self._connection
        self._lost.add(attempt)
        attempt.add_done_callback(self._forget)
        if connection is None or connection.closed:
            attempt.cancel()
        else:
            self._cut(connection)

    def _cut(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """End what waits for this connection, which notices by itself.

        Its socket is shut down and stays open until then. Closed here, its number would pass to the next connection of the
        process, and what is then taken back from the event loop would be that one's.
        """
        if connection is self._connection:
            self._connection = None
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.pgconn.socket)) as twin:
            twin.shutdown(socket.SHUT_RDWR)

    def _forget(self, attempt: asyncio.Task[Any]) -> None:
        self._lost.discard(attempt)
        if not attempt.cancelled():
            attempt.exception()

    def discard(self) -> None:
        """Close the socket without a word to the server; safe from any thread once the loop is gone."""
        if self._connection is not None:
            self._discard(self._connection)

    def _discard(self, connection: psycopg.AsyncConnection[Any]) -> None:
        # A late attempt may come here after a new connection took the place of its own.
        if connection is self._connection:
            self._connection = None
        if not connection.closed:
            connection.pgconn.finish()
