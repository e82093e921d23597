"""Values from outside, believed only if they are exactly what they should be."""

from __future__ import annotations

MAX_COUNT = 2**63 - 1
"""The largest count the tables can hold (PostgreSQL's bigint); larger ones are not believed."""

NOT_BELIEVED = -1
"""Stands for a value where a count belongs that is none: negative, fractional, a boolean, text, or past `MAX_COUNT`."""

MAX_MODEL_BYTES = 255


def count(value: object) -> int:
    """The count, or `NOT_BELIEVED`."""
    return value if type(value) is int and 0 <= value <= MAX_COUNT else NOT_BELIEVED


def model_name(value: object) -> str | None:
    """The name of a model: 1 to 255 bytes of printable UTF-8, else None."""
    if type(value) is not str or not value or len(value) > MAX_MODEL_BYTES or not value.isprintable():
        return None
    if not value.isascii() and len(value.encode()) > MAX_MODEL_BYTES:
        return None
    return value if value.strip() else None
