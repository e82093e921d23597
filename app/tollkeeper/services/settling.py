"""Settling: store what a request used, for good, before the end of its answer leaves.

- PostgreSQL away: the usage goes to the journal on disk, whatever the setting; it was used.
- PostgreSQL refusing an event for the event's own sake: it goes to the journal's `refused` file, and the client notices nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from tollkeeper.clock import Clock
from tollkeeper.counters.redis import RedisCounters, Spend
from tollkeeper.domain.errors import StoreUnavailable
from tollkeeper.domain.event import UsageEvent
from tollkeeper.grouping import Batches, resolve
from tollkeeper.services.journaling import Journal, refuse, replay
from tollkeeper.settings import Settings
from tollkeeper.storage.gate import Seen
from tollkeeper.storage.memory import Memory
from tollkeeper.storage.settlement import Charge, Settled, Settlement

log = logging.getLogger(__name__)

REPLAY_BUDGET_SECONDS = 5.0


@dataclass(slots=True, eq=False)
class _Storing:
    """An event on its way into the database, and who waits for it."""

    charge: Charge
    done: asyncio.Future[None]
    """Says nothing of the event where it was cancelled: whoever waited has gone, and the event is stored all the same."""
    written_down: bool = False


class Settling:
    """The settlements of one event loop."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        memory: Memory,
        counters: RedisCounters,
        later: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        budget = settings.store_budget_ms / 1000
        self._settings = settings
        self._clock = clock
        self._counters = counters
        self._later = later
        self._settlement = Settlement(settings.need_database_url(), settings.db_schema, memory, budget_seconds=budget)
        self._storing: Batches[_Storing] = Batches(self._store_all, patience=budget, late=self._late)
        self.journal = Journal(settings.journal_dir)
        self._replay_due = True  # an earlier process may have left something

    def settle(self, event: UsageEvent, seen: Seen | None) -> asyncio.Future[None]:
        """Store the event for good: in the database or, while that is away, in the journal.

        It is stored whether anybody waits or not. `OSError` where nothing takes it: then the client must not get the end of
        its answer.
        """
        storing = _Storing(Charge(event, self._clock.now(), seen), asyncio.get_running_loop().create_future())
        try:
            self._storing.put(storing)
        except StoreUnavailable:
            self._late(storing)
        return storing.done

    async def idle(self) -> None:
        """Return once nothing is on its way any more."""
        await self._storing.idle()

    def discard(self) -> None:
        """Let go of the database's connection and the journal without waiting."""
        self._settlement.discard()
        self.journal.hand_over()

    def replay_if_due(self) -> None:
        """Bring the database what waits on disk, if anything does."""
        if self._replay_due or self.journal.waiting:
            self._replay_due = False
            self._later(self._replay())

    async def _store_all(self, batch: list[_Storing]) -> None:
        try:
            answers = await self._settlement.store([storing.charge for storing in batch])
        except StoreUnavailable:
            # Their holds stay in Redis until the replay: meanwhile they stand for what was spent.
            await self._write_down([storing for storing in batch if not storing.written_down])
            return
        for storing, answer in zip(batch, answers, strict=True):
            if isinstance(answer, Exception):
                # Its hold is left to the sweeper, which leaves a row without charge for it.
                self._later(self._keep_refused(storing, answer))
            else:
                self._stored(storing.charge.event, answer)
                resolve(storing.done, None)
        self.replay_if_due()

    def _stored(self, event: UsageEvent, settled: Settled) -> None:
        if settled.unpriced:
            log.error("usage of model %r has no price and is not billed until it has one", event.usage.model_id)
        spend = Spend(settled.version, settled.spent, settled.tokens)
        self._counters.settle(event.id, event.user_id, settled.period_start, spend)

    def _late(self, storing: _Storing) -> None:
        """The database has not answered in time. It may have stored the event all the same: the same id counts once."""
        self._later(self._write_down([storing]))

    async def _write_down(self, batch: list[_Storing]) -> None:
        try:
            await asyncio.to_thread(self.journal.append, [storing.charge.event for storing in batch])
        except OSError as error:
            for storing in batch:
                resolve(storing.done, error)
        else:
            for storing in batch:
                storing.written_down = True
                resolve(storing.done, None)

    async def _keep_refused(self, storing: _Storing, reason: Exception) -> None:
        try:
            await asyncio.to_thread(refuse, self._settings.journal_dir, storing.charge.event, reason)
        except OSError as error:
            resolve(storing.done, error)
        else:
            resolve(storing.done, None)

    async def _replay(self) -> None:
        """The database is back: bring it what waited on disk."""
        folder = self._settings.journal_dir
        await asyncio.to_thread(self.journal.hand_over)

        async def settle(events: Sequence[UsageEvent]) -> None:
            answers = await settlement.settle(events, now=self._clock.now())
            for event, answer in zip(events, answers, strict=True):
                if isinstance(answer, Exception):
                    await asyncio.to_thread(refuse, folder, event, answer)
                else:
                    self._stored(event, answer)

        try:
            # On a connection of its own: that of the requests does one thing at a time.
            url, schema = self._settings.need_database_url(), self._settings.db_schema
            async with Settlement(url, schema, budget_seconds=REPLAY_BUDGET_SECONDS) as settlement:
                await replay(folder, settle)
        except (StoreUnavailable, OSError) as error:
            self._replay_due = True
            log.warning("the journal waits for another try: %s", error)
