"""Metering: admit a request, and settle it.

One `Metering` serves one event loop. It never publishes to Celery and never calls a payment service. For the stores a request
waits at most `store_budget_ms` and `redis_budget_ms` together before the route, queues included, and at most
`store_budget_ms` after it. What happens when a store is away is decided here and nowhere else:

- Redis away: PostgreSQL decides, under a lock (`storage.referee`).
- PostgreSQL away before the route: `open` serves customers that were seen before by their last known account, `closed` nobody.
- PostgreSQL away after the route: the usage goes to the journal on disk, whatever the setting; it was used.
- PostgreSQL refusing an event for the event's own sake: it goes to the journal's `refused` file, and the client notices nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from typing import Any, TypeVar
from uuid import UUID

from tollkeeper.clock import Clock
from tollkeeper.counters.redis import Held, Question, RedisCounters, Spend, Verdict
from tollkeeper.domain.account import Account, CustomerInactive, CustomerUnknown
from tollkeeper.domain.errors import StoreUnavailable
from tollkeeper.domain.event import UsageEvent
from tollkeeper.domain.hold import Bound
from tollkeeper.domain.plan import RateLimit
from tollkeeper.domain.pricing import price_for
from tollkeeper.domain.refusal import ModelUnpriced, RateLimited, SpendCapReached
from tollkeeper.domain.usage import TokenType
from tollkeeper.extraction.request import RequestFacts
from tollkeeper.grouping import Grouped
from tollkeeper.services.bounding import Bounds
from tollkeeper.services.journaling import Journal, refuse, replay
from tollkeeper.services.onboarding import welcome
from tollkeeper.settings import Settings
from tollkeeper.storage.database import Database
from tollkeeper.storage.gate import Ask, Gate
from tollkeeper.storage.referee import Case, Referee, Ruling
from tollkeeper.storage.settlement import Charge, Settled, Settlement

log = logging.getLogger(__name__)

T = TypeVar("T")

ACCOUNTS_REMEMBERED = 10_000
SEED_TRIES = 5
MOST_UNDROPPED = 100_000
REPLAY_BUDGET_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent the request: by the hash of an API key, or by the name that the host's own `identify` gave."""

    key_hash: bytes | None = None
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """A request that may run, and what it was admitted on."""

    id: UUID
    account: Account
    at: datetime
    spent: Decimal
    """What counts against the cap, in minor units, as of the admission."""
    rate_limit: RateLimit | None = None
    """The limit that was in force, where somebody counted."""
    left: int = 0
    """Requests left in its window."""
    journal_only: bool = False
    """Admitted by a remembered account while the database was away."""


