"""Live sums in Redis: scripts that decide atomically, sent in groups, each within a small budget."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from importlib.resources import files
from typing import Any
from uuid import UUID

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from tollkeeper.domain.errors import StoreUnavailable
from tollkeeper.grouping import MOST_AT_ONCE, Grouped

log = logging.getLogger(__name__)

MICRO = 1_000_000
KEEP_SECONDS = 40 * 86_400
"""How long an untouched copy stays: past the longest month, so that it is seldom seeded again."""
REST_SECONDS = 1.0
MOST_OWED = 100_000


@dataclass(frozen=True, slots=True)
class Held:
    """A hold as PostgreSQL knows it: what a copy is seeded with."""

    id: UUID
    amount: Decimal
    tokens: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Spend:
    """What a customer used in a period, as of one version of its row."""

    version: int
    spent: Decimal
    """What counts against the cap, in minor units."""
    tokens: int


@dataclass(frozen=True, slots=True)
class Question:
    """Everything that decides whether one request may run. Amounts in minor units."""

    id: UUID
    user_id: str
    period_start: datetime
    bound: Decimal
    soft: bool
    """The bound is a guess, because the request states no limit: it may shrink to the room that is left."""
    cap: int | None
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


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the counters say. Amounts in minor units, exact to a millionth."""

    outcome: str
    """`ok`, `seed` (the copy is empty: seed it and ask again), `rate` or `cap`."""
    spent: Decimal = Decimal(0)
    held: Decimal = Decimal(0)
    wait_seconds: float = 0
    left: int = 0
    """Requests left in the rate window."""


Call = tuple[str, list[str], list[Any]]


