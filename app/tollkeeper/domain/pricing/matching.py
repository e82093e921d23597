"""Which price a quantity belongs to.

An exact model name comes before a glob, a longer literal part before a shorter one; the model decides before the token
type, and a named token type before `"*"`. Cached and cache-write input that no price names is priced as input, where
the price of input is for a more specific model than the `"*"` that would take it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tollkeeper.domain.pricing.price import ANY_TOKEN, Price
from tollkeeper.domain.usage import TOKEN_TYPES, TokenType

_PRICED_AS_INPUT = (TokenType.CACHED_INPUT.value, TokenType.CACHE_WRITE.value)


def best_match(prices: Sequence[Price], model_id: str, meter: str) -> int | None:
    """The index of the price for this model and meter, or None where there is none."""
    best = _best(prices, model_id, meter)
    if meter not in _PRICED_AS_INPUT or (best is not None and prices[best].meter == meter):
        return best
    as_input = _best(prices, model_id, TokenType.INPUT.value)
    if best is None or as_input is None:
        return as_input
    return as_input if specificity(prices[as_input].model) > specificity(prices[best].model) else best


def covers(price: Price, meter: str) -> bool:
    """Whether the price names the meter, or is for all tokens and this is one of them."""
    return price.meter == meter or (price.meter == ANY_TOKEN and meter in TOKEN_TYPES)


def specificity(pattern: str) -> tuple[bool, int]:
    """Exact names first, then by the number of literal characters."""
    wild = pattern.count("*") + pattern.count("?")
    return (wild == 0, len(pattern) - wild)


def glob_matches(pattern: str, name: str) -> bool:
    """Whether a name matches, case and all: `*` is any text, `?` one character. Never worse than quadratic."""
    at = star = mark = 0
    seen = False
    for_pattern = len(pattern)
    position = 0
    while position < len(name):
        if at < for_pattern and pattern[at] == "*":
            seen, star, mark = True, at, position
            at += 1
        elif at < for_pattern and pattern[at] in ("?", name[position]):
            at, position = at + 1, position + 1
        elif seen:
            mark += 1
            at, position = star + 1, mark
        else:
            return False
    return not pattern[at:].strip("*")


def globs_meet(one: str, other: str) -> bool:
    """Whether some name matches both patterns."""
    reachable = {0}
    for character in [*one, ""]:
        reachable = _closure(reachable, other)
        if character == "":
            break
        reachable = _after(reachable, character, other)
    return len(other) in reachable


def ties(prices: Sequence[Price]) -> Iterable[tuple[int, int]]:
    """Pairs of prices that match the same thing equally, so that neither would win."""
    for later, price in enumerate(prices):
        for earlier in range(later):
            if prices[earlier].meter == price.meter and _equal_models(prices[earlier].model, price.model):
                yield earlier, later


def unreachable(prices: Sequence[Price]) -> tuple[int, ...]:
    """Indices of prices that never win: a `"*"` beside prices of its model for each of the four token types."""
    named = {(price.model, price.meter) for price in prices}
    return tuple(
        index
        for index, price in enumerate(prices)
        if price.meter == ANY_TOKEN and all((price.model, kind) in named for kind in TOKEN_TYPES)
    )


def _best(prices: Sequence[Price], model_id: str, meter: str) -> int | None:
    matching = [
        index for index, price in enumerate(prices) if covers(price, meter) and glob_matches(price.model, model_id)
    ]
    return max(matching, key=lambda i: (specificity(prices[i].model), prices[i].meter == meter), default=None)


def _equal_models(one: str, other: str) -> bool:
    return specificity(one) == specificity(other) and globs_meet(one, other)


def _closure(positions: set[int], pattern: str) -> set[int]:
    """Positions in a pattern that are reached without using up a character: past each star."""
    closed = set(positions)
    for position in range(len(pattern)):
        if position in closed and pattern[position] == "*":
            closed.add(position + 1)
    return closed


def _after(positions: set[int], character: str, pattern: str) -> set[int]:
    """Where the pattern can stand after one more character of the other pattern, which may be a wildcard itself."""
    if character == "*":
        # Any text: every later position can be reached.
        return set(range(min(positions), len(pattern) + 1)) if positions else set()
    moved = set()
    for position in positions:
        if position < len(pattern):
            wanted = pattern[position]
            if wanted == "*":
                moved.add(position)
            elif "?" in (wanted, character) or wanted == character:
                moved.add(position + 1)
    return moved
