"""Lists in pages, newest first, with cursors, as all of Stripe's lists are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tollkeeper.testing.stripe_standin.account import Body
from tollkeeper.testing.stripe_standin.problem import bad_request, no_such
from tollkeeper.testing.stripe_standin.routing import Call

PAGING = "limit starting_after ending_before"
_LARGEST_PAGE = 100
_PAGE = 10

_BOUNDS: dict[str, Callable[[int, int], bool]] = {
    "gt": lambda created, bound: created > bound,
    "gte": lambda created, bound: created >= bound,
    "lt": lambda created, bound: created < bound,
    "lte": lambda created, bound: created <= bound,
}


def page(call: Call, newest_first: Iterable[Body]) -> Body:
    """The part of the list that the call's `limit`, `starting_after` and `ending_before` ask for."""
    items = list(newest_first)
    limit = _limit(call.params.get("limit", _PAGE))
    after, before = call.params.get("starting_after"), call.params.get("ending_before")
    if after is not None and before is not None:
        raise bad_request("starting_after", "You cannot use both starting_after and ending_before.")
    if before is not None:
        end = _position(items, before, "ending_before")
        chosen, more = items[max(0, end - limit) : end], end > limit
    else:
        start = 0 if after is None else _position(items, after, "starting_after") + 1
        chosen, more = items[start : start + limit], len(items) > start + limit
    return {"object": "list", "url": call.path, "has_more": more, "data": chosen}


def newest_first(shelf: dict[str, Body], call: Call, *filters: str) -> list[Body]:
    """The objects whose fields equal the call's parameters of the same names, and that fit its `created` bounds."""
    wanted = {name: call.params[name] for name in filters if name in call.params}
    created = call.params.get("created", {})
    return [
        body
        for body in reversed(shelf.values())
        if not body.get("deleted")
        and all(body.get(name) == value for name, value in wanted.items())
        and _within(body["created"], created)
    ]


def _within(created: int, wanted: int | dict[str, int]) -> bool:
    if isinstance(wanted, int):
        return created == wanted
    return all(_BOUNDS[name](created, bound) for name, bound in wanted.items())


def _limit(limit: Any) -> int:
    if not 1 <= limit <= _LARGEST_PAGE:
        raise bad_request("limit", f"Invalid limit: must be between 1 and {_LARGEST_PAGE}", "parameter_invalid_integer")
    return int(limit)


def _position(items: list[Body], identity: str, param: str) -> int:
    for position, item in enumerate(items):
        if item["id"] == identity:
            return position
    raise no_such("object", identity, param)
