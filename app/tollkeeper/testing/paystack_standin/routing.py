"""Which operation a method and path name, and what an operation is given."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tollkeeper.testing.paystack_standin.account import Body, Integration
from tollkeeper.testing.paystack_standin.params import Check, check
from tollkeeper.testing.paystack_standin.problem import no_such_path


@dataclass(frozen=True, slots=True)
class Reply:
    """What an operation answers: the sentence, the thing, and beside a list where one is in it."""

    message: str
    data: Any
    meta: Body | None = None

    def body(self) -> Body:
        body: Body = {"status": True, "message": self.message, "data": self.data}
        return body if self.meta is None else {**body, "meta": self.meta}


Operation = Callable[[Integration, dict[str, Any], str], Reply]


@dataclass(frozen=True)
class Route:
    """One operation; `known` are the parameters that Paystack takes, with how each is checked."""

    method: str
    template: str
    operation: Operation
    known: dict[str, Check | None]
    needed: str = ""

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(self.template.replace("{}", "([^/]+)"))

    def match(self, method: str, path: str) -> str | None:
        """What the path names, if it is this route's; an empty text where it names nothing."""
        found = self._pattern.fullmatch(path) if method == self.method else None
        return None if found is None else "".join(found.groups())

    def read(self, params: dict[str, Any]) -> dict[str, Any]:
        check(params, self.known, self.needed)
        return params


def find_route(routes: Iterable[Route], method: str, path: str) -> tuple[Route, str]:
    """The route of a call, and what its path names; 404 when there is none."""
    for route in routes:
        named = route.match(method, path)
        if named is not None:
            return route, named
    raise no_such_path(method, path)
