"""What a route says about its own usage while it runs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from decimal import Decimal
from threading import Lock
from typing import Protocol

from starlette.types import Scope

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.usage import Usage, sum_of_calls

log = logging.getLogger(__name__)

SCOPE_KEY = "tollkeeper.usage"


class HasScope(Protocol):
    """A Starlette or FastAPI request."""

    @property
    def scope(self) -> Scope: ...


class UsageRecord:
    """The usage that was recorded for one request. It lies in the scope, so that every kind of route reaches the same one."""

    __slots__ = ("_lock", "_usage", "used")

    def __init__(self) -> None:
        self.used = False
        """Whether anything was ever recorded."""
        self._usage: Usage | None = None
        self._lock = Lock()  # sync routes and background tasks run in threads

    def add(self, usage: Usage) -> None:
        """Add one call's usage to what was recorded before."""
        with self._lock:
            self.used = True
            self._usage = usage if self._usage is None else sum_of_calls((self._usage, usage))

    def take(self) -> Usage | None:
        """What was recorded since it was last taken; None for nothing."""
        with self._lock:
            usage, self._usage = self._usage, None
            return usage


def record_usage(
    request_or_scope: HasScope | Scope,
    *,
    model_id: str,
    tokens_in: int = 0,
    tokens_out: int = 0,
    cached_tokens_in: int = 0,
    cache_write_tokens_in: int = 0,
    reasoning_tokens_out: int = 0,
    compute_minutes: Decimal | float | str = 0,
    units: Mapping[str, Decimal | float] | None = None,
) -> None:
    """State what the request used; wins over anything that is read from the answer. Several calls add up, each
    priced by its own model; the row names the first.

    `tokens_in` is all input, cached and cache-write tokens included; `tokens_out` all output, reasoning included. What a
    background task records after the answer has gone is stored as an event of its own. Minutes and units may be
    floats, as a stopwatch gives them: nine decimals of what they print as are kept. Raises `InvalidInput` for counts that cannot be
    (negative, a token count that is a float, a part larger than its whole). On a path that is not metered nothing is recorded,
    and the log says so.
    """
    scope: Scope = request_or_scope if isinstance(request_or_scope, MutableMapping) else request_or_scope.scope
    try:
        usage = Usage(
            model_id=model_id,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            cached_tokens_in=cached_tokens_in,
            cache_write_tokens_in=cache_write_tokens_in,
            reasoning_tokens_out=reasoning_tokens_out,
            compute_minutes=_exact(compute_minutes),
            units=_all_exact(units or {}),
        )
    except ArithmeticError:
        raise InvalidInput("compute_minutes", "a decimal number") from None
    record: UsageRecord | None = scope.get(SCOPE_KEY)
    if record is None:
        log.warning("record_usage was called for a path that is not metered: nothing was recorded")
    else:
        record.add(usage)


def _all_exact(stated: Mapping[str, Decimal | float]) -> Mapping[str, Decimal]:
    """Each quantity exactly; what is no mapping is left to `Usage`, which refuses it."""
    return {name: _exact(value) for name, value in stated.items()} if isinstance(stated, Mapping) else stated


def _exact(stated: Decimal | float | str) -> Decimal:
    """What was stated, as a decimal: of a float what it prints as, not the binary fraction behind it."""
    return Decimal(str(stated)) if isinstance(stated, float | str) else stated
