"""Metering: admit a request, and settle it.

One `Metering` serves one event loop. It never publishes to Celery and never calls a payment service. For the stores a request
waits at most `store_budget_ms` and `redis_budget_ms` together before the route, queues included, and at most
`store_budget_ms` after it. What happens when a store is away is decided in `admitting` and `settling`, and nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from tollkeeper.clock import Clock
from tollkeeper.counters.redis import Call, RedisCounters
from tollkeeper.domain.account import Account
from tollkeeper.domain.errors import StoreUnavailable
from tollkeeper.domain.event import UsageEvent
from tollkeeper.extraction.request import RequestFacts
from tollkeeper.services.admitting import Admission, Admitting
from tollkeeper.services.settling import Settling
from tollkeeper.settings import Settings
from tollkeeper.storage.memory import Caller, Memory

log = logging.getLogger(__name__)


class Metering:
    """Admits and settles the requests of one event loop."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._clock = clock
        self._hold_seconds = settings.hold_seconds
        self._counters = RedisCounters(settings.need_redis_url(), budget_seconds=settings.redis_budget_ms / 1000)
        memory = Memory()
        self._admitting = Admitting(settings, clock, memory, self._counters, self._later)
        self._settling = Settling(settings, clock, memory, self._counters, self._later)
        self._running: dict[UUID, Account] = {}
        self._extend_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    async def admit(
        self, request: UUID, caller: Caller, facts: RequestFacts, at: datetime, method: str, path: str
    ) -> Admission:
        """Let the request run, with a hold placed for it, or raise why not: see `Admitting.admit`."""
        admission = await self._admitting.admit(request, caller, facts, at, method, path)
        if not admission.journal_only:
            self._running[request] = admission.account
        return admission

    def settle(self, admission: Admission, event: UsageEvent) -> asyncio.Future[None]:
        """Store what the request used, for good: see `Settling.settle`."""
        self._running.pop(event.id, None)
        return self._settling.settle(event, None if admission.journal_only else admission.seen)

    async def look_after(self) -> None:
        """Do what no request does: call it every few seconds. `StoreUnavailable` where it has to wait for the next time."""
        now = asyncio.get_running_loop().time()
        if self._settling.journal.waiting or self._admitting.undropped:
            await self._admitting.drop_left()
            self._settling.replay_if_due()
        if now >= self._extend_at:
            await self.extend_holds()
            self._extend_at = now + self._hold_seconds / 3

    async def extend_holds(self) -> None:
        """Keep the holds of requests that are still running; needed a few times within `hold_seconds`."""
        if self._running:
            running = dict(self._running)
            until = self._clock.now() + timedelta(seconds=self._hold_seconds)
            await self._admitting.gate.extend(list(running), until)
            for hold, account in running.items():
                self._counters.extend(hold, account.user_id, account.period.start, until)

    async def idle(self) -> None:
        """Return once nothing is left to do: the last holds given back, the last usage stored."""
        await self._admitting.idle()
        await self._settling.idle()
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        await self._admitting.idle()
        await self._settling.idle()
        await self._counters.idle()

    async def close(self) -> None:
        """Finish what is under way and let go of every connection."""
        await self.idle()
        with suppress(StoreUnavailable):
            await self._admitting.drop_left()
        await self._counters.idle()
        await self._counters.close()
        self.discard()

    def discard(self) -> list[Call]:
        """Let go of all connections without waiting, for a loop that is gone; what it leaves is for `take_over`."""
        self._settling.discard()
        self._admitting.discard()
        return self._counters.discard()

    def take_over(self, left: list[Call]) -> None:
        """Do what an earlier loop has left."""
        self._counters.take_over(left)

    def _later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("work after a request failed: %s", error, exc_info=error)
