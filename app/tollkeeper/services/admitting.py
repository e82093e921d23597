"""Admitting: may this request run? Decided for all requests of a batch at once; what is out of the ordinary is decided alone.

A batch takes two round trips: PostgreSQL says who is asking and stores a hold for each, Redis says whether it fits. A request
that finds its copy in Redis empty, or a store away, leaves the batch and nobody waits for it. What happens then:

- Redis away: PostgreSQL decides, under a lock (`storage.referee`).
- PostgreSQL away: `open` serves customers that were seen before by their last known account, `closed` nobody.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from tollkeeper.clock import Clock
from tollkeeper.counters.redis import Held, Question, RedisCounters, Spend, Verdict
from tollkeeper.domain.account import Account, CustomerInactive, CustomerUnknown
from tollkeeper.domain.errors import NotFound, StoreUnavailable, TollkeeperError
from tollkeeper.domain.hold import Bound
from tollkeeper.domain.notice import Notice, cap_refusal_notice
from tollkeeper.domain.plan import RateLimit
from tollkeeper.domain.pricing import FINE
from tollkeeper.domain.refusal import ModelUnpriced, RateLimited, SpendCapReached
from tollkeeper.domain.usage import TokenType
from tollkeeper.extraction.request import RequestFacts
from tollkeeper.grouping import Batches, resolve
from tollkeeper.services.bounding import Bounds
from tollkeeper.services.onboarding import welcome
from tollkeeper.settings import Settings
from tollkeeper.storage.database import Database
from tollkeeper.storage.gate import Ask, Gate, Seen
from tollkeeper.storage.memory import Caller, Memory
from tollkeeper.storage.referee import Case, Referee

log = logging.getLogger(__name__)

SEED_TRIES = 5
MOST_NOTED = 10_000
MOST_UNDROPPED = 100_000
_KINDS = (TokenType.INPUT.value, TokenType.OUTPUT.value)


@dataclass(slots=True, eq=False)
class Admission:
    """A request that may run, and what it was admitted on."""

    id: UUID
    seen: Seen
    at: datetime
    spent: int
    """What counts against the cap, in fine units, as of the admission."""
    rate_limit: RateLimit | None = None
    """The limit that was in force, where somebody counted."""
    left: int = 0
    """Requests left in its window."""
    journal_only: bool = False
    """Admitted by a remembered account while the database was away."""

    @property
    def account(self) -> Account:
        return self.seen.account


_Refused = tuple[str, datetime, int | None]
"""Customer, period and spend cap."""


@dataclass(slots=True, eq=False)
class _Asked:
    """A request at the gate, and who waits for the decision."""

    ask: Ask
    admission: asyncio.Future[Admission]
    since: float
    seen: Seen | None = None
    alone: bool = False
    """It has left its batch."""


class Admitting:
    """The admissions of one event loop."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        memory: Memory,
        counters: RedisCounters,
        later: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        budget = settings.store_budget_ms / 1000
        url, schema = settings.need_database_url(), settings.db_schema
        self.gate = Gate(url, schema, memory, budget_seconds=budget)
        self._settings = settings
        self._clock = clock
        self._memory = memory
        self._counters = counters
        self._later = later
        self._bounds = Bounds(settings.hold_tokens)
        self._referee = Referee(url, schema, self._bounds.of_all, budget_seconds=budget)
        self._budget = budget + settings.redis_budget_ms / 1000
        self._hold_for = timedelta(seconds=settings.hold_seconds)
        self._asked: Batches[_Asked] = Batches(self._decide_all, patience=budget, late=self._late)
        self._seeding: dict[tuple[str, datetime], asyncio.Task[None]] = {}
        self._noted: set[_Refused] = set()
        self.undropped: set[UUID] = set()
        """Holds of requests that were turned away while the database did not listen."""

    async def admit(
        self, request: UUID, caller: Caller, facts: RequestFacts, at: datetime, method: str, path: str
    ) -> Admission:
        """Let the request run, with a hold placed for it, or raise why not.

        Raises `CustomerUnknown`, `CustomerInactive`, `RateLimited`, `SpendCapReached`, `ModelUnpriced`, and
        `StoreUnavailable` where nothing can be decided.
        """
        model, tokens_in, tokens_out = facts.model_id, facts.tokens_in_bound, facts.tokens_out_bound
        ask = Ask(request, at, at + self._hold_for, caller, model, tokens_in, tokens_out, method, path)
        loop = asyncio.get_running_loop()
        asked = _Asked(ask, loop.create_future(), loop.time())
        try:
            self._asked.put(asked)
        except StoreUnavailable:
            self._late(asked)
        try:
            return await asked.admission
        except asyncio.CancelledError:
            if not asked.admission.cancelled() and asked.admission.exception() is None:
                self._drop_later(asked)  # it was let through, and nobody is there any more
            raise

    async def idle(self) -> None:
        """Return once nobody waits for a decision."""
        await self._asked.idle()
        await self.gate.idle()

    async def drop_left(self) -> None:
        """End the holds of requests that were turned away while the database did not listen."""
        left = list(self.undropped)
        await asyncio.gather(*[self.gate.drop(hold) for hold in left])
        self.undropped.difference_update(left)

    def discard(self) -> None:
        """Let go of the database's connections without waiting."""
        self.gate.discard()
        self._referee.discard()

    # -- all of a batch ----------------------------------------------------------------------------------------------

    async def _decide_all(self, batch: list[_Asked]) -> None:
        try:
            found = await self.gate.ask_all([asked.ask for asked in batch])
        except StoreUnavailable:
            for asked in batch:
                self._late(asked)
            return
        open_questions: list[tuple[_Asked, Question]] = []
        for asked, seen in zip(batch, found, strict=True):
            if not asked.alone:
                question = self._look_at(asked, seen)
                if question is not None:
                    open_questions.append((asked, question))
        if open_questions:
            for asked, verdict in await self._verdicts(open_questions):
                self._conclude(asked, verdict)

    def _look_at(self, asked: _Asked, seen: Seen | Exception) -> Question | None:
        """What is to be asked of the counters; None for a request that is decided, or left its batch."""
        if isinstance(seen, Exception):
            self._not_known(asked, seen)
            return None
        asked.seen = seen
        if asked.admission.done():
            self._drop_later(asked)
            return None
        try:
            question = self._question(asked.ask, seen.account)
        except CustomerInactive as refusal:
            resolve(asked.admission, refusal)  # nothing was set aside
            return None
        except ModelUnpriced as refusal:
            self._refuse(asked, refusal)
            return None
        if question is None:
            self._let_through(asked, seen, None)
        return question

    async def _verdicts(
        self, questions: list[tuple[_Asked, Question]]
    ) -> list[tuple[_Asked, Verdict | StoreUnavailable]]:
        try:
            verdicts = await self._counters.ask_all([question for _, question in questions])
        except StoreUnavailable as error:
            return [(asked, error) for asked, _ in questions]
        return [(asked, verdict) for (asked, _), verdict in zip(questions, verdicts, strict=True)]

    def _conclude(self, asked: _Asked, verdict: Verdict | StoreUnavailable) -> None:
        seen = asked.seen
        assert seen is not None, "only of customers that were seen is anything asked"
        if isinstance(verdict, Exception) or verdict.outcome == "seed":
            self._leave_batch(asked, self._decide_alone(asked, seen))
        elif verdict.outcome == "ok":
            self._let_through(asked, seen, verdict)
        else:
            self._refuse(asked, _refusal(seen.account, verdict))

    def _let_through(self, asked: _Asked, seen: Seen, verdict: Verdict | None, *, journal_only: bool = False) -> None:
        """With the newest figures: those of the counters, or of the rows where nobody counted."""
        spend, limit, left = seen.account.spend, None, 0
        if verdict is not None:
            spend, limit, left = max(spend, verdict.spent), _rate_limit(seen.account), verdict.left
        admission = Admission(asked.ask.hold_id, seen, asked.ask.at, spend, limit, left, journal_only)
        if not resolve(asked.admission, admission):
            self._drop_later(asked)

    def _refuse(self, asked: _Asked, refusal: RateLimited | SpendCapReached | ModelUnpriced) -> None:
        resolve(asked.admission, refusal)
        if isinstance(refusal, SpendCapReached) and asked.seen is not None:
            self._note_refusal(asked.seen.account, refusal.spent)
        self._later(self._give_back(asked))

    def _note_refusal(self, account: Account, spent: int) -> None:
        """Have it told that the cap stops requests: once for each customer, period and cap, however many are refused."""
        about = (account.user_id, account.period.start, account.plan.spend_cap)
        if about in self._noted:
            return
        notice = cap_refusal_notice(account, spent)
        if notice is not None:
            if len(self._noted) >= MOST_NOTED:
                self._noted.clear()  # the database knows what was told, too
            self._noted.add(about)
            self._later(self._tell(about, notice))

    async def _tell(self, about: _Refused, notice: Notice) -> None:
        try:
            await self.gate.tell(notice, self._clock.now())
        except StoreUnavailable:
            self._noted.discard(about)

    def _question(self, ask: Ask, account: Account) -> Question | None:
        """What the counters have to decide; None where nothing is to be decided."""
        if account.status != "active":
            raise CustomerInactive
        plan = account.plan
        if plan.unpriced == "refuse" and ask.model_id is not None and not plan.tariff.prices_of(ask.model_id, _KINDS):
            raise ModelUnpriced(ask.model_id)
        cap = plan.spend_cap if plan.at_cap == "block" else None
        limit = _rate_limit(account)
        if cap is None and limit is None:
            return None
        bound = self._bound(ask, account)
        return Question(
            ask.hold_id,
            account.user_id,
            account.period.start,
            bound.amount,
            bound.soft,
            cap,
            bound.tokens,
            bound.free_until,
            Spend(account.version, account.spend, account.tokens),
            ask.at,
            ask.expires_at,
            0 if limit is None else limit.requests,
            0 if limit is None else limit.seconds,
        )

    def _bound(self, ask: Ask, account: Account) -> Bound:
        return self._bounds.of(account, ask.model_id, ask.tokens_in, ask.tokens_out)

    # -- alone -------------------------------------------------------------------------------------------------------

    def _leave_batch(self, asked: _Asked, decision: Coroutine[Any, Any, None]) -> None:
        asked.alone = True
        self._later(self._in_time(asked, decision))

    async def _in_time(self, asked: _Asked, decision: Coroutine[Any, Any, None]) -> None:
        """Wait for a decision as long as the request may wait at all."""
        try:
            async with asyncio.timeout_at(asked.since + self._budget):
                await decision
        except (TimeoutError, StoreUnavailable) as error:
            self._drop_later(asked)
            resolve(asked.admission, StoreUnavailable(str(error) or "the store did not answer in time"))
        except TollkeeperError as refusal:
            self._drop_later(asked)
            resolve(asked.admission, refusal)
        except BaseException:
            self._drop_later(asked)
            asked.admission.cancel()
            raise

    async def _decide_alone(self, asked: _Asked, seen: Seen, *, journal_only: bool = False) -> None:
        """Ask the counters once more, filling them first where they are empty; or PostgreSQL, where Redis is away."""
        account = seen.account
        question = self._question(asked.ask, account)
        verdict = None
        if question is not None:
            try:
                verdict = await self._ask_filled(question, account)
            except StoreUnavailable:
                # A rate limit alone is no reason to turn anybody away while Redis is gone.
                if question.cap is not None:
                    verdict = await self._ask_referee(asked.ask, account)
        if verdict is None or verdict.outcome == "ok":
            self._let_through(asked, seen, verdict, journal_only=journal_only)
        else:
            self._refuse(asked, _refusal(account, verdict))

    async def _ask_filled(self, question: Question, account: Account) -> Verdict:
        for _ in range(SEED_TRIES):
            verdict = await self._counters.ask(question)
            if verdict.outcome != "seed":
                return verdict
            await self._seeded(account)
        raise StoreUnavailable("the counters are being rebuilt")

    async def _ask_referee(self, ask: Ask, account: Account) -> Verdict:
        ruling = await self._referee.rule(Case(ask.hold_id, account, self._bound(ask, account)))
        return Verdict("ok" if ruling.admitted else "cap", ruling.spent, ruling.held)

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
        standing = await self.gate.standing(account.user_id, account.period.start)
        held = [
            Held(hold.id, amount, tokens, hold.expires_at)
            for hold, amount, tokens in self._bounds.of_all(account, standing.holds, standing.tokens)
        ]
        spend = Spend(standing.version, standing.spend, standing.tokens)
        await self._counters.seed(account.user_id, account.period.start, spend, held)

    def _not_known(self, asked: _Asked, error: Exception) -> None:
        caller, plan_id = asked.ask.caller, self._settings.default_plan
        if isinstance(error, CustomerUnknown) and isinstance(caller, str) and plan_id is not None:
            self._leave_batch(asked, self._decide_first(asked, caller, plan_id))
        else:
            resolve(asked.admission, error)

    async def _decide_first(self, asked: _Asked, user_id: str, plan_id: str) -> None:
        """Make a customer whom the host names for the first time, and decide."""
        await asyncio.to_thread(self._welcome, user_id, plan_id)
        asked.seen = await self.gate.ask(asked.ask)
        await self._decide_alone(asked, asked.seen)

    def _welcome(self, user_id: str, plan_id: str) -> None:
        with Database(self._settings.need_database_url(), self._settings.db_schema) as database:
            try:
                welcome(database, user_id, plan_id, self._clock.now())
            except NotFound:
                log.error("TOLLKEEPER_DEFAULT_PLAN names %r, which is no plan: whom nobody knows gets 401", plan_id)
                raise CustomerUnknown from None

    def _late(self, asked: _Asked) -> None:
        """The database is away, or has not answered in time."""
        if asked.seen is None and not asked.alone:
            self._leave_batch(asked, self._decide_from_memory(asked))

    async def _decide_from_memory(self, asked: _Asked) -> None:
        """Serve whom we know, by their last known account and what Redis knows beyond it."""
        known = self._memory.of(asked.ask.caller)
        if self._settings.on_store_down == "closed" or known is None or not known.account.period.contains(asked.ask.at):
            raise StoreUnavailable("the database is away")
        account = known.account
        seen = asked.seen = Seen(account, known)
        try:
            await self._decide_alone(asked, seen, journal_only=True)
        except StoreUnavailable:
            cap = account.plan.spend_cap
            if cap is not None and account.plan.at_cap == "block" and account.spend >= cap * FINE:
                self._refuse(asked, _cap_reached(account, account.spend, 0))
            else:
                self._let_through(asked, seen, None, journal_only=True)

    # -- turned away -------------------------------------------------------------------------------------------------

    async def _give_back(self, asked: _Asked) -> None:
        """End the hold of a request that was turned away."""
        self._release(asked)
        try:
            await self.gate.drop(asked.ask.hold_id)
        except StoreUnavailable:
            self._keep_undropped(asked.ask.hold_id)

    def _drop_later(self, asked: _Asked) -> None:
        """Cancelled, or nothing could be decided: the hold may be placed yet, by a statement still under way."""
        self._keep_undropped(asked.ask.hold_id)
        self._release(asked)

    def _keep_undropped(self, hold: UUID) -> None:
        if len(self.undropped) < MOST_UNDROPPED:
            self.undropped.add(hold)

    def _release(self, asked: _Asked) -> None:
        if asked.seen is not None:
            account = asked.seen.account
            self._counters.release(asked.ask.hold_id, account.user_id, account.period.start)


def _rate_limit(account: Account) -> RateLimit | None:
    """The limit in force: the slower one from the moment that a throttling plan's cap is reached."""
    plan = account.plan
    if plan.at_cap == "throttle" and plan.spend_cap is not None and account.spend >= plan.spend_cap * FINE:
        return plan.throttled
    return plan.rate_limit


def _refusal(account: Account, verdict: Verdict) -> RateLimited | SpendCapReached:
    if verdict.outcome == "cap":
        return _cap_reached(account, verdict.spent, verdict.held)
    limit = _rate_limit(account)
    assert limit is not None, "only a limit can be passed"
    return RateLimited(limit=limit.requests, window_seconds=limit.seconds, wait_seconds=verdict.wait_seconds)


def _cap_reached(account: Account, spent: int, held: int) -> SpendCapReached:
    cap = account.plan.spend_cap
    assert cap is not None, "only a cap can be reached"
    return SpendCapReached(
        spent=spent // FINE,
        held=held // FINE,
        cap=cap,
        currency=account.plan.currency,
        period_end=account.period.end,
        upgrade_url=account.plan.upgrade_url,
    )
