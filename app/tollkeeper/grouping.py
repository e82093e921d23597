"""Many callers, one round trip: the mechanism behind every call of the request path.

One call is in flight at a time; everything that is asked for meanwhile shares the next one. Under load that turns a round
trip per request into a round trip per batch, and an idle service pays nothing for it: the first caller is served at once.
Freshness is kept, because whatever a batch reads is read after the last of its callers asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from tollkeeper.domain.errors import StoreUnavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")

MOST_AT_ONCE = 256
MOST_WAITING = 10_000


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
        self._most = most
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Answer:
        """The answer for one item; `StoreUnavailable` at once when too many are waiting already."""
        if len(self._waiting) >= MOST_WAITING:
            raise StoreUnavailable("too many requests are waiting for the store")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await future

    async def idle(self) -> None:
        """Return once nothing is waiting or in flight."""
        while self._worker is not None:
            await asyncio.wait({self._worker})

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch = self._waiting[: self._most]
                del self._waiting[: self._most]
                await self._serve(batch)
        finally:
            self._worker = None

    async def _serve(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers: Sequence[Answer | Exception] = await self._run([item for item, _ in batch])
        except Exception as error:
            answers = [error] * len(batch)
        except BaseException:
            for _, future in batch:
                future.cancel()
            raise
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
