"""What one Stripe account holds, in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from tollkeeper.clock import Clock
from tollkeeper.testing.standin.ids import Ids
from tollkeeper.testing.stripe_standin.problem import no_such

Body = dict[str, Any]
Part = TypeVar("Part")

LATER_BY_DEFAULT = frozenset({"meter_event_customer_not_found"})


@dataclass(frozen=True, slots=True)
class Rules:
    """Where the real service leaves a choice, or where its documentation is silent.

    `refused_later`: flaws of a meter event that are found only after it was answered with 200, by Stripe's own
    error codes; all others are refused at once. `summaries_lag`: how long a received event stays out of the sums.
    """

    refused_later: frozenset[str] = LATER_BY_DEFAULT
    summaries_lag: timedelta = timedelta(0)
    keys_kept_for: timedelta = timedelta(hours=24)
    identifiers_kept_for: timedelta = timedelta(hours=24)


class Account:
    """Objects by kind and identity, plus whatever a resource keeps for itself. Whoever touches it holds the `lock`."""

    def __init__(self, clock: Clock, ids: Ids, rules: Rules) -> None:
        self.clock = clock
        self.ids = ids
        self.rules = rules
        self.lock = threading.RLock()
        self._shelves: dict[str, dict[str, Body]] = {}
        self._order: dict[str, int] = {}
        self._set_to: int | None = None
        self._parts: dict[object, Any] = {}

    @property
    def now(self) -> int:
        """Unix seconds, as in every `created`."""
        return int(self.clock.now().timestamp()) if self._set_to is None else self._set_to

    @property
    def instant(self) -> datetime:
        """The same as a `datetime`."""
        return datetime.fromtimestamp(self.now, UTC)

    @contextmanager
    def at(self, seconds: int) -> Iterator[None]:
        """Lets it be this time while the block runs: the time of a test clock, or of something that was due before."""
        before, self._set_to = self._set_to, seconds
        try:
            yield
        finally:
            self._set_to = before

    def time_of(self, customer: str | None) -> int:
        """What time it is for a customer: that of their test clock, where they have one."""
        clock = self.shelf("customer").get(customer or "", {}).get("test_clock")
        return self.now if clock is None else int(self.shelf("test_helpers.test_clock")[clock]["frozen_time"])

    def shelf(self, kind: str) -> dict[str, Body]:
        """All objects of a kind by identity, oldest first."""
        return self._shelves.setdefault(kind, {})

    def keep(self, body: Body) -> Body:
        """Puts an object on the shelf of its own kind."""
        self.shelf(body["object"])[body["id"]] = body
        self._order.setdefault(body["id"], len(self._order))
        return body

    def order(self, identity: str) -> int:
        """The place of an object among all that were ever kept."""
        return self._order[identity]

    def get(self, kind: str, identity: str, param: str | None = None) -> Body:
        """The object, or Stripe's refusal: 404 if the URL named it, 400 if the parameter `param` did."""
        found = self.shelf(kind).get(identity)
        if found is None:
            raise no_such(kind, identity, param)
        return found

    def part(self, make: Callable[[], Part]) -> Part:
        """What a resource keeps beside its objects, made at first use: one per maker."""
        if make not in self._parts:
            self._parts[make] = make()
        part: Part = self._parts[make]
        return part