class Metering:
    """Admits and settles the requests of one event loop."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        budget = settings.store_budget_ms / 1000
        url, schema = settings.need_database_url(), settings.db_schema
        self._settings = settings
        self._clock = clock
        self._gate = Gate(url, schema, budget_seconds=budget)
        self._settlement = Settlement(url, schema, budget_seconds=budget)
        self._bounds = Bounds(settings.hold_tokens)
        self._referee = Referee(url, schema, self._bounds.of_all, budget_seconds=budget)
        self._counters = RedisCounters(settings.need_redis_url(), budget_seconds=settings.redis_budget_ms / 1000)
        self._budget = budget
        self._admission_budget = budget + settings.redis_budget_ms / 1000
        self._journal = Journal(settings.journal_dir)
        self._write: Grouped[UsageEvent, None] = Grouped(self._journal_all)
        self._store: Grouped[Charge, Settled] = Grouped(self._store_all)
        self._remembered: OrderedDict[Caller, Account] = OrderedDict()
        self._running: dict[UUID, Account] = {}
        self._undropped: set[UUID] = set()
        self._replay_due = True  # an earlier process may have left something
        self._extend_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._seeding: dict[tuple[str, datetime], asyncio.Task[None]] = {}

    # -- before the route ------------------------------------------------------------------------------------------

    async def admit(
        self, request: UUID, caller: Caller, facts: RequestFacts, at: datetime, method: str, path: str
    ) -> Admission:
        """Let the request run, with a hold placed for it, or raise why not.

        Raises `CustomerUnknown`, `CustomerInactive`, `RateLimited`, `SpendCapReached`, `ModelUnpriced`, and
        `StoreUnavailable` where nothing can be decided.
        """
        ask = Ask(
            hold_id=request,
            at=at,
            expires_at=at + timedelta(seconds=self._settings.hold_seconds),
            key_hash=caller.key_hash,
            user_id=caller.user_id,
            model_id=facts.model_id,
            tokens_in=facts.tokens_in_bound,
            tokens_out=facts.tokens_out_bound,
            method=method,
            path=path,
        )
        deadline = asyncio.get_running_loop().time() + self._admission_budget
        account: Account | None = None
        try:
            try:
                account = await self._in_time(self._budget, self._account(ask, caller))
            except StoreUnavailable:
                return await self._admit_from_memory(ask, caller, facts, deadline)
            verdict = await self._decide(ask, account, facts, deadline)
        except (CustomerUnknown, CustomerInactive):
            raise  # nothing was set aside for them
        except (RateLimited, SpendCapReached, ModelUnpriced):
            await self._give_back(request, account)
            raise
        except BaseException:
            # Cancelled, or nothing could be decided: the hold may be placed yet, by a statement still under way.
            self._drop_later(request, account)
            raise
        self._running[request] = account
        return _admission(ask, account, verdict)

    async def _account(self, ask: Ask, caller: Caller) -> Account:
        try:
            account = await self._gate.ask(ask)
        except CustomerUnknown:
            if caller.user_id is None or self._settings.default_plan is None:
                raise
            await asyncio.to_thread(self._welcome, caller.user_id, self._settings.default_plan)
            account = await self._gate.ask(ask)
        if account.status != "active":
            raise CustomerInactive
        self._remember(caller, account)
        return account

    def _welcome(self, user_id: str, plan_id: str) -> None:
        with Database(self._settings.need_database_url(), self._settings.db_schema) as database:
            welcome(database, user_id, plan_id, self._clock.now())

    async def _decide(self, ask: Ask, account: Account, facts: RequestFacts, deadline: float) -> Verdict | None:
        """Let the request pass or raise why not; None where there was nothing to decide."""
        plan = account.plan
        if plan.unpriced == "refuse" and facts.model_id is not None:
            kinds = (TokenType.INPUT.value, TokenType.OUTPUT.value)
            if all(price_for(plan.tariff, facts.model_id, kind) is None for kind in kinds):
                raise ModelUnpriced(facts.model_id)
        cap = plan.spend_cap if plan.at_cap == "block" else None
        limit = _rate_limit(account)
        if cap is None and limit is None:
            return None
        bound = self._bounds.of(account, facts)
        try:
            verdict = await self._until(deadline, self._ask_counters(ask, account, bound, cap, limit))
        except StoreUnavailable:
            if cap is None:
                return None  # a rate limit alone is no reason to turn anybody away while Redis is gone
            ruling = await self._until(deadline, self._referee.rule(Case(ask.hold_id, account, bound)))
            verdict = _as_verdict(ruling)
        if verdict.outcome == "rate":
            assert limit is not None
            raise RateLimited(limit=limit.requests, window_seconds=limit.seconds, wait_seconds=verdict.wait_seconds)
        if verdict.outcome == "cap":
            assert cap is not None
            raise _cap_reached(account, cap, verdict.spent, verdict.held)
        return verdict

    async def _ask_counters(
        self, ask: Ask, account: Account, bound: Bound, cap: int | None, limit: RateLimit | None
    ) -> Verdict:
        question = Question(
            id=ask.hold_id,
            user_id=account.user_id,
            period_start=account.period.start,
            bound=bound.amount,
            soft=bound.soft,
            cap=cap,
            tokens=bound.tokens,
            free_until=bound.free_until,
            spend=Spend(account.version, account.spend, account.tokens),
            now=ask.at,
            expires_at=ask.expires_at,
            rate_limit=0 if limit is None else limit.requests,
            window_seconds=0 if limit is None else limit.seconds,
        )
        for _ in range(SEED_TRIES):
            verdict = await self._counters.ask(question)
            if verdict.outcome != "seed":
                return verdict
            await self._seeded(account)
        raise StoreUnavailable("the counters are being rebuilt")

    async def _seeded(self, account: Account) -> None:
        """Fill an empty copy in Redis; everybody who finds it empty at the same time waits for the same filling."""
        key = (account.user_id, account.period.start)
        seeding = self._seeding.get(key)
        if seeding is None:
            seeding = self._seeding[key] = asyncio.create_task(self._seed(account))
            seeding.add_done_callback(lambda _: self._seeding.pop(key, None))
        await asyncio.shield(seeding)

    async def _seed(self, account: Account) -> None:
        """Fill an empty copy in Redis with what PostgreSQL says at one instant."""
        standing = await self._gate.standing(account.user_id, account.period.start)
        held = [
            Held(hold.id, amount, tokens, hold.expires_at)
            for hold, amount, tokens in self._bounds.of_all(account, standing.holds, standing.tokens)
        ]
        spend = Spend(standing.version, standing.spend, standing.tokens)
        await self._counters.seed(account.user_id, account.period.start, spend, held)

    async def _admit_from_memory(self, ask: Ask, caller: Caller, facts: RequestFacts, deadline: float) -> Admission:
        """The database is away: serve whom we know, by their last known account and what Redis knows beyond it."""
        account = self._remembered.get(caller)
        if self._settings.on_store_down == "closed" or account is None or not account.period.contains(ask.at):
            raise StoreUnavailable("the database is away")
        verdict = None
        try:
            verdict = await self._decide(ask, account, facts, deadline)
        except StoreUnavailable:
            cap = account.plan.spend_cap
            if cap is not None and account.plan.at_cap == "block" and account.spend >= cap:
                raise _cap_reached(account, cap, account.spend, Decimal(0)) from None
        return _admission(ask, account, verdict, journal_only=True)

    def _remember(self, caller: Caller, account: Account) -> None:
        self._remembered[caller] = account
        self._remembered.move_to_end(caller)
        if len(self._remembered) > ACCOUNTS_REMEMBERED:
            self._remembered.popitem(last=False)

    # -- after the route -------------------------------------------------------------------------------------------

    async def settle(self, admission: Admission, event: UsageEvent) -> asyncio.Task[None] | None:
        """Store the event for good: in the database or, while that is away, in the journal.

        What is left to do then (the hold given back in Redis) comes back as a task that the client need not wait for.
        An event that the database refuses for its own sake is kept in the journal's `refused` file. `OSError` where nothing
        takes the event: then the client must not get the end of its answer.
        """
        try:
            charge = Charge(event, self._clock.now(), None if admission.journal_only else admission.account)
            settled = await self._in_time(self._budget, self._store(charge))
        except StoreUnavailable:
            # Its hold stays in Redis until the replay: meanwhile it stands for what was spent.
            await self._write(event)
            return None
        except Exception as error:
            # Its hold is left to the sweeper, which leaves a row without charge for it.
            await asyncio.to_thread(refuse, self._settings.journal_dir, event, error)
            return None
        else:
            return self._after_settling(event, settled)
        finally:
            self._running.pop(event.id, None)

    def _after_settling(self, event: UsageEvent, settled: Settled) -> asyncio.Task[None]:
        if settled.unpriced:
            log.error("usage of model %r has no price and is not billed until it has one", event.usage.model_id)
        self._replay_if_due()
        return self._later(self._counters.settle(event.id, event.user_id, settled.period_start, _spend(settled)))

    async def _store_all(self, charges: list[Charge]) -> list[Settled | Exception]:
        return await self._settlement.store(charges)

    async def _journal_all(self, events: list[UsageEvent]) -> list[None]:
        await asyncio.to_thread(self._journal.append, events)
        return [None] * len(events)

    def _replay_if_due(self) -> None:
        if self._replay_due or self._journal.waiting:
            self._replay_due = False
            self._later(self._replay())

    async def _replay(self) -> None:
        """The database is back: bring it what waited on disk."""
        folder = self._settings.journal_dir
        await asyncio.to_thread(self._journal.hand_over)

        async def settle(events: Sequence[UsageEvent]) -> None:
            answers = await settlement.settle(events, now=self._clock.now())
            for event, answer in zip(events, answers, strict=True):
                if isinstance(answer, Exception):
                    await asyncio.to_thread(refuse, folder, event, answer)
                    continue
                await self._counters.settle(event.id, event.user_id, answer.period_start, _spend(answer))

        try:
            # On a connection of its own: that of the requests does one thing at a time.
            url, schema = self._settings.need_database_url(), self._settings.db_schema
            async with Settlement(url, schema, budget_seconds=REPLAY_BUDGET_SECONDS) as settlement:
                await replay(folder, settle)
        except (StoreUnavailable, OSError) as error:
            self._replay_due = True
            log.warning("the journal waits for another try: %s", error)

    async def _give_back(self, hold: UUID, account: Account | None) -> None:
        """End the hold of a request that was turned away."""
        try:
            await self._in_time(self._budget, self._gate.drop(hold))
        except StoreUnavailable:
            self._drop_later(hold, None)
        if account is not None:
            self._later(self._counters.release(hold, account.user_id, account.period.start))

    def _drop_later(self, hold: UUID, account: Account | None) -> None:
        if len(self._undropped) < MOST_UNDROPPED:
            self._undropped.add(hold)
        if account is not None:
            self._later(self._counters.release(hold, account.user_id, account.period.start))

    # -- looking after itself --------------------------------------------------------------------------------------

    async def look_after(self) -> None:
        """Do what no request does: call it every few seconds. `StoreUnavailable` where it has to wait for the next time."""
        now = asyncio.get_running_loop().time()
        if self._journal.waiting or self._undropped:
            await self._drop_left()
            self._replay_if_due()
        if now >= self._extend_at:
            await self.extend_holds()
            self._extend_at = now + self._settings.hold_seconds / 3

    async def extend_holds(self) -> None:
        """Keep the holds of requests that are still running; needed a few times within `hold_seconds`."""
        if self._running:
            running = dict(self._running)
            until = self._clock.now() + timedelta(seconds=self._settings.hold_seconds)
            await self._gate.extend(list(running), until)
            for hold, account in running.items():
                self._later(self._counters.extend(hold, account.user_id, account.period.start, until))

    async def _drop_left(self) -> None:
        """End the holds of requests that were turned away while the database did not listen."""
        left = list(self._undropped)
        await asyncio.gather(*[self._gate.drop(hold) for hold in left])
        self._undropped.difference_update(left)

    async def idle(self) -> None:
        """Return once nothing is left to do: the last holds given back, the last usage stored."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        await self._store.idle()
        await self._write.idle()
        await self._gate.idle()
        await self._counters.idle()

    async def close(self) -> None:
        """Finish what is under way and let go of every connection."""
        await self.idle()
        with suppress(StoreUnavailable):
            await self._drop_left()
        self._journal.hand_over()
        await self._counters.close()
        self.discard()

    def discard(self) -> None:
        """Let go of the database's connections without waiting, for a loop that is gone."""
        self._journal.hand_over()
        for part in (self._gate, self._settlement, self._referee):
            part.discard()

    async def _in_time(self, seconds: float, call: Awaitable[T]) -> T:
        return await self._until(asyncio.get_running_loop().time() + seconds, call)

    async def _until(self, deadline: float, call: Awaitable[T]) -> T:
        """The call's answer, or `StoreUnavailable` once the time that a request may wait is used up."""
        try:
            async with asyncio.timeout_at(deadline):
                return await call
        except TimeoutError:
            raise StoreUnavailable("the store did not answer in time") from None

    def _later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("work after a request failed: %s", error, exc_info=error)


