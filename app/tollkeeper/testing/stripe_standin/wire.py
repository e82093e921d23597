"""Bodies as they go over the wire."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any


def encoded(body: Any) -> bytes:
    """The body in JSON."""
    return json.dumps(body, default=_as_text).encode()


def as_read(body: Any) -> Any:
    """The body as its reader gets it: a copy in what JSON has."""
    return json.loads(encoded(body))


def _as_text(value: object) -> str:
    """Decimals are strings in Stripe's JSON, without an exponent."""
    if isinstance(value, Decimal):
        return format(value, "f")
    raise TypeError(f"{type(value).__name__} has no place in an answer")
