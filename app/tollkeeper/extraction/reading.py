"""What an answer said about its use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

State = Literal["reported", "not_reported", "unreadable"]

_NO_UNITS: Mapping[str, int] = MappingProxyType({})


def _no_units() -> Mapping[str, int]:
    return _NO_UNITS


@dataclass(frozen=True, slots=True)
class Counts:
    """Use in the normalised form: `tokens_in` is all input, `tokens_out` all output, the other three are parts."""

    tokens_in: int = 0
    tokens_out: int = 0
    cached_tokens_in: int = 0
    cache_write_tokens_in: int = 0
    reasoning_tokens_out: int = 0
    units: Mapping[str, int] = field(default_factory=_no_units)

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            tokens_in=self.tokens_in + other.tokens_in,
            tokens_out=self.tokens_out + other.tokens_out,
            cached_tokens_in=self.cached_tokens_in + other.cached_tokens_in,
            cache_write_tokens_in=self.cache_write_tokens_in + other.cache_write_tokens_in,
            reasoning_tokens_out=self.reasoning_tokens_out + other.reasoning_tokens_out,
            units=_sum_units(self.units, other.units),
        )

    def with_parts_inside(self) -> Counts:
        """The same use with no part larger than its whole: services have sent 11 reasoning tokens in 10 of output."""
        parts_in = self.cached_tokens_in + self.cache_write_tokens_in
        if parts_in <= self.tokens_in and self.reasoning_tokens_out <= self.tokens_out:
            return self
        cached = min(self.cached_tokens_in, self.tokens_in)
        written = min(self.cache_write_tokens_in, self.tokens_in - cached)
        reasoning = min(self.reasoning_tokens_out, self.tokens_out)
        return Counts(self.tokens_in, self.tokens_out, cached, written, reasoning, self.units)


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything one answer told about its use.

    `reported`: the API's own counts cover all that went by. `not_reported`: nothing, or only a part, was stated before
    the end (a stream without a usage chunk, a client that left). `unreadable`: something stood where counts belong, or
    could have stood, that cannot be believed or decoded. Counts that were stated are kept in every state.
    """

    state: State
    model_id: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    cached_tokens_in: int = 0
    cache_write_tokens_in: int = 0
    reasoning_tokens_out: int = 0
    units: Mapping[str, int] = field(default_factory=_no_units)
    seen_text_bytes: int = 0
    """UTF-8 bytes of generated text that went by, at the places where the dialect puts text."""
    ended: bool = False
    """The API's own end of the answer was seen."""
    billable: bool = True
    """False for what must not be charged: answers that count tokens, polls of an earlier answer, errors, no body."""
    dialect: str | None = None
    """The API whose format this is; None if it is none that is known, and then nothing may be estimated from it."""


def _sum_units(one: Mapping[str, int], other: Mapping[str, int]) -> Mapping[str, int]:
    if not one or not other:
        return one or other
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}
