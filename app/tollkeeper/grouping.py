"""Many callers, one round trip: the mechanism behind every call of the request path.

One batch is in flight at a time; everything that is asked for meanwhile shares the next one. Under load that turns a round
trip per request into a round trip per batch, and an idle service pays nothing for it: the first caller is served at once.
Freshness is kept, because whatever a batch reads is read after the last of its callers asked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Generic, TypeVar

from tollkeeper.domain.errors import StoreUnavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")

MOST_AT_ONCE = 256
MOST_WAITING = 10_000


class Batches(Generic[Item]):
    """Hands what is put in to `run`, between 1 and `most` items at a time, in order. `run` answers its items itself.

    With `patience`, an item that was neither answered nor forgotten so many seconds after it was put in is handed to `late`,
    once, wherever it is then; the work on it goes on.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Awaitable[None]],
        *,
        most: int = MOST_AT_ONCE,
        patience: float | None = None,
        late: Callable[[Item], None] = lambda _: None,
    ) -> None:
        self._run = run
        self._most = most
        self._patience = patience
        self._late = late
        self._waiting: list[Item] = []
        self._since: deque[tuple[float, Item]] = deque()
        """What is waiting or in flight, oldest first; kept only with `patience`."""
        self._told_late = 0
        """How many of those, from the oldest on, were handed to `late`."""
        self._alarm: asyncio.TimerHandle | None = None
        self._worker: asyncio.Task[None] | None = None

    def put(self, item: Item) -> None:
        """Ask for work on one item; `StoreUnavailable` at once when too many are waiting already."""
        if len(self._waiting) >= MOST_WAITING:
            raise StoreUnavailable("too many requests are waiting for the store")
        self._waiting.append(item)
        if self._patience is not None:
            self._since.append((asyncio.get_running_loop().time(), item))
            if self._alarm is None:
                self._wake_in(self._patience)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())

    async def idle(self) -> None:
        """Return once nothing is waiting or in flight."""
        while self._worker is not None:
            await asyncio.wait({self._worker})

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch = self._waiting[: self._most]
                del self._waiting[: self._most]
                try:
                    await self._run(batch)
                finally:
                    self._over(len(batch))
        finally:
            self._worker = None

    def _over(self, count: int) -> None:
        if self._since:
            for _ in range(count):
                self._since.popleft()
            self._told_late = max(0, self._told_late - count)

    def _wake_in(self, seconds: float) -> None:
        self._alarm = asyncio.get_running_loop().call_later(seconds, self._look_for_late)

    def _look_for_late(self) -> None:
        """One timer serves all items: it looks who is late, and sleeps until the next one can be."""
        self._alarm = None
        now, patience = asyncio.get_running_loop().time(), self._patience or 0
        for since, item in list(islice(self._since, self._told_late, None)):
            if since + patience > now:
                self._wake_in(since + patience - now)
                return
            self._told_late += 1
            self._late(item)


class Grouped(Generic[Item, Answer]):
    """Turns a function of many items into one that each caller awaits with a single item.

    `run` gets between 1 and `most` items and returns one answer for each, in order. An answer that is an exception is
    raised for its own caller; an exception out of `run` is raised for all callers of that batch. A caller that is cancelled
    leaves its item in the batch: work that was asked for is done.
    """

    def __init__(
        self, run: Callable[[list[Item]], Awaitable[Sequence[Answer | Exception]]], *, most: int = MOST_AT_ONCE
    ) -> None:
        self._run = run
        self._batches: Batches[tuple[Item, asyncio.Future[Answer]]] = Batches(self._serve, most=most)
        self.idle = self._batches.idle

    def __call__(self, item: Item) -> asyncio.Future[Answer]:
        """The answer for one item; `StoreUnavailable` at once when too many are waiting already."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._batches.put((item, future))
        return future

    async def _serve(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers: Sequence[Answer | Exception] = await self._run([item for item, _ in batch])
        except Exception as error:
            answers = [error] * len(batch)
        except BaseException:
            with suppress(RuntimeError):  # the loop may be gone, and everybody with it
                for _, future in batch:
                    future.cancel()
            raise
        with suppress(RuntimeError):  # the same
            for (_, future), answer in zip(batch, answers, strict=True):
                resolve(future, answer)


def resolve(future: asyncio.Future[Answer], answer: Answer | Exception) -> bool:
    """Tell whoever waits; False where nobody does any more."""
    if future.done():
        return False
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
    return True
