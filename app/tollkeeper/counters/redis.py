"""Live sums in Redis: one script that decides atomically, sent for many requests at once, within a small budget."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from importlib.resources import files
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import orjson
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from tollkeeper.domain.errors import StoreUnavailable
from tollkeeper.domain.pricing import FINE
from tollkeeper.grouping import MOST_AT_ONCE, Grouped

log = logging.getLogger(__name__)

MICRO = 1_000_000
FINE_PER_MICRO = FINE // MICRO
REST_SECONDS = 1.0
MOST_OWED = 100_000
SOON_SECONDS = 0.003
"""How long an ended hold may wait for company: for as short a time the copy takes it for money that is still set aside."""


class Held(NamedTuple):
    """A hold as PostgreSQL knows it: what a copy is seeded with."""

    id: UUID
    amount: int
    """Fine units."""
    tokens: int
    expires_at: datetime


class Spend(NamedTuple):
    """What a customer used in a period, as of one version of its row."""

    version: int
    spent: int
    """What counts against the cap, in fine units."""
    tokens: int


class Question(NamedTuple):
    """Everything that decides whether one request may run. Amounts in fine units."""

    id: UUID
    user_id: str
    period_start: datetime
    bound: int
    soft: bool
    """The bound is a guess, because the request states no limit: it may shrink to the room that is left."""
    cap: int | None
    """Minor units."""
    tokens: int
    """At most so many tokens."""
    free_until: int
    """The request costs nothing as long as tokens used and held stay at or below this; -1 where it always costs."""
    spend: Spend
    now: datetime
    expires_at: datetime
    rate_limit: int
    """Requests per window; 0 for no limit."""
    window_seconds: int


class Verdict(NamedTuple):
    """What the counters say. Amounts in fine units, exact to a millionth of a minor unit."""

    outcome: str
    """`ok`, `seed` (the copy is empty: seed it and ask again), `rate` or `cap`."""
    spent: int = 0
    held: int = 0
    wait_seconds: float = 0
    left: int = 0
    """Requests left in the rate window."""


Call: TypeAlias = Sequence[Any]
"""What `calls.lua` calls a call: its kind, the key of the state, and the rest."""


class RedisCounters:
    """One customer's spend and holds, the same for every process. Raises `StoreUnavailable` within the budget.

    What is only told (`settle`, `release`, `extend`) waits for nobody and goes along with the next question, or alone a
    moment later; the order in which things were told and asked is kept.
    """

    def __init__(self, url: str, *, budget_seconds: float) -> None:
        self._client = redis.asyncio.Redis.from_url(
            url,
            socket_timeout=budget_seconds,
            socket_connect_timeout=budget_seconds,
            # A command that may have been applied is never sent again behind our back.
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        self._script = files("tollkeeper.counters").joinpath("scripts/calls.lua").read_text(encoding="utf-8")
        self._digest = hashlib.sha1(self._script.encode()).hexdigest()  # noqa: S324 # the name Redis gives a script
        self._budget = budget_seconds
        self._call: Grouped[list[Call], list[Any]] = Grouped(self._run)
        self._turn = asyncio.Lock()
        self._rest_until = 0.0
        self._told: list[Call] = []
        self._telling: asyncio.TimerHandle | None = None

    async def ask(self, question: Question) -> Verdict:
        """Whether the request may run; its hold is placed if so."""
        [verdict] = await self.ask_all([question])
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    async def ask_all(self, questions: Iterable[Question]) -> list[Verdict | StoreUnavailable]:
        """A verdict for each question, in order; `StoreUnavailable` in the place of one that Redis refused."""
        [answers] = await self._run([[_admit(question) for question in questions]])
        return [_verdict(answer) for answer in answers]

    async def seed(self, user_id: str, period_start: datetime, spend: Spend, holds: Iterable[Held]) -> bool:
        """Fill an empty copy; False where newer things are known already and the rows must be read again."""
        held = [(str(h.id), str(_micros(h.amount)), str(h.tokens), _ms(h.expires_at)) for h in holds]
        [answer] = await self._call([("seed", _state(user_id, period_start), *_spend(spend), held)])
        return bool(_unrefused(answer))

    def settle(self, hold: UUID, user_id: str, period_start: datetime, spend: Spend) -> None:
        """Give the hold back and set the spend by version."""
        self._tell(("settle", _state(user_id, period_start), hold, *_spend(spend)))

    def release(self, hold: UUID, user_id: str, period_start: datetime) -> None:
        """Give the hold back, nothing else having changed."""
        self._tell(("settle", _state(user_id, period_start), hold, "", "", ""))

    def extend(self, hold: UUID, user_id: str, period_start: datetime, expires_at: datetime) -> None:
        """Keep the hold of a request that is still running."""
        self._tell(("extend", _state(user_id, period_start), hold, _ms(expires_at)))

    async def idle(self) -> None:
        """Return once everything was told, or once Redis turned out to be away."""
        if self._told:
            self._tell_now()
        await self._call.idle()

    def discard(self) -> list[Call]:
        """What a loop that is gone had not told yet, for `take_over` in another one."""
        untold, self._told = self._told, []
        return untold

    def take_over(self, untold: list[Call]) -> None:
        """Tell what another loop was not there to tell any more. Telling twice is telling once."""
        self._told[:0] = untold

    async def close(self) -> None:
        """Close the connections."""
        if self._telling is not None:
            self._telling.cancel()
        await self._client.aclose()

    def _tell(self, call: Call) -> None:
        if len(self._told) < MOST_OWED:
            self._told.append(call)
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(SOON_SECONDS, self._tell_now)

    def _tell_now(self) -> None:
        """Send what was told without waiting for a question."""
        self._telling = None
        if self._told:
            with suppress(StoreUnavailable):
                self._call([]).add_done_callback(_nobody_waits)

    async def _run(self, asked: list[list[Call]]) -> list[list[Any]]:
        async with self._turn:
            return await self._run_now(asked)

    async def _run_now(self, asked: list[list[Call]]) -> list[list[Any]]:
        loop = asyncio.get_running_loop()
        if loop.time() < self._rest_until:
            raise StoreUnavailable("Redis is away")
        # A few at a time: all that gathered while Redis was away would not fit into one call's budget.
        told = self._told[:MOST_AT_ONCE]
        del self._told[:MOST_AT_ONCE]
        calls = [*told, *(call for calls in asked for call in calls)]
        try:
            async with asyncio.timeout(self._budget):
                answers = await self._send(calls)
        except (RedisError, OSError, TimeoutError) as error:
            self._told[:0] = told
            self._rest_until = loop.time() + REST_SECONDS
            raise StoreUnavailable(f"Redis is away: {type(error).__name__}") from error
        except BaseException:
            self._told[:0] = told
            raise
        self._told += [call for call, answer in zip(told, answers, strict=False) if isinstance(answer, list)]
        rest = iter(answers[len(told) :])
        return [[next(rest) for _ in calls] for calls in asked]

    async def _send(self, calls: list[Call]) -> list[Any]:
        answers: list[Any] = []
        for start in range(0, len(calls), MOST_AT_ONCE):
            text = orjson.dumps(calls[start : start + MOST_AT_ONCE])
            try:
                answers += await self._client.evalsha(self._digest, 0, text)
            except NoScriptError:
                answers += await self._client.eval(self._script, 0, text)
        return answers


def _nobody_waits(future: asyncio.Future[Any]) -> None:
    """What could not be told stays for the next time."""
    if not future.cancelled():
        future.exception()


def _admit(q: Question) -> Call:
    state = _state(q.user_id, q.period_start)
    return (
        *("admit", state, q.id, str(_micros(q.bound)), "" if q.cap is None else str(q.cap * MICRO), q.soft),
        *_spend(q.spend),
        *(_ms(q.now), _ms(q.expires_at), str(q.tokens), str(q.free_until)),
        *(_rate(state, q.window_seconds), q.rate_limit, q.window_seconds * 1000),
    )


def _spend(spend: Spend) -> tuple[str, str, str]:
    return str(spend.version), str(_micros(spend.spent)), str(spend.tokens)


@lru_cache(MOST_AT_ONCE)
def _state(user_id: str, period_start: datetime) -> str:
    # A user id may hold anything printable, braces too; its hash makes a safe cluster tag.
    return "tk:{" + hashlib.sha256(user_id.encode()).hexdigest()[:32] + f"}}:{int(period_start.timestamp())}"


def _rate(state: str, window_seconds: int) -> str:
    return f"{state.rpartition(':')[0]}:rate:{window_seconds}"


def _micros(fine: int) -> int:
    return -(-fine // FINE_PER_MICRO)


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _verdict(answer: list[Any]) -> Verdict | StoreUnavailable:
    kind = answer[0]
    if kind == "ok":
        return Verdict("ok", int(answer[1]) * FINE_PER_MICRO, int(answer[2]) * FINE_PER_MICRO, 0, answer[3])
    if kind == "cap":
        return Verdict("cap", int(answer[1]) * FINE_PER_MICRO, int(answer[2]) * FINE_PER_MICRO)
    if kind == "rate":
        return Verdict("rate", wait_seconds=answer[1] / 1000)
    return Verdict("seed") if kind == "seed" else _refused(answer)


def _unrefused(answer: Any) -> Any:
    if isinstance(answer, list):
        raise _refused(answer)
    return answer


def _refused(answer: list[Any]) -> StoreUnavailable:
    """One call was refused and the others were not: a counter that overflows, say. PostgreSQL decides instead."""
    log.error("Redis refused a call: %s", answer[1])
    return StoreUnavailable("Redis refused")