class RedisCounters:
    """One customer's spend and holds, the same for every process. Raises `StoreUnavailable` within the budget."""

    def __init__(self, url: str, *, budget_seconds: float) -> None:
        self._client = redis.asyncio.Redis.from_url(
            url,
            socket_timeout=budget_seconds,
            socket_connect_timeout=budget_seconds,
            # A command that may have been applied is never sent again behind our back.
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        self._scripts = {name: _script(name) for name in ("admit", "settle", "seed", "extend")}
        self._digests = {name: hashlib.sha1(text.encode()).hexdigest() for name, text in self._scripts.items()}  # noqa: S324 # the name Redis gives a script
        self._budget = budget_seconds
        self._call: Grouped[Call, Any] = Grouped(self._run)
        self._rest_until = 0.0
        self._owed: list[Call] = []

    async def ask(self, question: Question) -> Verdict:
        """Whether the request may run; its hold is placed if so."""
        q = question
        state, holds, until, rate = _keys(q.user_id, q.period_start, q.window_seconds)
        answer = await self._call(
            (
                "admit",
                [state, holds, until, rate],
                [
                    str(q.id),
                    _micros(q.bound),
                    "" if q.cap is None else q.cap * MICRO,
                    int(q.soft),
                    q.spend.version,
                    _micros(q.spend.spent),
                    _ms(q.now),
                    _ms(q.expires_at),
                    q.rate_limit,
                    q.window_seconds * 1000,
                    KEEP_SECONDS,
                    q.tokens,
                    q.spend.tokens,
                    q.free_until,
                ],
            )
        )
        return _verdict(answer)

    async def seed(self, user_id: str, period_start: datetime, spend: Spend, holds: Iterable[Held]) -> bool:
        """Fill an empty copy; False where newer things are known already and the rows must be read again."""
        arguments: list[Any] = [spend.version, _micros(spend.spent), spend.tokens, KEEP_SECONDS]
        for hold in holds:
            arguments += [str(hold.id), _micros(hold.amount), hold.tokens, _ms(hold.expires_at)]
        return bool(await self._call(("seed", _keys(user_id, period_start)[:3], arguments)))

    async def settle(self, hold: UUID, user_id: str, period_start: datetime, spend: Spend) -> None:
        """Give the hold back and set the spend by version. Never raises: what Redis misses is sent when it is back."""
        arguments = [str(hold), spend.version, _micros(spend.spent), spend.tokens, KEEP_SECONDS]
        await self._pay(("settle", _keys(user_id, period_start)[:3], arguments))

    async def release(self, hold: UUID, user_id: str, period_start: datetime) -> None:
        """Give the hold back, nothing else having changed. Never raises, as `settle`."""
        await self._pay(("settle", _keys(user_id, period_start)[:3], [str(hold), "", "", "", KEEP_SECONDS]))

    async def extend(self, hold: UUID, user_id: str, period_start: datetime, expires_at: datetime) -> None:
        """Keep the hold of a request that is still running. Never raises, as `settle`."""
        await self._pay(("extend", _keys(user_id, period_start)[:3], [str(hold), _ms(expires_at)]))

    async def idle(self) -> None:
        """Return once nothing is in flight."""
        await self._call.idle()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _pay(self, call: Call) -> None:
        try:
            await self._call(call)
        except StoreUnavailable:
            if len(self._owed) < MOST_OWED:
                self._owed.append(call)

    async def _run(self, calls: list[Call]) -> Sequence[Any]:
        loop = asyncio.get_running_loop()
        if loop.time() < self._rest_until:
            raise StoreUnavailable("Redis is away")
        # A few at a time: all that gathered while Redis was away would not fit into one call's budget.
        owed, self._owed = self._owed[:MOST_AT_ONCE], self._owed[MOST_AT_ONCE:]
        try:
            async with asyncio.timeout(self._budget):
                answers = await self._send(owed + calls)
        except (RedisError, OSError, TimeoutError) as error:
            self._owed = owed + self._owed
            self._rest_until = loop.time() + REST_SECONDS
            raise StoreUnavailable(f"Redis is away: {type(error).__name__}") from error
        return answers[len(owed) :]

    async def _send(self, calls: list[Call]) -> list[Any]:
        answers = await self._pipeline(calls)
        missing = [index for index, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if missing:
            for text in self._scripts.values():
                await self._client.script_load(text)
            again = await self._pipeline([calls[index] for index in missing])
            for index, answer in zip(missing, again, strict=True):
                answers[index] = answer
        return [_refused(answer) if isinstance(answer, RedisError) else answer for answer in answers]

    async def _pipeline(self, calls: list[Call]) -> list[Any]:
        async with self._client.pipeline(transaction=False) as pipeline:
            for name, keys, arguments in calls:
                pipeline.evalsha(self._digests[name], len(keys), *keys, *arguments)
            return list(await pipeline.execute(raise_on_error=False))


def _refused(error: RedisError) -> StoreUnavailable:
    """One call was refused and the others were not: a counter that overflows, say. PostgreSQL decides instead."""
    log.error("Redis refused a script: %s", error)
    return StoreUnavailable(f"Redis refused: {type(error).__name__}")


def _script(name: str) -> str:
    return files("tollkeeper.counters").joinpath(f"scripts/{name}.lua").read_text(encoding="utf-8")


def _keys(user_id: str, period_start: datetime, window_seconds: int = 0) -> list[str]:
    # A user id may hold anything printable, braces too; its hash makes a safe cluster tag.
    tag = "tk:{" + hashlib.sha256(user_id.encode()).hexdigest()[:32] + "}"
    state = f"{tag}:{int(period_start.timestamp())}"
    return [state, f"{state}:holds", f"{state}:until", f"{tag}:rate:{window_seconds}"]


def _micros(amount: Decimal) -> int:
    return int((amount * MICRO).to_integral_value(ROUND_CEILING))


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _verdict(answer: list[Any]) -> Verdict:
    match answer:
        case ["ok", spent, held, left]:
            return Verdict("ok", _minor(spent), _minor(held), left=int(left))
        case ["cap", spent, held]:
            return Verdict("cap", _minor(spent), _minor(held))
        case ["rate", wait_ms]:
            return Verdict("rate", wait_seconds=int(wait_ms) / 1000)
        case _:
            return Verdict("seed")


def _minor(micros: str | int) -> Decimal:
    return Decimal(int(micros)) / MICRO
