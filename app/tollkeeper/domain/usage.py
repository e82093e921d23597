"""Usage: the quantities of one request by kind, and what a period sums up to.

A meter is what a quantity is counted on: one of the four token types, `compute_minutes`, `requests`, or a name of the
app's own. Token types part the input without overlap: what was read from a cache, what was written to one, and the
rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias

from tollkeeper.domain.customer import plain_text
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.money import BIGINT_MAX, as_decimal

QUANTITY_PLACES = 9
MAX_UNITS = 32
COMPUTE_MINUTES = "compute_minutes"
REQUESTS = "requests"

_UNIT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,63}")

Key: TypeAlias = tuple[str, str]
"""(model_id, meter)"""
Quantities: TypeAlias = dict[Key, Decimal | int]
Totals: TypeAlias = Mapping[Key, Decimal | int]


class TokenType(StrEnum):
    """The four kinds of token, in the order in which an allowance is used up: input before output."""

    INPUT = "input"
    CACHED_INPUT = "cached_input"
    CACHE_WRITE = "cache_write"
    OUTPUT = "output"


TOKEN_TYPES: tuple[str, ...] = tuple(member.value for member in TokenType)
_INPUT, _CACHED_INPUT, _CACHE_WRITE, _OUTPUT = TOKEN_TYPES
RESERVED_UNITS = frozenset({*TOKEN_TYPES, COMPUTE_MINUTES, REQUESTS, "tokens"})


_NO_MINUTES = Decimal(0)
_NO_UNITS: Mapping[str, Decimal] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Usage:
    """What one request used. Cached and cache-write tokens are parts of `tokens_in`, reasoning is part of `tokens_out`.

    Where one request used several models, `parts` has one usage for each, the counts are the sums over them, and `model_id` is
    that of the first. Minutes and the app's own units keep nine decimals.
    Anything negative, not finite, a float or past bigint is refused with `InvalidInput`.
    """

    model_id: str
    tokens_in: int = 0
    tokens_out: int = 0
    cached_tokens_in: int = 0
    cache_write_tokens_in: int = 0
    reasoning_tokens_out: int = 0
    compute_minutes: Decimal = _NO_MINUTES
    units: Mapping[str, Decimal] = field(default_factory=lambda: _NO_UNITS)
    parts: tuple[Usage, ...] = ()

    def __post_init__(self) -> None:
        plain_text(self.model_id, "model_id")
        for value in (
            self.tokens_in,
            self.tokens_out,
            self.cached_tokens_in,
            self.cache_write_tokens_in,
            self.reasoning_tokens_out,
        ):
            if type(value) is not int or not 0 <= value <= BIGINT_MAX:
                self._refuse_count()
        if self.cached_tokens_in + self.cache_write_tokens_in > self.tokens_in:
            raise InvalidInput("cached_tokens_in", "with cache_write_tokens_in, at most tokens_in")
        if self.reasoning_tokens_out > self.tokens_out:
            raise InvalidInput("reasoning_tokens_out", "at most tokens_out")
        if self.compute_minutes is not _NO_MINUTES:
            object.__setattr__(self, "compute_minutes", _quantity(self.compute_minutes, COMPUTE_MINUTES))
        if self.units is not _NO_UNITS:
            object.__setattr__(self, "units", _units(self.units))

    def _refuse_count(self) -> None:
        """Say which of the counts is none."""
        for name in ("tokens_in", "tokens_out", "cached_tokens_in", "cache_write_tokens_in", "reasoning_tokens_out"):
            value = getattr(self, name)
            if type(value) is not int or not 0 <= value <= BIGINT_MAX:
                raise InvalidInput(name, "a whole number from 0 to 2^63 - 1")


def quantities(usage: Usage) -> Quantities:
    """What the request adds to each (model, meter); nothing for a zero, and always one request, which counts for `model_id`."""
    found: Quantities = {(usage.model_id, REQUESTS): 1}
    for part in usage.parts or (usage,):
        _count(part, found)
    return found


def sum_of_calls(calls: Iterable[Usage]) -> Usage:
    """The usage of one request that called models several times: calls of one model add up, models stay apart."""
    by_model: dict[str, Usage] = {}
    for call in calls:
        for part in call.parts or (call,):
            known = by_model.get(part.model_id)
            by_model[part.model_id] = part if known is None else _added(known, part)
    first, *others = by_model.values()
    total = first
    for other in others:
        total = _added(total, other)
    return replace(total, parts=tuple(by_model.values())) if others else total


def _added(one: Usage, other: Usage) -> Usage:
    units = dict(one.units)
    for name, quantity in other.units.items():
        units[name] = units.get(name, Decimal(0)) + quantity
    return Usage(
        model_id=one.model_id,
        tokens_in=one.tokens_in + other.tokens_in,
        tokens_out=one.tokens_out + other.tokens_out,
        cached_tokens_in=one.cached_tokens_in + other.cached_tokens_in,
        cache_write_tokens_in=one.cache_write_tokens_in + other.cache_write_tokens_in,
        reasoning_tokens_out=one.reasoning_tokens_out + other.reasoning_tokens_out,
        compute_minutes=one.compute_minutes + other.compute_minutes,
        units=units,
    )


def _count(usage: Usage, found: Quantities) -> None:
    model = usage.model_id
    plain = usage.tokens_in - usage.cached_tokens_in - usage.cache_write_tokens_in
    if plain:
        found[model, _INPUT] = plain
    if usage.cached_tokens_in:
        found[model, _CACHED_INPUT] = usage.cached_tokens_in
    if usage.cache_write_tokens_in:
        found[model, _CACHE_WRITE] = usage.cache_write_tokens_in
    if usage.tokens_out:
        found[model, _OUTPUT] = usage.tokens_out
    if usage.compute_minutes:
        found[model, COMPUTE_MINUTES] = usage.compute_minutes
    for name, quantity in usage.units.items():
        if quantity:
            found[model, name] = quantity


def validate_unit_name(name: str, field: str = "units") -> str:
    """A meter that the app counts itself: a letter, then up to 63 letters, digits or `_ . : -`; no built-in name."""
    if not isinstance(name, str) or not _UNIT_NAME.fullmatch(name) or name in RESERVED_UNITS:
        raise InvalidInput(field, "a name of letters, digits, _ . : - that is not a built-in meter, at most 64 long")
    return name


def _quantity(value: Decimal | int, field: str) -> Decimal:
    expected = "a Decimal or whole number from 0 to 2^63 - 1, not a float"
    if isinstance(value, bool) or not isinstance(value, Decimal | int):
        raise InvalidInput(field, expected)
    if isinstance(value, Decimal) and not value.is_finite():
        raise InvalidInput(field, expected)
    if not 0 <= value <= BIGINT_MAX:
        raise InvalidInput(field, expected)
    return as_decimal(value, QUANTITY_PLACES)


def _units(units: Mapping[str, Decimal]) -> Mapping[str, Decimal]:
    if not isinstance(units, Mapping) or len(units) > MAX_UNITS:
        raise InvalidInput("units", f"at most {MAX_UNITS} names with their quantities")
    return MappingProxyType({validate_unit_name(n): _quantity(q, f"units.{n}") for n, q in units.items()})