def _admission(ask: Ask, account: Account, verdict: Verdict | None, *, journal_only: bool = False) -> Admission:
    """An admission with the newest figures: those of the counters, or of the rows where nobody counted."""
    if verdict is None:
        return Admission(ask.hold_id, account, ask.at, account.spend, journal_only=journal_only)
    spent = max(account.spend, verdict.spent)
    return Admission(ask.hold_id, account, ask.at, spent, _rate_limit(account), verdict.left, journal_only)


def _rate_limit(account: Account) -> RateLimit | None:
    """The limit in force: the slower one from the moment that a throttling plan's cap is reached."""
    plan = account.plan
    if plan.at_cap == "throttle" and plan.spend_cap is not None and account.spend >= plan.spend_cap:
        return plan.throttled
    return plan.rate_limit


def _spend(settled: Settled) -> Spend:
    return Spend(settled.version, settled.spent, settled.tokens)


def _as_verdict(ruling: Ruling) -> Verdict:
    return Verdict("ok" if ruling.admitted else "cap", ruling.spent, ruling.held)


def _cap_reached(account: Account, cap: int, spent: Decimal, held: Decimal) -> SpendCapReached:
    return SpendCapReached(
        spent=_whole(spent),
        held=_whole(held),
        cap=cap,
        currency=account.plan.currency,
        period_end=account.period.end,
        upgrade_url=account.plan.upgrade_url,
    )


def _whole(amount: Decimal) -> int:
    return int(amount.to_integral_value(ROUND_FLOOR))
