"""Which operation a method and path name, and what an operation is given."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tollkeeper.testing.stripe_standin.account import Account, Body
from tollkeeper.testing.stripe_standin.problem import not_rehearsed, unrecognized_url


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an operation: the typed parameters, and what the path named."""

    path: str
    params: dict[str, Any]
    named: dict[str, str] = field(default_factory=dict)


Operation = Callable[[Account, Call], Body]


@dataclass(frozen=True)
class Route:
    """One operation of the API.

    `shape` is the SDK's type of its parameters. `acts_on` are the parameters the stand-in understands: one that Stripe
    takes and the stand-in would ignore is answered 501, so that no rehearsal passes on a parameter without effect.
    """

    method: str
    template: str
    operation: Operation
    shape: type
    acts_on: frozenset[str]

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.template))

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """What the path names, if it is this route's."""
        found = self._pattern.fullmatch(path) if method == self.method else None
        return found.groupdict() if found else None

    def refuse_what_is_ignored(self, params: dict[str, Any]) -> None:
        for name in params:
            if name not in self.acts_on:
                raise not_rehearsed(f"the parameter {name}")


def route(method: str, template: str, operation: Operation, shape: type, acts_on: str = "") -> Route:
    """A route whose understood parameters are given as one string of words."""
    return Route(method, template, operation, shape, frozenset(acts_on.split()))


def find_route(routes: Iterable[Route], method: str, path: str) -> tuple[Route, dict[str, str]]:
    """The route of a call, and what its path names; 404 when there is none."""
    for candidate in routes:
        named = candidate.match(method, path)
        if named is not None:
            return candidate, named
    raise unrecognized_url(method, path)
