"""The response headers by which a route states its own use. They never reach the client."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from tollkeeper.domain.money import as_decimal
from tollkeeper.domain.usage import QUANTITY_PLACES
from tollkeeper.extraction.strict import model_name

_TOKENS_IN, _TOKENS_OUT, _TOKENS_USED = b"x-tokens-in", b"x-tokens-out", b"x-tokens-used"
_MODEL, _MINUTES = b"x-model-id", b"x-compute-minutes"
NAMES: Final = frozenset({_TOKENS_IN, _TOKENS_OUT, _TOKENS_USED, _MODEL, _MINUTES})

_COUNT: Final = re.compile(rb"[0-9]{1,18}")
_DECIMAL: Final = re.compile(rb"[0-9]{1,9}(?:\.[0-9]{1,30})?(?:e-[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class HeaderUsage:
    """What the headers state. What cannot be believed counts as zero, and `invalid` says that there was such a value."""

    tokens_in: int = 0
    tokens_out: int = 0
    compute_minutes: Decimal = Decimal(0)
    model_id: str | None = None
    invalid: bool = False
    counted: bool = False
    """A token header was there, believable or not: the body is not asked any more."""


def read_usage_headers(headers: Sequence[tuple[bytes, bytes]]) -> HeaderUsage | None:
    """The use that the headers state, None if none of them is there. Never raises.

    A count is 1 to 18 ASCII digits, a number of minutes up to 9 digits before the point and what `str` of a float puts after
    it, of which nine decimals are kept, a model 1 to 255 bytes of printable UTF-8. A header that comes twice is not believed.
    One unbelievable token header spoils all of them.
    """
    values: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        key = name.lower()
        if key in NAMES:
            values.setdefault(key, []).append(value.strip(b" \t"))
    if not values:
        return None
    tokens = _tokens(values)
    minutes = _minutes(values.get(_MINUTES))
    model = _model(values.get(_MODEL))
    model_fault = _MODEL in values and model is None
    return HeaderUsage(
        tokens_in=tokens[0] if tokens else 0,
        tokens_out=tokens[1] if tokens else 0,
        compute_minutes=minutes if minutes is not None else Decimal(0),
        model_id=model,
        invalid=tokens is None or minutes is None or model_fault,
        counted=any(name in values for name in (_TOKENS_IN, _TOKENS_OUT, _TOKENS_USED)),
    )


def strip_usage_headers(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers without ours, every one of them and in any case."""
    return [(name, value) for name, value in headers if name.lower() not in NAMES]


def _tokens(values: dict[bytes, list[bytes]]) -> tuple[int, int] | None:
    """Input and output, or None where one of the headers, or all together, cannot be believed."""
    counts: dict[bytes, int] = {}
    for name in (_TOKENS_IN, _TOKENS_OUT, _TOKENS_USED):
        stated = values.get(name)
        if stated is None:
            continue
        if len(stated) > 1 or not _COUNT.fullmatch(stated[0]):
            return None
        counts[name] = int(stated[0])
    return _split(counts.get(_TOKENS_IN), counts.get(_TOKENS_OUT), counts.get(_TOKENS_USED))


def _split(tokens_in: int | None, tokens_out: int | None, total: int | None) -> tuple[int, int] | None:
    """Input and output of a total: what the input does not explain is output."""
    if total is None:
        return tokens_in or 0, tokens_out or 0
    if tokens_in is None and tokens_out is not None:
        tokens_in = total - tokens_out
    rest = total - (tokens_in or 0)
    if rest < 0 or (tokens_in or 0) < 0 or tokens_out not in (None, rest):
        return None
    return tokens_in or 0, rest


def _minutes(stated: list[bytes] | None) -> Decimal | None:
    if stated is None:
        return Decimal(0)
    if len(stated) > 1 or not _DECIMAL.fullmatch(stated[0]):
        return None
    return as_decimal(Decimal(stated[0].decode()), QUANTITY_PLACES)


def _model(stated: list[bytes] | None) -> str | None:
    if stated is None or len(stated) > 1:
        return None
    try:
        return model_name(stated[0].decode())
    except UnicodeDecodeError:
        return None
