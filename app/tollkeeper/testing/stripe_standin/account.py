"""What one Stripe account holds, in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
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
        self._parts: dict[object, Any] = {}

    @property
    def now(self) -> int:
        """Unix seconds, as in every `created`."""
        return int(self.clock.now().timestamp())

    def shelf(self, kind: str) -> dict[str, Body]:
        """All objects of a kind by identity, oldest first."""
        return self._shelves.setdefault(kind, {})

    def keep(self, body: Body) -> Body:
        """Puts an object on the shelf of its own kind."""
        self.shelf(body["object"])[body["id"]] = body
        return body

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
